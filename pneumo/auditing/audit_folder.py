"""An audit from its folder of images to its own folder: numbers, tables, one page."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo import __version__, atomic
from pneumo.auditing import copies, files, findings, page, shortcuts
from pneumo.auditing.page import TABLES
from pneumo.auditing.sources import Source
from pneumo.data.near_copies import COPY, MAX_BITS
from pneumo.runs.output import check_folder, spreadsheet_safe

PAGE, NUMBERS = "audit.html", "audit.json"


@dataclass(frozen=True)
class Audit:
    """The numbers of audit.json, the tables, and the pairs to show."""

    numbers: dict[str, Any]
    tables: dict[str, pd.DataFrame]  # by the names of TABLES
    pairs: list[copies.Pair]


def audit(source: Source) -> Audit:
    """Returns the audit of a data set.

    Raises:
        ValueError: no image can be read.
    """
    start = time.monotonic()
    data_set, paper = source.data_set, source.tables["paper"]
    read = files.read_files(data_set.root, paper["path"].tolist())
    reading = time.monotonic() - start
    table = shortcuts.readable(paper, read)
    splits = {name: shortcuts.split_by(name, source, read) for name in shortcuts.PROTOCOLS}
    split = splits["paper"]
    random_split = "" if isinstance(split, str) else split["split"].reindex(table.index).fillna("")
    # Kaggle took val from train
    own = table["source"].replace("val", "train")
    compared = table.assign(own_split=own, random_split=random_split)
    same = copies.identical(compared, read.facts["sha256"])
    near = copies.near_identical(compared, read.facts["sha256"], read.hashes, read.thumbnails)
    nested = []
    if source.place is not None:
        used = [*paper["path"], *source.left_out]
        nested = copies.nested(source.place, data_set.root, read, used)
    numbers = {
        "schema": 1,
        "data": {
            "name": source.name,
            "kind": data_set.kind,
            "note": source.note,
            "near_duplicates": data_set.near_duplicates,
            "images": len(table),
            "patients": source.patients,
            "version": __version__,
        },
        "counts": files.counts(table),
        "saved": files.how_saved(table, read),
        **copies.summary(same, near),
        "max_bits": MAX_BITS,
        "copy_correlation": COPY,
        "nested": nested,
        "unreadable": [{"path": path, "why": why} for path, why in read.unreadable],
        "left_out": list(source.left_out),
        "protocols": {name: shortcuts.score(split, read) for name, split in splits.items()},
        "seed": shortcuts.SEED,
    }
    numbers["findings"] = findings.sentences(numbers)
    pairs = copies.sheet(data_set.root, same, near)
    numbers["seconds"] = {"reading": reading, "total": time.monotonic() - start}
    listed = table.join(read.facts.drop(columns="path"))
    listed["phash"] = [f"{bits:016x}" for bits in read.hashes.tolist()]
    return Audit(numbers, dict(zip(TABLES, (listed, same, near), strict=True)), pairs)


def check_replaceable(folder: Path) -> None:
    """Raises ValueError if ``folder`` cannot be written or holds files of others."""

    def foreign(names: list[str]) -> list[str]:
        others = [name for name in names if name not in (PAGE, NUMBERS, *TABLES)]
        return others or names * (PAGE not in names)

    check_folder(folder, earlier="an earlier audit", foreign=foreign)


def write(folder: Path, audit: Audit) -> None:
    """Writes the folder, whole or not at all; it replaces an earlier audit."""
    html = page.html(audit.numbers, same=audit.tables["identical.csv"], pairs=audit.pairs)
    with atomic.replacing_folder(folder) as new:
        for name, table in audit.tables.items():
            safe = table.map(spreadsheet_safe)
            safe.to_csv(new / name, index=False, lineterminator="\n")
        (new / NUMBERS).write_text(atomic.json_text(audit.numbers), encoding="utf-8", newline="\n")
        (new / PAGE).write_text(html, encoding="utf-8", newline="\n")
