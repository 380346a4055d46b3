"""A run as files to share: ONNX with model card and checklists, or a small run folder."""

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo import atomic, labels
from pneumo.data.sets import class_of
from pneumo.evaluation.scores import CLINICAL, SCORES
from pneumo.report import checklists
from pneumo.report.assessed import EXTERNAL, SHOWN, of_run, tables
from pneumo.report.templates import Markdown, render_markdown
from pneumo.runs import output, pretrained, run_folder
from pneumo.runs.metrics import how_chosen
from pneumo.runs.run import Run

if TYPE_CHECKING:  # an extra, and torch
    from pneumo.inference.onnx_export import Difference

FILE = "model.onnx"
PREPARATION = {
    "stretch": "a triangle filter without aliasing stretches the radiograph",
    "pad": "a triangle filter without aliasing shrinks it in proportion, with black margins,",
}
OF_SPLIT = ("protocol.val", "protocol.k", "protocol.fold")
LEARNED = 0.6  # AUROC below which a card warns that the network has learned nothing
SCORES_OF_WEIGHTS = {"accuracy": "accuracy"}
SCORES_OF_WEIGHTS |= {name: CLINICAL[name] for name in ("sensitivity", "specificity")}
SCORES_OF_WEIGHTS |= {SCORES[name].title: name for name in ("f1_normal", "auroc")}


def write_onnx(
    run: Run,
    out: Path,
    *,
    checkpoint: str = "best",
    check: Sequence[str] | None = None,
    trust: Sequence[str] = (),
) -> "tuple[list[Path], Difference]":
    """Writes the ONNX file of a run, its card and its checklists; returns them and the check.

    ``out``: the file (ends in .onnx) or its folder. ``check``: files or folders of images to check
    on; by default the run's own test images if they are still there, otherwise generated ones.
    ``trust``: packages whose networks the run may name.

    Raises:
        FileNotFoundError, ValueError: the run is broken, an extra or an image is missing, ``out``
            holds something else, or the outputs differ by too much.
    """
    from pneumo.inference import ensemble, onnx_export

    paths = onnx_paths(out)
    output.check_files(paths, run_dir=run.run_dir, is_own=_is_own)
    network = run.network(checkpoint, trust=trust)
    named = replace(run, name="this run")  # no file names in files to share
    fixed = ensemble.mean_operating_point([named], checkpoint=checkpoint)
    properties = onnx_export.properties(run, network, checkpoint, fixed)
    findings = _findings(run, checkpoint)
    about: dict[str, Any] = {"checkpoint": checkpoint, "lists": paths[2].name}
    text = card(run, classes=labels.CLASSES[network.num_classes], **about, **findings)
    lists = _checklists(run, checkpoint, **findings)
    model = onnx_export.build(
        network,
        views=run.views,
        threshold=fixed.threshold,
        image_size=run.image_size,
        aspect=run.aspect,
        properties=properties,
    )
    with tempfile.TemporaryDirectory() as place:
        images = onnx_export.check_images(check, run, Path(place))
        difference = onnx_export.compare(model, run, network, *images)
    write_files(paths, [model.SerializeToString(), text.encode(), lists.encode()])
    return paths, difference


def onnx_paths(out: Path) -> list[Path]:
    """Returns the paths of the model, its card and its checklists, named after the model."""
    if out.suffix != ".onnx" and out.is_file():
        raise ValueError(f"--out must be a folder or a file that ends in .onnx; got {out}")
    model = out if out.suffix == ".onnx" else out / FILE
    return [model, *(model.with_name(f"{model.stem}-{end}.md") for end in ("card", "checklists"))]


def write_checklists(run: Run, out: Path) -> None:
    """Writes the CLAIM and TRIPOD+AI tables of a run to a Markdown file."""
    if out.suffix != ".md":
        raise ValueError(f"--out must be a file that ends in .md; got {out}")
    if run.metrics.get("baseline"):
        raise ValueError(f"checklists describe a network; {run.name} is a baseline")
    output.check_files([out], run_dir=run.run_dir, is_own=_is_own)
    write_files([out], [_checklists(run, **_findings(run)).encode()])


def pack(run: Run, out: Path, *, trust: Sequence[str] = ()) -> int:
    """Writes a finished run as a small run folder, with its card; returns the bytes.

    ``out``: a folder that is new, empty, or of an earlier call; ``trust``: see `write_onnx`.

    Raises:
        FileNotFoundError, ValueError: the run is broken or lacks its reference, or ``out`` holds
            something else.
    """
    from pneumo.inference import ood
    from pneumo.runs.network import weights_digest

    network = run.network(trust=trust)
    if ood.load(run.run_dir, weights_sha256=weights_digest(network)) is None:
        raise ValueError(
            f"reference.npz of {run.name} is not of its best weights; without it, no image is "
            "flagged as out of distribution. Copy the run folder again from where it was trained"
        )
    overrides = pretrained.public_overrides(run.run_dir)
    text = weights_card(run.metrics, overrides=overrides)
    classes = labels.CLASSES[network.num_classes]
    text += f"\n{card(run, classes=classes, checkpoint='best', **_findings(run))}"
    return pretrained.pack(run.run_dir, out, card=text)


def card(
    run: Run,
    *,
    classes: tuple[str, ...],
    checkpoint: str,
    assessment: Mapping[str, Any] | None,
    maps: Sequence[Mapping[str, Any]] = (),
    lists: str | None = None,
) -> str:
    """Returns the card of a finished run as Markdown.

    ``classes``: of the outputs, in order; ``assessment``: `evaluation.assessment` of this
    checkpoint, None if missing; ``maps``: scores of heat maps, see runs.read_maps; ``lists``: the
    name of the file with the checklists beside the card.
    """
    metrics: Mapping[str, Any] = run.metrics
    auroc = metrics[checkpoint]["test"].get("auroc")
    return render_markdown(
        "card.md.j2",
        mark=Markdown(checklists.MARK),
        run=run,
        metrics=metrics,
        **_facts(metrics),
        classes=classes,
        baselines=_baselines(run),
        preparation=PREPARATION[run.aspect],
        is_preset=_model(run).get("library") in checklists.WEIGHTS,
        checkpoint=checkpoint,
        checklists=lists,
        learned_nothing=auroc is not None and auroc < LEARNED,
        assessment=assessment,
        maps=maps,
        numbers=of_run(run, assessment),
        external=run.external if assessment else {},
        scores=SHOWN,
        tables=tables(assessment) if assessment else {},
    )


def weights_card(metrics: Mapping[str, Any], *, overrides: Sequence[str]) -> str:
    """Returns the card of a packed run folder as Markdown; ``overrides``: of its training."""
    return render_markdown(
        "weights.md.j2",
        metrics=metrics,
        **_facts(metrics),
        command=Markdown(shlex.join(["python", "-m", "pneumo.train", *overrides])),
        how_chosen=how_chosen(metrics["selection"]),
        scores=SCORES_OF_WEIGHTS,
    )


def _facts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    data_set = class_of(metrics["data"]["kind"])
    licence = metrics["data"].get("licence") or data_set.licence
    facts = {"data_set": data_set, "facts": data_set.checklist, "licence": licence}
    return facts | {"patients_unknown": checklists.patients_unknown(metrics)}


def _baselines(run: Run) -> Markdown:
    """Returns the command of the baselines on the run's split."""
    config, metrics = run_folder.flat(run.config), run.metrics
    settings: dict[str, Any] = {
        "model": "thumbnail_svm,file_header",
        "data": metrics["data"]["kind"],
        "protocol": metrics["protocol"],
        "seed": metrics["seed"],
        "data.patient_key": metrics["data"]["patient_key"],
        "callbacks.checkpoint.monitor": "last",  # baselines have no epochs
    }
    settings |= {key: config[key] for key in OF_SPLIT if config.get(key) is not None}
    words = (f"{key}={value}" for key, value in settings.items())
    return Markdown(shlex.join(["python", "-m", "pneumo.train", "-m", *words]))


def _checklists(run: Run, checkpoint: str = "best", **findings: Any) -> str:
    external, metrics = of_run(run, findings["assessment"])[EXTERNAL], dict(run.metrics)
    if checkpoint == "last":
        metrics |= {"best": metrics["last"], "selection": {"on": "none"}}
    return checklists.write(metrics, model=_model(run), external=external, **findings)


def _model(run: Run) -> Mapping[str, Any]:
    model = run.config.get("model")
    return model if isinstance(model, dict) else {}


def _findings(run: Run, checkpoint: str = "best") -> dict[str, Any]:
    maps = run_folder.read_maps(run.run_dir, checkpoint=checkpoint)
    return {"assessment": run.assessment if checkpoint == "best" else None, "maps": maps}


def _is_own(path: Path) -> bool:
    """Returns whether an earlier export wrote a file."""
    # an ONNX file begins with its version and, after the tag 0x12 and the length, its producer
    mark, size = (checklists.MARK.encode(), 80) if path.suffix == ".md" else (b"\x12\x06pneumo", 16)
    with path.open("rb") as file:
        return mark in file.read(size)


def write_files(paths: Sequence[Path], contents: Sequence[bytes]) -> None:
    """Writes files to a folder; if one cannot be written, none is replaced."""
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for path, content in zip(paths, contents, strict=True):
            stack.enter_context(atomic.replacing(path)).write_bytes(content)
