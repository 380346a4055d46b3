"""The model card of a run, and the card of a run folder that is handed on with its weights."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pneumo.data.sets import class_of
from pneumo.evaluation.scores import CLINICAL, SCORES
from pneumo.labels import PNEUMONIA
from pneumo.report.assessed import SHOWN, of_run, tables
from pneumo.report.checklists import MARK
from pneumo.report.templates import Markdown, render_markdown
from pneumo.runs.metrics import how_chosen
from pneumo.runs.run import Run

PREPARATION = {
    "stretch": "a triangle filter without aliasing stretches the radiograph",
    "pad": "a triangle filter without aliasing shrinks it in proportion, with black margins,",
}
LEARNT = 0.6  # AUROC below which a card warns that the network has learnt nothing
SCORES_OF_WEIGHTS = {"accuracy": "accuracy"}
SCORES_OF_WEIGHTS |= {name: CLINICAL[name] for name in ("sensitivity", "specificity")}
SCORES_OF_WEIGHTS |= {SCORES[name].title: name for name in ("f1_normal", "auroc")}


def write(
    run: Run,
    *,
    classes: tuple[str, ...],
    checkpoint: str,
    assessment: Mapping[str, Any] | None,
    maps: Sequence[Mapping[str, Any]] = (),
    checklists: str | None = None,
) -> str:
    """Returns the card of a run as Markdown.

    Args:
        run: a finished run.
        classes: of the outputs, in order.
        checkpoint: best or last.
        assessment: `evaluation.assessment` of this checkpoint; None if missing.
        maps: scores of heat maps, see runs.read_maps.
        checklists: name of the file with them beside the card, None for none.
    """
    metrics: Mapping[str, Any] = run.metrics
    data_set = class_of(metrics["data"]["kind"])
    splits, auroc = metrics["data"]["splits"], metrics[checkpoint]["test"].get("auroc")
    return render_markdown(
        "card.md.j2",
        mark=Markdown(MARK),
        metrics=metrics,
        phantom=data_set.generated,
        what=data_set.title,
        ages=data_set.ages,
        children=data_set.of_children,
        licence=metrics["data"].get("licence") or data_set.licence,
        classes=classes,
        image_size=run.image_size,
        preparation=PREPARATION[run.aspect],
        checkpoint=checkpoint,
        prevalence=splits["test"][PNEUMONIA] / splits["test"]["images"],
        train_sha256=run.train_sha256,
        checklists=checklists,
        learnt_nothing=auroc is not None and auroc < LEARNT,
        assessment=assessment,
        maps=maps,
        numbers=of_run(run, assessment),
        external=run.external if assessment else {},
        facts=data_set.checklist,
        scores=SHOWN,
        tables=tables(assessment) if assessment else {},
    )


def weights_card(metrics: Mapping[str, Any], *, overrides: Sequence[str], card: str) -> str:
    """Returns the card of a run folder that is handed on, as Markdown.

    ``overrides``: of the command that trained it; ``card``: the run's own, which follows.
    """
    data_set = class_of(metrics["data"]["kind"])
    text = render_markdown(
        "weights.md.j2",
        metrics=metrics,
        command=Markdown(shlex.join(["python", "-m", "pneumo.train", *overrides])),
        how_chosen=how_chosen(metrics["selection"]),
        licence=metrics["data"].get("licence") or data_set.licence,
        citation=data_set.citation,
        scores=SCORES_OF_WEIGHTS,
    )
    return f"{text}\n{card}"
