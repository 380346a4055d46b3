"""The model card of a run: what it is, what it scores, and what it must not be used for."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pneumo.data.sets import class_of
from pneumo.evaluation import published
from pneumo.evaluation.scores import SCORES as ALL_SCORES
from pneumo.labels import PNEUMONIA
from pneumo.report.checklists import MARK, shares
from pneumo.report.wording import DASH, decimal, interval

TEMPLATE = Path(__file__).with_name("card.md.j2")
PREPARATION = {
    "stretch": "a triangle filter without aliasing stretches the radiograph",
    "pad": "a triangle filter without aliasing shrinks it in proportion, with black margins,",
}
LEARNT = 0.6  # AUROC below which a card says that the network has learnt nothing
NOT_BEST = "predictions of single images are kept for the best checkpoint only"
SCORES = {
    ALL_SCORES[name].title: name
    for name in (
        *("accuracy", "balanced_accuracy", "mcc", "auroc", "average_precision"),
        *("f1_normal", "f1_pneumonia"),
    )
}
POINT = {"sensitivity": "sensitivity", "specificity": "specificity", "PPV": "ppv", "NPV": "npv"}
BENEFIT_AT = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the thresholds in metrics.json


def write(
    metrics: Mapping[str, Any],
    *,
    classes: tuple[str, ...],
    image_size: int,
    aspect: str,
    checkpoint: str,
    found: Mapping[str, Any] | None,
    maps: Sequence[Mapping[str, Any]] = (),
    train_sha256: str | None,
    checklists: str | None = None,
) -> str:
    """Returns the card as Markdown.

    Args:
        metrics: metrics.json of the run.
        classes: of the outputs, in order.
        image_size: side of the prepared image, pixels.
        aspect: stretch or pad.
        checkpoint: best or last.
        found: what `evaluation.assessment` says of this checkpoint; None where there is none.
        maps: numbers on heat maps, see runs.read_maps.
        train_sha256: split.digest of the train split; None where it is not known.
        checklists: name of the file with CLAIM and TRIPOD+AI beside the card; None for none.
    """
    environment = Environment(
        autoescape=False,  # noqa: S701  (Markdown, not HTML)
        finalize=_without_markup,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    data_set = class_of(metrics["data"]["kind"])
    splits = metrics["data"]["splits"]
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        mark=MARK,
        metrics=metrics,
        phantom=data_set.generated,
        what=data_set.title,
        children=data_set.of_children,
        licence=metrics["data"].get("licence") or data_set.licence,
        classes=classes,
        image_size=image_size,
        preparation=PREPARATION[aspect],
        checkpoint=checkpoint,
        epoch=metrics[checkpoint]["epoch"],
        epochs=len(metrics.get("history", ())),
        versions=", ".join(f"{name} {text}" for name, text in metrics["versions"].items()),
        chosen=_chosen(metrics, checkpoint),
        prevalence=splits["test"][PNEUMONIA] / splits["test"]["images"],
        train_sha256=train_sha256,
        paper=published,
        checklists=checklists,
        shares=shares(metrics, found=found, maps=maps),
        learnt_nothing=_learnt_nothing(metrics[checkpoint]["test"].get("auroc")),
        found=found,
        maps=maps,
        scores=SCORES,
        point=POINT,
        benefit_at=BENEFIT_AT,
        decimal=_decimal,
        score=_score,
    )
    return _tidy(text)


def _without_markup(value: Any) -> Any:
    """What is put into the card, so that a name of a run folder is no HTML and no link in it."""
    if not isinstance(value, str) or value == MARK:
        return value
    return re.sub(r"([\[\]\\])", r"\\\1", value.replace("<", "&lt;"))


def _learnt_nothing(auroc: float | None) -> bool:
    return auroc is not None and auroc < LEARNT


def _decimal(value: float | None) -> str:
    """A number, or a dash; metrics.json has null where a number is not known."""
    return DASH if value is None else decimal(value)


def _score(row: Mapping[str, float | None], *, between: str = " | ") -> str:
    """A score and its interval: two cells of a table."""
    ends = [float("nan") if row[end] is None else row[end] for end in ("low", "high")]
    return f"{_decimal(row['value'])}{between}{interval(*ends)}"  # type: ignore[arg-type]


def _chosen(metrics: Mapping[str, Any], checkpoint: str) -> str:
    monitor, on = (metrics["selection"][key] for key in ("monitor", "on"))
    if checkpoint == "last" or on == "none":
        return "it is the last one; nothing was chosen, so there is no selection bias."
    told = f"the epoch with the best {monitor} on the {on} split"
    if on == "test":
        return (
            f"{told}, as in the paper. **The scores below are on that same split and are "
            f"optimistic**; the last epoch has an F1 of NORMAL of "
            f"{decimal(metrics['last']['test']['f1_normal'])} instead of "
            f"{decimal(metrics['best']['test']['f1_normal'])} there. Use "
            "protocol=holdout or protocol=official for scores to rely on."
        )
    return f"{told}, whose patients are in no other split."


def _tidy(text: str) -> str:
    """At most one empty line in a row, none at the ends of tables that loops have written."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    return "\n".join(lines).rstrip() + "\n"
