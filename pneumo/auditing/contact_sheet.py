"""Pictures of copies, side by side, as data URIs: the pairs that cross patients or splits first."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pneumo.auditing.copies import ACROSS
from pneumo.data import image, reader
from pneumo.report.wording import decimal

MOST_PAIRS = 24
SIDE = 176  # pixels of a radiograph on the sheet
GAP = 4  # pixels between two
WORDS = {
    "patients": "different patients",
    "labels": "different labels",
    "own_split": "in train and test",
    "random_split": "parted by a random split",
}


@dataclass(frozen=True)
class Pair:
    """Two copies on the sheet: the picture as a data URI, and the words beneath."""

    picture: str
    paths: tuple[str, str]
    told: str


def sheet(root: Path, same: pd.DataFrame, near: pd.DataFrame) -> list[Pair]:
    """Returns MOST_PAIRS at most, of tables of pneumo.auditing.copies.

    Pairs across patients, labels or splits come first, of these identical ones, then the most
    alike. Of a set of identical files, the first and one of another patient or label is shown, if
    there is one.
    """
    pairs = [*_of_sets(same), *_of_near(near)]
    pairs.sort(key=lambda pair: (not pair["crossed"], -pair["alike"]))
    return [_pair(root, one) for one in pairs[:MOST_PAIRS]]


def _of_sets(same: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for _, rows in same.groupby("set", sort=True):
        first = rows.iloc[0]
        others = rows[(rows["patient"] != first["patient"]) | (rows["label"] != first["label"])]
        other = (others if len(others) else rows.iloc[1:]).iloc[0]
        yield _described(first, str(first["path"]), str(other["path"]), files=len(rows))


def _of_near(near: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for _, row in near.head(MOST_PAIRS).iterrows():
        alike = float(row["correlation"])
        yield _described(row, str(row["path"]), str(row["other_path"]), alike=alike)


def _described(
    row: Any, path: str, other: str, *, alike: float = 2.0, files: int = 2
) -> dict[str, Any]:
    """``alike``: the correlation; above 1 for files that are byte for byte the same."""
    crossed = [name for name in ACROSS if row[f"across_{name}"]]
    told = "identical bytes" if alike > 1 else f"correlation {decimal(alike)}"
    told += f", {files} files" if files > 2 else ""
    told = "; ".join([told, *(WORDS[name] for name in crossed)] + ["same patient"] * (not crossed))
    return {"paths": (path, other), "told": told, "alike": alike, "crossed": len(crossed)}


def _pair(root: Path, one: dict[str, Any]) -> Pair:
    both = [_small(root / path) for path in one["paths"]]
    between = np.full((SIDE, GAP), 255, np.uint8)
    joined = Image.fromarray(np.hstack([both[0], between, both[1]]))
    file = io.BytesIO()
    joined.save(file, "JPEG", quality=80, optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return Pair(f"data:image/jpeg;base64,{data}", one["paths"], one["told"])


def _small(path: Path) -> np.ndarray:
    grey, _ = reader.decode(str(path))
    return image.resize(grey, size=SIDE, aspect="pad")
