"""The networks of some runs on one device, and the scores they give radiographs."""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from pneumo import cli
from pneumo.data import reader
from pneumo.data.reader import Radiograph, Shape
from pneumo.evaluation.metrics import Array
from pneumo.inference import ood
from pneumo.models.unet_encoder import without_tf32
from pneumo.runs.network import check_finite, weights_digest
from pneumo.runs.run import Run

BATCH_SIZE = 32  # images at once through a network
THREADS = 2  # that decode ahead


class UnreadableError(ValueError):
    """An image cannot be read, so scores would be of other images than the named ones."""

    exit_code = cli.UNREADABLE


class FileScores(NamedTuple):
    """The scores of N files, in the order of their names."""

    probability: Array  # (M, N) of PNEUMONIA, of M networks
    pixels: list[float]  # of each file
    content: list[str]  # a digest of each file's prepared pixels, equal for copies


@dataclass(frozen=True)
class Scored:
    """A batch of radiographs through all networks."""

    classes: list[Array]  # (B, C) probabilities of each network
    features: np.ndarray  # (B, c) of the first network
    layout: Array  # (B, 73) of the images as the first network gets them, see pneumo.inference.ood

    @property
    def pneumonia(self) -> Array:
        """(M, B) probabilities of PNEUMONIA."""
        return np.stack([each[:, 1:].sum(1) for each in self.classes])


class Networks:
    """The networks of some runs on one device.

    A radiograph has the same probability on a CPU and a GPU to within 1e-4: both compute in
    float32, with TF32 off.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        checkpoint: str,
        device: str = "auto",
        trust: Sequence[str] = (),
    ) -> None:
        self.runs, self.checkpoint, self.device = list(runs), checkpoint, pick_device(device)
        self.networks = [run.network(checkpoint, trust=trust).to(self.device) for run in runs]

    @property
    def shapes(self) -> list[Shape]:
        """The shapes that radiographs must be prepared in."""
        return shapes(self.runs)

    @property
    def distinguishes_types(self) -> bool:
        """Whether every network distinguishes bacteria from virus."""
        return all(network.num_classes == 3 for network in self.networks)

    @property
    def description(self) -> str:
        """The model and a digest of the weights of each network."""
        return "; ".join(
            f"{run.metrics['model']}, weights {weights_digest(network)[:16]}"
            for run, network in zip(self.runs, self.networks, strict=True)
        )

    @torch.inference_mode()
    def score(self, radiographs: Sequence[Radiograph]) -> Scored:
        """Returns the probabilities of each network, features and layout of readable images."""
        pixels = [
            np.stack([each.prepared[run.image_size, run.aspect] for each in radiographs])
            for run in self.runs
        ]
        probability, features = zip(*map(self._score, range(len(pixels)), pixels), strict=True)
        return Scored(list(probability), features[0], ood.layout(pixels[0]))

    @torch.inference_mode()
    def pneumonia(self, pixels: np.ndarray, *, place: int) -> Array:
        """Returns (B,) probabilities of PNEUMONIA by one network of (B, S, S) prepared images."""
        probability: Array = self._score(place, pixels)[0][:, 1:].sum(1)
        return probability

    def _score(self, place: int, pixels: np.ndarray) -> tuple[Array, np.ndarray]:
        run, network = self.runs[place], self.networks[place]
        image = torch.from_numpy(pixels)[:, None].to(self.device).float()
        with without_tf32():
            features, logits = run.views.features_and_logits(network, image)
        probability = logits.double().softmax(1).cpu().numpy()
        check_finite(probability, name=run.name)
        return probability, features.cpu().numpy()

    def score_files(self, root: Path, paths: Sequence[str]) -> FileScores:
        """Returns the scores of N files below ``root``; UnreadableError: one cannot be read."""
        parts, pixels, content = [], [], []
        for batch, scored in self.scored([str(root / path) for path in paths], title="scoring"):
            for radiograph in batch:
                pixels.append(float(radiograph.size[0] * radiograph.size[1]))
                prepared = radiograph.prepared[self.shapes[0]]
                content.append(hashlib.sha256(prepared.tobytes()).hexdigest())
            parts.append(scored.pneumonia)
        return FileScores(np.concatenate(parts, axis=1), pixels, content)

    def scored(
        self, names: Sequence[str], *, title: str
    ) -> Iterator[tuple[list[Radiograph], Scored]]:
        """Yields batches of files with their scores; UnreadableError: one cannot be read."""
        stream = read_shown(names, title, shapes=self.shapes, threads=THREADS)
        for batch in batches(stream, batch_size=BATCH_SIZE):
            for radiograph in batch:
                check_readable(radiograph)
            yield batch, self.score(batch)


def shapes(runs: Sequence[Run]) -> list[Shape]:
    """Returns the shapes that radiographs must be prepared in for some runs."""
    return list(dict.fromkeys((run.image_size, run.aspect) for run in runs))


def read_shown(
    names: Sequence[str], title: str, *, shapes: Sequence[Shape], threads: int, bar: bool = True
) -> Iterable[Radiograph]:
    """Returns the radiographs of files, in order; on a terminal with a bar, removed at the end."""
    stream, hidden = reader.read_all(names, shapes=shapes, threads=threads), not sys.stderr.isatty()
    total = len(names)
    return tqdm(stream, title, total, leave=False, unit="image", disable=hidden or not bar)


def read_prepared(names: Sequence[str], *, shape: Shape) -> np.ndarray:
    """Returns (N, S, S) uint8 prepared files; UnreadableError: one cannot be read."""
    radiographs = list(read_shown(names, "reading", shapes=[shape], threads=THREADS))
    for radiograph in radiographs:
        check_readable(radiograph)
    return np.stack([radiograph.prepared[shape] for radiograph in radiographs])


def check_readable(radiograph: Radiograph) -> None:
    """Raises UnreadableError if an image could not be read."""
    if radiograph.error:
        raise UnreadableError(
            f"{radiograph.name}: {radiograph.error}. Scores need all images; repair it or remove it"
        )


def pick_device(device: str) -> torch.device:
    """Returns the device; auto is a GPU if there is one. ValueError: cuda without a GPU."""
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ValueError("--device cuda needs a GPU that torch can use; there is none. Use cpu")
    return torch.device("cuda" if has_gpu and device != "cpu" else "cpu")


def batches(radiographs: Iterable[Radiograph], *, batch_size: int) -> Iterator[list[Radiograph]]:
    """Yields lists of up to ``batch_size`` radiographs."""
    radiographs = iter(radiographs)
    while batch := list(islice(radiographs, batch_size)):
        yield batch
