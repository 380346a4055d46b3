"""Pictures of copies, side by side, as data URIs: the pairs that cross patients or splits first."""

import base64
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from pneumo.auditing.copies import ACROSS
from pneumo.data import image, reader
from pneumo.report.wording import decimal

MOST_PAIRS = 24
SIDE = 176  # pixels of a radiograph on the sheet
GAP = 4  # pixels between two
IDENTICAL = 2.0  # in place of a correlation, for files that are byte for byte the same
WORDS = {
    "patients": "different patients",
    "labels": "different labels",
    "own_split": "in train and test",
    "random_split": "separated by a random split",
}


class Pair(NamedTuple):
    """Two copies on the sheet: the picture as a data URI, and the caption beneath."""

    picture: str
    paths: tuple[str, str]
    caption: str


def sheet(root: Path, same: pd.DataFrame, near: pd.DataFrame) -> list[Pair]:
    """Returns MOST_PAIRS at most, of tables of pneumo.auditing.copies.

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
        crossed = [WORDS[name] for name in ACROSS if row[f"across_{name}"]]
        text = "; ".join([caption, *(crossed or ["same patient"])])
        pairs.append(((not crossed, -correlation), (str(row["path"]), other), text))
    pairs.sort(key=lambda pair: pair[0])
    return [Pair(_picture(root, paths), paths, text) for _, paths, text in pairs[:MOST_PAIRS]]


def _picture(root: Path, paths: tuple[str, str]) -> str:
    left, right = (
        image.resize(reader.decode(str(root / path))[0], size=SIDE, aspect="pad") for path in paths
    )
    joined = Image.fromarray(np.hstack([left, np.full((SIDE, GAP), 255, np.uint8), right]))
    file = io.BytesIO()
    joined.save(file, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
