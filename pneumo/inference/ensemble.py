"""Finished runs as members of an ensemble: tables, networks, and what validation fixed for them."""

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pneumo.choices import DEVICES
from pneumo.data import split
from pneumo.data.reader import Radiograph, Shape
from pneumo.data.sets import images_of
from pneumo.evaluation.assessment import assess_run
from pneumo.evaluation.intervals import has_intervals
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.operating_point import OperatingPoint, fit_on_validation
from pneumo.inference import ood
from pneumo.labels import CLASS_NAMES, PNEUMONIA
from pneumo.models.base import Network
from pneumo.models.unet_encoder import without_tf32
from pneumo.models.views import Views
from pneumo.runs import pretrained, run_folder
from pneumo.runs.checkpoint import Trained, check_finite, load
from pneumo.runs.finished import read_metrics, read_table

MAX_REFERENCE_IMAGES = 500  # images that say what is ordinary; more changes the limit little
REFERENCE_BATCH = 32  # of them at once through the network
MARKS = (".hydra", "metrics.json", "status.json", "checkpoints")  # one of them: a run, maybe broken


@dataclass(frozen=True)
class Member:
    """The tables of one finished run."""

    name: str  # its folder as it was given, or pretrained:NAME
    run_dir: Path
    metrics: dict[str, Any]  # metrics.json
    split: pd.DataFrame  # split.csv: path, patient, group, label, subtype, source, split
    predictions: pd.DataFrame  # of the best checkpoint: the same columns and p_pneumonia

    def of_split(self, name: str) -> pd.DataFrame:
        """The rows of ``predictions`` of one split, sorted by path."""
        rows = self.predictions[self.predictions["split"] == name]
        return rows.sort_values("path", ignore_index=True)


def looks_like_run(path: Path) -> bool:
    """Returns whether a folder is meant as a run, finished or not."""
    return path.is_dir() and any((path / mark).exists() for mark in MARKS)


def read(run_dir: Path) -> Member:
    """Returns the tables of a finished run; ValueError or FileNotFoundError as trained.load."""
    run_folder.read_config(run_dir)  # says best what a folder that is no run lacks
    metrics = read_metrics(run_dir)
    if not metrics["data"].get("split_sha256"):
        raise ValueError(f"{run_dir / 'metrics.json'} must say which data the run had; it does not")
    table = read_table(run_dir / "split.csv", split.COLUMNS, labels=CLASS_NAMES)
    if split.digest(table) != metrics["data"]["split_sha256"]:
        raise ValueError(
            f"{run_dir / 'split.csv'} must be the split that metrics.json names by its digest; it "
            "is another. Take the run folder anew from where it was trained"
        )
    columns = ["path", "label", "split", "p_pneumonia"]
    scored = read_table(run_dir / "predictions.csv", columns, labels=CLASS_NAMES)
    probability = pd.to_numeric(scored["p_pneumonia"], errors="coerce")
    if not probability.between(0, 1).all():
        raise ValueError(f"{run_dir / 'predictions.csv'} must hold probabilities from 0 to 1")
    scored = scored[["path", "split"]].assign(p_pneumonia=probability)
    joined = table.merge(scored, on=["path", "split"])
    if len(joined) != len(scored):
        raise ValueError(f"{run_dir / 'predictions.csv'} must be of the images in split.csv")
    wanted = int(table["split"].isin(("val", "test")).sum())
    if len(scored) != wanted:
        raise ValueError(
            f"{run_dir / 'predictions.csv'} must have a row for each of the {wanted:,} validation "
            f"and test images of split.csv; it has {len(scored):,}: it is cut off. Take the run "
            "folder anew from where it was trained"
        )
    return Member(pretrained.name_of(run_dir), run_dir, metrics, table, joined)


def labels(table: pd.DataFrame) -> np.ndarray:
    """(N,) int64, 1 for PNEUMONIA."""
    return (table["label"] == PNEUMONIA).to_numpy(np.int64)


def common_val(members: Sequence[Member]) -> tuple[np.ndarray, Array] | str:
    """Returns (N,) labels and (M, N) probabilities of the validation split, or why there is none.

    Several members must have the same validation split: an image that one of them was trained on
    would make that one optimistic.
    """
    of_val = [member.of_split("val") for member in members]
    for member, rows in zip(members, of_val, strict=True):
        if rows.empty:
            protocol = member.metrics.get("protocol")
            return f"{member.name} has no validation split (protocol={protocol})"
    if any(set(rows["path"]) != set(of_val[0]["path"]) for rows in of_val[1:]):
        return "the runs have different validation splits"
    if any((rows["label"] != of_val[0]["label"]).any() for rows in of_val[1:]):
        return "the runs label the images of their validation splits differently"
    return labels(of_val[0]), np.stack([rows["p_pneumonia"].to_numpy() for rows in of_val])


def check_classes(members: Sequence[Member]) -> None:
    """Raises ValueError where members were trained on other classes than the first."""
    first, *others = members
    classes = first.metrics["num_classes"]
    for one in others:
        if (own := one.metrics["num_classes"]) != classes:
            raise ValueError(
                f"an ensemble must be of runs with the same classes; {first.name} has {classes}, "
                f"{one.name} has {own}. Take runs of one model.num_classes"
            )


@dataclass(frozen=True)
class CommonTest:
    """The test images of an ensemble's first member, sorted by path, and what was left out."""

    rows: pd.DataFrame  # on which no member was trained, and which are in all test splits
    trained: int  # images left out: a member was trained on them, or on their patient
    elsewhere: int  # images left out: not in every member's test split


def common_test(members: Sequence[Member]) -> CommonTest:
    """Returns the test images that are new to all members, and how many are left out, and why.

    Who is one patient may differ between the members, by patient_key: an image is left out where
    any member counts its patient among those that some member was trained on.

    Raises:
        ValueError: members label one of the images differently.
    """
    test = members[0].of_split("test")
    images = set().union(*(m.split.loc[m.split["split"] == "train", "path"] for m in members))
    trained = set().union(*(_of_same_patients(member.split, images) for member in members))
    is_trained = test["path"].isin(trained)
    tests = [member.of_split("test").set_index("path")["label"] for member in members]
    is_common = test["path"].isin(set.intersection(*(set(labels.index) for labels in tests)))
    rows = test[is_common & ~is_trained].reset_index(drop=True)
    for member, labels in zip(members, tests, strict=True):
        if (labels[rows["path"]].to_numpy() != rows["label"].to_numpy()).any():
            raise ValueError(
                "an ensemble must be of runs that label the images alike; "
                f"{member.name} labels some otherwise than {members[0].name}"
            )
    return CommonTest(rows, int(is_trained.sum()), int((~is_common & ~is_trained).sum()))


def _of_same_patients(table: pd.DataFrame, images: set[str]) -> set[str]:
    """The images of a split.csv that are of a patient of one of ``images``."""
    groups = table.loc[table["path"].isin(images), "group"]
    return set(table.loc[table["group"].isin(groups), "path"])


def mean_operating_point(members: Sequence[Member]) -> OperatingPoint | str:
    """Returns what the validation split fixes for the mean of the members, or why nothing."""
    val = common_val(members)
    return val if isinstance(val, str) else fit_on_validation(val[0], val[1].mean(0))


def assessment(member: Member) -> Mapping[str, Any]:
    """Returns metrics.json's assessment; made anew where its intervals are not today's."""
    found: Mapping[str, Any] | None = member.metrics.get("assessment")
    if found is not None and has_intervals(found):
        return found
    return assess_run(member.predictions, protocol=str(member.metrics.get("protocol")))


def own_images(member: Member) -> Path | None:
    """Returns the folder of the images a run was trained on, if it is where the run found it.

    Nothing is generated or fetched. All images of split.csv must be there.
    """
    try:
        data = OmegaConf.create({"data": run_folder.read_config(member.run_dir)["data"]}).data
        source = OmegaConf.to_container(data.source, resolve=True)
        folder = images_of(source if isinstance(source, dict) else {})
        there = folder and all((folder / path).is_file() for path in member.split["path"])
    # OSError of a name that is too long, RuntimeError of ~nosuchuser
    except (OmegaConfBaseException, KeyError, AttributeError, ValueError, OSError, RuntimeError):
        return None
    return folder if there else None


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

    The same radiograph has the same probability on a CPU and a GPU to within 1e-4: both compute in
    float32, TF32 being off.
    """

    def __init__(
        self,
        run_dirs: Sequence[Path],
        *,
        checkpoint: str,
        device: str = "auto",
        trust: Sequence[str] = (),
    ) -> None:
        self.device = pick_device(device)
        self.trained = [load(one, checkpoint=checkpoint, trust=trust) for one in run_dirs]
        for each in self.trained:
            each.network.to(self.device)

    @property
    def shapes(self) -> list[Shape]:
        """What the radiographs must be prepared for."""
        return list(dict.fromkeys((each.image_size, each.aspect) for each in self.trained))

    @torch.inference_mode()
    def score(self, radiographs: Sequence[Radiograph]) -> Scored:
        """Probabilities of each network, and what `ood` judges, for radiographs without error."""
        with without_tf32():
            pairs = [self._one(each, radiographs) for each in self.trained]
        layout = ood.layout(
            np.stack([radiograph.prepared[self.shapes[0]] for radiograph in radiographs])
        )
        return Scored([probability for probability, _ in pairs], pairs[0][1], layout)

    def _one(self, one: Trained, radiographs: Sequence[Radiograph]) -> tuple[Array, np.ndarray]:
        pixels = np.stack(
            [radiograph.prepared[one.image_size, one.aspect] for radiograph in radiographs]
        )
        image = torch.from_numpy(pixels)[:, None].to(self.device).float()
        features, logits = one.views.features_and_logits(one.network, image)
        probability = logits.double().softmax(1).cpu().numpy()
        check_finite(probability, one.run_dir)
        return probability, features.cpu().numpy()


def pick_device(device: str) -> torch.device:
    """Returns the device; auto is a GPU where there is one. ValueError: cuda, and there is none."""
    if device not in DEVICES:
        raise ValueError(f"--device must be one of {', '.join(DEVICES)}; got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda needs a GPU that torch can use; there is none. Use cpu")
    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if gpu else "cpu")


def batches(radiographs: Iterable[Radiograph], *, batch_size: int) -> Iterator[list[Radiograph]]:
    """Yields lists of up to ``batch_size`` radiographs."""
    radiographs = iter(radiographs)
    while batch := list(islice(radiographs, batch_size)):
        yield batch


def weights_digest(network: Network) -> str:
    """Returns the SHA-256 of a network's weights, for the features they make."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def reference_paths(predictions: pd.DataFrame) -> list[str]:
    """The images that say what is ordinary, sorted: up to MANY of the validation and test split."""
    paths = sorted(predictions["path"])
    return sorted(random.Random(0).sample(paths, min(MAX_REFERENCE_IMAGES, len(paths))))  # noqa: S311  (fixed)


@torch.inference_mode()
def make_reference(network: Network, prepared: np.ndarray, *, views: Views) -> ood.Reference | None:
    """Returns where (N, S, S) uint8 prepared images lie; None where they are too few to say."""
    if len(prepared) < ood.MIN_IMAGES:
        return None
    images = torch.from_numpy(prepared)[:, None].to(network.mean.device)
    with without_tf32():
        parts = [
            views.features_and_logits(network, p.float())[0]
            for p in torch.split(images, REFERENCE_BATCH)
        ]
    features = torch.cat(parts)
    return ood.Reference(
        ood.fit_detector(ood.layout(prepared)),
        ood.fit_detector(features.cpu().numpy()),
        weights_digest(network),
    )


def reference_path(run_dir: Path, *, checkpoint: str) -> Path:
    """Where a run keeps the summary of its features, see pneumo.inference.ood."""
    return run_dir / ("reference.npz" if checkpoint == "best" else f"reference-{checkpoint}.npz")


def stored_reference(trained: Trained, *, checkpoint: str) -> ood.Reference | None:
    """Returns the run's summary of its features, if an earlier command has left a fitting one."""
    path = reference_path(trained.run_dir, checkpoint=checkpoint)
    return ood.load(path, weights_sha256=weights_digest(trained.network))
