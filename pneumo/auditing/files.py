"""Every file read once: digest, how it was saved, perceptual hash and thumbnail, or an error."""

import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from pneumo.baselines.classifiers import SIDE, header
from pneumo.data import dicom, image
from pneumo.data.near_copies import perceptual_hash
from pneumo.labels import CLASS_NAMES, SUBTYPES
from pneumo.report.wording import DASH

SIZE = 256  # pixels an image is prepared to before it is hashed, as in conf/base/data.yaml


@dataclass(frozen=True)
class Files:
    """The files of a table that can be read, in its order, and those that cannot.

    Attributes:
        facts: path, sha256, bytes, format, mode, width, height, quality (of a JPEG, else empty).
        numbers: (N, 8) of pneumo.baselines.classifiers.header.
        hashes: (N,) uint64 of pneumo.data.near_copies.perceptual_hash.
        thumbnails: (N, 32, 32) uint8.
        unreadable: path and reason of each.
    """

    facts: pd.DataFrame
    numbers: np.ndarray
    hashes: np.ndarray
    thumbnails: np.ndarray
    unreadable: tuple[tuple[str, str], ...]


def read_files(root: Path, paths: Sequence[str]) -> Files:
    """Returns the measures of each file of ``paths``, relative to ``root``.

    Raises:
        ValueError: none of them can be read.
    """
    unreadable: dict[str, str] = {}

    def read_one(path: str) -> tuple[Any, ...] | None:
        try:
            return _read(root, path)
        except ValueError as error:
            unreadable[path] = str(error).removeprefix(f"{root / path}: ").removeprefix(f"{path}: ")
            return None

    hidden = not sys.stderr.isatty()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the interpreter
        done = pool.map(read_one, paths)
        bar = tqdm(done, desc="reading", total=len(paths), unit="image", disable=hidden)
        rows = [row for row in bar if row is not None]
    if not rows:
        path, why = min(unreadable.items())
        raise ValueError(
            f"at least one image must be readable; none of {len(paths):,} is: {path}: {why}"
        )
    facts, numbers, hashes, thumbnails = zip(*rows, strict=True)
    return Files(
        pd.DataFrame(facts),
        np.array(numbers),
        np.array(hashes, np.uint64),
        np.stack(thumbnails),
        tuple(sorted(unreadable.items())),
    )


def _read(root: Path, path: str) -> tuple[Any, ...]:
    data = image.read(root / path)
    if dicom.is_dicom(data):
        grey = dicom.decode(data, name=path)
        height, width = grey.shape
        numbers: list[float] = [width, height, width / height, len(data)]
        numbers += [len(data) / (width * height), 1.0, 0.0, 0.0]  # a channel, no quantisation table
        saved = {"format": "DICOM", "mode": "grey", "width": width, "height": height, "quality": ""}
    else:
        grey = image.decode(data, name=path)
        numbers, saved = header(root / path), image.saved_as(data)
    prepared = image.resize(grey, size=SIZE)
    digest = hashlib.sha256(data).hexdigest()
    facts = {"path": path, "sha256": digest, "bytes": len(data), **saved}
    return facts, numbers, perceptual_hash(prepared), image.resize(prepared, size=SIDE)


def counts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns images, patients and images of each label and subtype, by source and of all."""
    parts = [(str(name) or "no source", part) for name, part in table.groupby("source")]
    parts += [("all", table)] * (len(parts) > 1)
    return [
        {"source": name, "images": len(part), "patients": int(part["patient"].nunique())}
        | {label: int((part["label"] == label).sum()) for label in CLASS_NAMES}
        | {kind: int((part["subtype"] == kind).sum()) for kind in SUBTYPES[1:]}
        for name, part in parts
    ]


def how_saved(table: pd.DataFrame, files: Files) -> list[dict[str, Any]]:
    """Returns a row for each source and class: sizes, proportions, formats, modes, qualities.

    ``table``: label, source; its index is the place in ``files``.
    """
    rows = []
    joined = table[["label", "source"]].join(files.facts)
    for (source, label), part in joined.groupby(["source", "label"]):
        row: dict[str, Any] = {"source": str(source) or "no source", "label": str(label)}
        row["images"] = len(part)
        sizes = part[["width", "height", "bytes"]].agg(["min", "median", "max"]).astype(int)
        row |= {str(name): values.tolist() for name, values in sizes.items()}
        quartiles = (part["width"] / part["height"]).quantile([0.25, 0.5, 0.75])
        row["proportions"] = quartiles.round(3).tolist()
        for name in ("format", "mode", "quality"):
            kinds = part[name].replace("", DASH).value_counts()
            row[name] = {str(kind): int(number) for kind, number in kinds.items()}
        rows.append(row)
    return rows
