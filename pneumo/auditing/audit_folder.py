"""An audit from its folder of images to its own folder: numbers, tables, one page."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo import __version__, atomic
from pneumo.auditing import copies, findings, saved, shortcuts
from pneumo.auditing.contact_sheet import Pair, sheet
from pneumo.auditing.files import read_files
from pneumo.auditing.nested import nested_copies
from pneumo.auditing.sources import Source
from pneumo.data.near_copies import COPY, MAX_BITS
from pneumo.runs.output import check_folder, spreadsheet_safe

PAGE, NUMBERS = "audit.html", "audit.json"
TABLES = ("files.csv", "identical.csv", "near_identical.csv")
NOT_SEARCHED: dict[str, Any] = {"copies": [], "system_files": 0, "closed": []}


@dataclass(frozen=True)
class Audit:
    """The numbers of audit.json, the tables, and the pairs to show."""

    numbers: dict[str, Any]
    tables: dict[str, pd.DataFrame]  # by the names of TABLES
    pairs: list[Pair]


def audit(source: Source) -> Audit:
    """Returns the audit of a data set.

    Raises:
        ValueError: no image can be read.
    """
    start = time.monotonic()
    files = read_files(source.data_set.root, source.tables["paper"]["path"].tolist())
    reading = time.monotonic() - start
    table = shortcuts.readable(source.tables["paper"], files)
    splits = {name: shortcuts.split_by(name, source, files) for name in shortcuts.PROTOCOLS}
    paper = splits["paper"]
    compared = table.assign(
        own_split=table["source"].replace("val", "train"),  # Kaggle took val from train
        random_split=""
        if isinstance(paper, str)
        else paper["split"].reindex(table.index).fillna(""),
    )
    same = copies.identical(compared, files.facts["sha256"])
    near = copies.near_identical(compared, files.facts["sha256"], files.hashes, files.thumbnails)
    nested = NOT_SEARCHED
    if source.place is not None:
        used = [*source.tables["paper"]["path"], *source.left_out]
        nested = nested_copies(source.place, source.data_set.root, files.facts, used)
    numbers = {
        "schema": 1,
        "data": _about(source, table),
        "counts": saved.counts(table),
        "saved": saved.how_saved(table, files.facts),
        "files_alike": saved.all_alike(files.facts),
        **copies.summary(same, near),
        "max_bits": MAX_BITS,
        "copy_correlation": COPY,
        "nested": nested,
        "unreadable": [{"path": path, "why": why} for path, why in files.unreadable],
        "left_out": list(source.left_out),
        "protocols": {name: shortcuts.score(split, files) for name, split in splits.items()},
        "seed": shortcuts.SEED,
    }
    numbers["findings"] = findings.sentences(numbers)
    pairs = sheet(source.data_set.root, same, near)
    numbers["seconds"] = {"reading": reading, "total": time.monotonic() - start}
    listed = table.join(files.facts.drop(columns="path"))
    listed["phash"] = [f"{bits:016x}" for bits in files.hashes.tolist()]
    tables = dict(zip(TABLES, (listed, same, near), strict=True))
    return Audit(numbers, tables, pairs)


def _about(source: Source, table: pd.DataFrame) -> dict[str, Any]:
    return {
        "name": source.name,
        "kind": source.data_set.kind,
        "note": source.note,
        "near_duplicates": source.data_set.near_duplicates,
        "images": len(table),
        "patients": source.patients,
        "version": __version__,
    }


def check_replaceable(folder: Path) -> None:
    """Raises ValueError if ``folder`` cannot be written or holds files of others."""

    def foreign(names: list[str]) -> list[str]:
        others = [name for name in names if name not in (PAGE, NUMBERS, *TABLES)]
        return others or (names if PAGE not in names else [])

    check_folder(folder, earlier="an earlier audit", foreign=foreign)


def write(folder: Path, audit: Audit, *, html: str) -> None:
    """Writes the folder, whole or not at all; it replaces an earlier audit."""
    with atomic.replacing_folder(folder) as new:
        for name, table in audit.tables.items():
            safe = table.map(spreadsheet_safe)
            safe.to_csv(new / name, index=False, lineterminator="\n")
        (new / NUMBERS).write_text(atomic.json_text(audit.numbers), encoding="utf-8", newline="\n")
        (new / PAGE).write_text(html, encoding="utf-8", newline="\n")
