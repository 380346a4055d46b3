"""Every image of a list is scored, or none: what evaluate and calibrate read."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from pneumo.data import reader
from pneumo.data.reader import Radiograph
from pneumo.evaluation.metrics import Array
from pneumo.inference import ensemble
from pneumo.inference.ensemble import Networks

BATCH_SIZE = 32  # images
THREADS = 2  # that decode ahead


class FileScores(NamedTuple):
    """What N files hold, in the order of their names."""

    probability: Array  # (M, N) of PNEUMONIA, of M networks
    pixels: list[float]  # of each file
    content: list[str]  # a digest of each file's prepared pixels, which its copies share


class UnreadableError(ValueError):
    """An image cannot be read, so that scores would be of others than those named."""


def check_readable(radiograph: Radiograph) -> None:
    """Raises UnreadableError where an image could not be read."""
    if radiograph.error:
        raise UnreadableError(
            f"{radiograph.name}: {radiograph.error}. Scores are of all images or none; "
            "repair it or take it out"
        )


def score_files(networks: Networks, root: Path, paths: Sequence[str]) -> FileScores:
    """Returns the probabilities that M networks give N files, and what tells copies.

    Args:
        networks: of one or several runs.
        root: the folder that paths are relative to.
        paths: of N images.

    Raises:
        UnreadableError: an image cannot be read.
    """
    names = [str(root / path) for path in paths]
    parts, pixels, content = [], [], []
    hidden = not sys.stderr.isatty()
    with tqdm(total=len(names), desc="scoring", unit="image", disable=hidden) as bar:
        stream = reader.read_all(names, shapes=networks.shapes, threads=THREADS)
        for batch in ensemble.batches(stream, batch_size=BATCH_SIZE):
            for radiograph in batch:
                check_readable(radiograph)
                pixels.append(float(radiograph.size[0] * radiograph.size[1]))
                prepared = radiograph.prepared[networks.shapes[0]]
                content.append(hashlib.sha256(prepared.tobytes()).hexdigest())
            parts.append(networks.score(batch).pneumonia)
            bar.update(len(batch))
    return FileScores(np.concatenate(parts, axis=1), pixels, content)
