"""Copies of images: identical and near-identical ones, the borders they cross, nested copies."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from pneumo.auditing.files import Files
from pneumo.data import image, reader
from pneumo.data.image import SUFFIXES
from pneumo.data.labelled import SOURCES
from pneumo.data.near_copies import COPY, near_pairs
from pneumo.labels import CLASS_NAMES
from pneumo.report.templates import data_uri
from pneumo.report.wording import decimal

# Properties in which two copies may differ: column of the tables below, and words
ACROSS = {
    "patients": ("patient", "different patients"),
    "labels": ("label", "different labels"),
    "own_split": ("own_split", "in train and test"),
    "random_split": ("random_split", "separated by a random split"),
}
CROSSED = [f"across_{name}" for name in ACROSS]
FACTS = ["path", "label", "patient", "source"]
MOST_PAIRS = 24  # on the sheet
SIDE = 176  # pixels of a radiograph on the sheet
GAP = 4  # pixels between two
IDENTICAL = 2.0  # in place of a correlation, for files that are byte for byte the same


def identical(table: pd.DataFrame, digests: "pd.Series[str]") -> pd.DataFrame:
    """Returns the files that are byte for byte the same: a row each, set by set.

    Columns: set (1, 2, ...), FACTS, sha256, and for each of ACROSS whether the set crosses it.
    Sets that cross most come first. ``table``: FACTS and the columns of ACROSS, one row per
    readable image; ``digests``: of their bytes.
    """
    rows = table.assign(sha256=digests)
    rows = rows[rows["sha256"].duplicated(keep=False)]
    sets = rows.groupby("sha256")
    for name, (column, _) in ACROSS.items():
        rows[f"across_{name}"] = sets[column].transform("nunique") > 1
    ascending = [False] * len(CROSSED) + [True] * 2
    rows = rows.sort_values([*CROSSED, "sha256", "path"], ascending=ascending, ignore_index=True)
    rows.insert(0, "set", pd.factorize(rows["sha256"])[0] + 1)
    return rows[["set", *FACTS, "sha256", *CROSSED]]


def near_identical(
    table: pd.DataFrame, digests: "pd.Series[str]", hashes: np.ndarray, thumbnails: np.ndarray
) -> pd.DataFrame:
    """Returns the pairs of different files that are near copies, see pneumo.data.near_copies.

    Columns: path, other_path, bits, correlation (of the thumbnails' grey values, -1 to 1), and
    label, patient and source of both, and for each of ACROSS whether the pair crosses it. Pairs
    that cross something come first, then the most similar.
    """
    near = near_pairs(hashes, thumbnails)
    sha256 = digests.to_numpy()
    differ = sha256[near.row] != sha256[near.other]
    row, other, bits, correlation = (values[differ] for values in near)
    first, second = (table.iloc[rows].reset_index(drop=True) for rows in (row, other))
    pairs = first[FACTS].join(second[FACTS].add_prefix("other_"))
    pairs = pairs.assign(bits=bits, correlation=correlation)
    for name, (column, _) in ACROSS.items():
        pairs[f"across_{name}"] = first[column] != second[column]
    pairs["within"] = ~pairs[CROSSED].any(axis=1)
    order = ["within", "correlation", "path", "other_path"]
    pairs = pairs.sort_values(order, ascending=[True, False, True, True], ignore_index=True)
    of_both = [f"{which}{name}" for name in FACTS[1:] for which in ("", "other_")]
    return pd.DataFrame(pairs[["path", "other_path", "bits", "correlation", *of_both, *CROSSED]])


def summary(same: pd.DataFrame, near: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns the counts of both tables, and how many sets or pairs cross what."""
    sets = same.drop_duplicates("set")
    across = [{name: int(rows[f"across_{name}"].sum()) for name in ACROSS} for rows in (sets, near)]
    as_copies = int((near["correlation"] >= COPY).sum())
    return {
        "identical": {"sets": len(sets), "files": len(same), "across": across[0]},
        "near_identical": {"pairs": len(near), "as_copies": as_copies, "across": across[1]},
    }


class Pair(NamedTuple):
    """Two copies on the sheet: the picture as a data URI, and the caption beneath."""

    picture: str
    paths: tuple[str, str]
    caption: str


def sheet(root: Path, same: pd.DataFrame, near: pd.DataFrame) -> list[Pair]:
    """Returns MOST_PAIRS at most, of the tables of identical and near-identical images.

    Pairs across patients, labels or splits come first, of these identical ones, then the most
    similar. For a set of identical files, the first and one of another patient or label is shown,
    if there is one.
    """
    copies: list[tuple[Any, str, float, str]] = []  # row, other path, correlation, caption
    for _, rows in same.groupby("set", sort=True):
        first = rows.iloc[0]
        differ = (rows["patient"] != first["patient"]) | (rows["label"] != first["label"])
        other = str(rows["path"].iloc[int(differ.to_numpy().argmax()) or 1])
        caption = "identical bytes" + f", {len(rows)} files" * (len(rows) > 2)
        copies.append((first, other, IDENTICAL, caption))
    for _, row in near.head(MOST_PAIRS).iterrows():
        caption = f"correlation {decimal(row['correlation'])}"
        copies.append((row, str(row["other_path"]), float(row["correlation"]), caption))
    pairs = []
    for row, other, correlation, caption in copies:
        crossed = [words for name, (_, words) in ACROSS.items() if row[f"across_{name}"]]
        text = "; ".join([caption, *(crossed or ["same patient"])])
        pairs.append(((not crossed, -correlation), (str(row["path"]), other), text))
    pairs.sort(key=lambda pair: pair[0])
    return [Pair(_picture(root, paths), paths, text) for _, paths, text in pairs[:MOST_PAIRS]]


def _picture(root: Path, paths: tuple[str, str]) -> str:
    left, right = (
        image.resize(reader.decode(str(root / path))[0], size=SIDE, aspect="pad") for path in paths
    )
    gap = np.full((SIDE, GAP), 255, np.uint8)
    return data_uri(Image.fromarray(np.hstack([left, gap, right])))


def nested(place: Path, root: Path, files: Files, used: Iterable[str]) -> list[dict[str, Any]]:
    """Returns the folders below ``place`` that hold images which are not in the set's table.

    A row each: folder, images, and how many are byte for byte one of the set. Only a file of a size
    that occurs in the set is read. Links are not followed; hidden files, and those that macOS puts
    beside images, are left out.

    Args:
        place: the folder that was named.
        root: the folder that ``used`` are relative to, ``place`` or below it.
        files: of the set.
        used: paths of the set's table, and of names that are known to be unused.
    """
    used_paths = {str(root / path) for path in used}
    sizes, digests = set(files.facts["bytes"]), set(files.facts["sha256"])
    images, same = Counter[str](), Counter[str]()
    for path in (Path(folder, name) for folder, _, names in os.walk(place) for name in names):
        is_hidden = path.name.startswith(".") or "__MACOSX" in path.parts
        if is_hidden or not path.name.lower().endswith(SUFFIXES) or str(path) in used_paths:
            continue
        parts = list(path.relative_to(place).parts[:-1])  # the folder above <source>/<label>
        for names in (CLASS_NAMES, SOURCES):
            if parts and parts[-1] in names:
                parts.pop()
        top = "/".join(parts) or "."
        images[top] += 1
        with suppress(OSError):
            if path.stat().st_size in sizes:
                same[top] += hashlib.sha256(path.read_bytes()).hexdigest() in digests
    return [
        {"folder": top, "images": n, "identical": same[top]} for top, n in sorted(images.items())
    ]
