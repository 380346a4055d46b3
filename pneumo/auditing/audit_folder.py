"""An audit from its folder of images to its own folder: numbers, tables, one page."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo import __version__, atomic
from pneumo.auditing import copies, findings, saved, shortcuts
from pneumo.auditing.contact_sheet import Pair, sheet
from pneumo.auditing.files import Files, read_files
from pneumo.auditing.nested import nested_copies
from pneumo.auditing.sources import Source
from pneumo.data.near_copies import COPY, MAX_BITS
from pneumo.runs.output import check_folder, spreadsheet_safe

PAGE, NUMBERS = "audit.html", "audit.json"
TABLES = ("files.csv", "identical.csv", "near_identical.csv")
NOT_LOOKED: dict[str, Any] = {"copies": [], "system_files": 0, "closed": []}


@dataclass(frozen=True)
class Audit:
    """What was found: the numbers as audit.json has them, the tables, and the pairs to show."""

    found: dict[str, Any]
    tables: dict[str, pd.DataFrame]  # by the names of TABLES
    pairs: list[Pair]


def audit(source: Source) -> Audit:
    """Returns the audit of a data set.

    Raises:
        ValueError: no image can be read.
    """
    start = time.monotonic()
    files = read_files(source.root, source.tables["paper"]["path"].tolist())
    reading = time.monotonic() - start
    table = shortcuts.readable(source.tables["paper"], files)
    parted = shortcuts.splits(source, files)
    random = parted["paper"]
    random_split = pd.Series(dtype="str") if isinstance(random, str) else random["split"]
    compared = copies.about_images(table, random_split)
    same = copies.identical(compared, files.facts["sha256"])
    near = copies.near_identical(compared, files.facts["sha256"], files.hashes, files.thumbnails)
    nested = NOT_LOOKED
    if source.place is not None:
        used = [*source.tables["paper"]["path"], *source.left_out]
        nested = nested_copies(source.place, source.root, files.facts, used)
    found = {
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
        "protocols": {name: shortcuts.score(one, files) for name, one in parted.items()},
        "seed": shortcuts.SEED,
    }
    found["said"] = findings.sentences(found)
    pairs = sheet(source.root, same, near)
    found["seconds"] = {"reading": reading, "total": time.monotonic() - start}
    tables = dict(zip(TABLES, (_listed(table, files), same, near), strict=True))
    return Audit(found, tables, pairs)


def _about(source: Source, table: pd.DataFrame) -> dict[str, Any]:
    return {
        "name": source.name,
        "kind": source.kind,
        "note": source.note,
        "images": len(table),
        "patients": source.patients,
        "version": __version__,
    }


def _listed(table: pd.DataFrame, files: Files) -> pd.DataFrame:
    columns = [name for name in files.facts if name != "path"]
    listed = table.join(files.facts[columns])
    return listed.assign(phash=[f"{one:016x}" for one in files.hashes.tolist()])


def check_replaceable(folder: Path) -> None:
    """Raises ValueError where an audit cannot be written to ``folder``, or would replace others."""

    def foreign(names: list[str]) -> list[str]:
        others = [name for name in names if name not in (PAGE, NUMBERS, *TABLES)]
        return others or (names if PAGE not in names else [])

    check_folder(folder, earlier="an earlier audit", foreign=foreign)


def write(folder: Path, found: Audit, *, html: str) -> None:
    """Writes the folder, whole or not at all; it replaces an earlier audit."""
    with atomic.replacing_folder(folder) as new:
        for name, table in found.tables.items():
            safe = table.map(spreadsheet_safe)
            safe.to_csv(new / name, index=False, lineterminator="\n")
        (new / NUMBERS).write_text(atomic.json_text(found.found), encoding="utf-8", newline="\n")
        (new / PAGE).write_text(html, encoding="utf-8", newline="\n")
