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

from pneumo.baselines.file_header import header
from pneumo.baselines.thumbnail_svm import SIDE
from pneumo.data import dicom, image
from pneumo.data.near_copies import perceptual_hash
from pneumo.data.saved_as import saved_as

SIZE = 256  # pixels an image is prepared to before it is hashed, as in conf/base/data.yaml


@dataclass(frozen=True)
class Files:
    """The files of a table that can be read, in its order, and those that cannot.

    Attributes:
        facts: path, sha256, bytes, format, mode, width, height, quality (of a JPEG, else empty).
        numbers: (N, 8) of pneumo.baselines.file_header.header.
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

    def read_one(path: str) -> tuple[dict[str, Any], list[float], int, np.ndarray] | None:
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


def _read(root: Path, path: str) -> tuple[dict[str, Any], list[float], int, np.ndarray]:
    data = image.read(root / path)
    if dicom.is_dicom(data):
        grey = dicom.decode(data, name=path)
        height, width = grey.shape
        pixels = width * height
        numbers: list[float] = [width, height, width / height, len(data), len(data) / pixels]
        numbers += [1.0, 0.0, 0.0]  # one channel, no quantisation table
        saved = {"format": "DICOM", "mode": "grey", "width": width, "height": height, "quality": ""}
    else:
        grey = image.decode(data, name=path)
        numbers = header(root / path)
        saved = saved_as(data)
    prepared = image.resize(grey, size=SIZE)
    digest = hashlib.sha256(data).hexdigest()
    facts = {"path": path, "sha256": digest, "bytes": len(data), **saved}
    return facts, numbers, perceptual_hash(prepared), image.resize(prepared, size=SIDE)
