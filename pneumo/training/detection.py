"""The LightningModule of detectors: training steps, and scores after each epoch."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pneumo.data.boxes import PREDICTED, SIDES, TRUTH
from pneumo.data.detection import BoxBatch, BoxDataModule
from pneumo.evaluation import detection as evaluation
from pneumo.models.detector import Detector
from pneumo.training.base import Task
from pneumo.training.scoring import Scores
from pneumo.training.task import image_scores

log = logging.getLogger("pneumo")

FIXED_ON = "val"  # the split that the confidence is fixed on


@dataclass
class Detections:
    """The boxes that a detector predicts on the images of a split, in their order.

    Boxes are in pixels of the prepared images, until `to_files`.
    """

    rows: list[int] = field(default_factory=list)  # of the table
    truth: list[np.ndarray] = field(default_factory=list)  # (N, 4) of each image
    boxes: list[np.ndarray] = field(default_factory=list)  # (M, 4) of each image
    scores: list[np.ndarray] = field(default_factory=list)  # (M,) of each image, in [0, 1]
    losses: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # of batches: images

    def add(self, batch: BoxBatch, boxes: Sequence[Mapping[str, Tensor]]) -> None:
        """Appends the images of a batch, with their true and predicted boxes."""
        self.rows += batch.row.tolist()
        self.truth += [true.cpu().numpy() for true in batch.boxes]
        self.boxes += [predicted["boxes"].float().cpu().numpy() for predicted in boxes]
        self.scores += [predicted["scores"].float().cpu().numpy() for predicted in boxes]

    def add_losses(self, losses: Mapping[str, Tensor], *, num_images: int) -> None:
        """Appends the losses of a batch."""
        self.losses.append((num_images, {k: float(v.detach()) for k, v in losses.items()}))

    def to_files(self, data: BoxDataModule) -> None:
        """Converts boxes to pixels of the files; drops those that lie outside, in the padding."""
        for place, row in enumerate(self.rows):
            self.truth[place] = data.true_boxes[row]
            boxes = data.to_file(self.boxes[place].astype(np.float64), row)
            inside = (boxes[:, :2] < boxes[:, 2:]).all(1)
            self.boxes[place], self.scores[place] = boxes[inside], self.scores[place][inside]

    def mean_losses(self) -> dict[str, float]:
        """Returns the mean of each loss over the images, and their sum as loss."""
        total = sum(count for count, _ in self.losses)
        means = {
            name: sum(count * of_batch[name] for count, of_batch in self.losses) / total
            for name in self.losses[0][1]
        }
        return {"loss": sum(means.values()), **means}


class DetectionTask(Task):
    """Trains a detector and scores it on every split after each epoch.

    Args:
        network: returns boxes and losses, see Detector.
        others: as of Task.
    """

    network: Detector

    def __init__(self, network: Detector, **others: Any):
        super().__init__(network, **others)
        self.seen: dict[str, Detections] = {}

    def training_step(self, batch: BoxBatch, _batch_idx: int) -> Tensor:
        """Returns the sum of the losses of the batch."""
        losses = self.network.losses(batch.image, batch.boxes)
        self.seen.setdefault("train", Detections()).add_losses(losses, num_images=len(batch.row))
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: BoxBatch, _batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collects the boxes of one batch for the end of the epoch."""
        keep(
            self.network,
            batch,
            self.seen.setdefault(self.eval_splits[dataloader_idx], Detections()),
        )

    def scores(self) -> dict[str, dict[str, Any]]:
        """Returns the scores of each split: for train the losses, for the others as `score`."""
        train = self.seen.pop("train").mean_losses()
        detections, self.seen = self.seen, {}
        confidence = fixed_confidence(detections[FIXED_ON])
        scores = {
            split: score(detections[split], confidence=confidence) for split in sorted(detections)
        }
        scores[FIXED_ON]["confidence"] = confidence
        return {"train": train, **scores}


def keep(network: Detector, batch: BoxBatch, detections: Detections) -> None:
    """Appends the boxes and losses of a network, in evaluation mode, on a batch."""
    detections.add(batch, network(batch.image))
    detections.add_losses(network.losses(batch.image, batch.boxes), num_images=len(batch.row))


def fixed_confidence(detections: Detections) -> float:
    """Returns the confidence with the best challenge score, for validation images."""
    return evaluation.fit_confidence(detections.truth, detections.boxes, detections.scores)


def score(detections: Detections, *, confidence: float) -> dict[str, Any]:
    """Returns the scores of a split.

    ``challenge`` counts the boxes of at least ``confidence``; ``map`` counts all, NaN without
    pycocotools. An image's probability of PNEUMONIA is its highest score, 0 without a box: the
    other scores are a classifier's, with decisions at 0.5.
    """
    kept, _ = evaluation.kept(detections.boxes, detections.scores, confidence=confidence)
    probability = torch.from_numpy(evaluation.highest_scores(detections.scores))
    label = torch.tensor([int(len(boxes) > 0) for boxes in detections.truth])
    return {
        "challenge": evaluation.challenge_score(detections.truth, kept),
        "map": mean_average_precision(detections),
        **image_scores(probability, label),
        **detections.mean_losses(),
    }


def mean_average_precision(detections: Detections) -> float:
    """Returns COCO's mean average precision; NaN where pycocotools is not installed."""
    try:
        return evaluation.mean_average_precision(
            detections.truth, detections.boxes, detections.scores
        )["map"]
    except ModuleNotFoundError:  # fit_detection warns once
        return math.nan


@dataclass(frozen=True)
class Scored(Scores):
    """The predictions of one checkpoint on some splits; scores as `score` returns them."""

    confidence: float  # fixed on the validation split
    detections: dict[str, Detections]  # by split, in pixels of the files


@torch.inference_mode()
def score_checkpoint(
    module: DetectionTask, data: BoxDataModule, path: Path, *, splits: list[str]
) -> Scored:
    """Loads a checkpoint into ``module``, on its device, and scores every image of ``splits``."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    module.eval()
    detections = {split: Detections() for split in splits}
    for split in splits:
        for batch in data.loader(split):
            moved = BoxBatch(*(values.to(module.device) for values in batch))
            keep(module.network, moved, detections[split])
        detections[split].to_files(data)
    last = checkpoint["history"][-1]
    confidence = last[FIXED_ON]["confidence"]  # in a debug run, of some of the images
    if FIXED_ON in detections:
        confidence = fixed_confidence(detections[FIXED_ON])
    scores = {split: score(detections[split], confidence=confidence) for split in splits}
    return Scored(last["epoch"], scores, confidence, detections)


def predictions(scored: Scored, table: pd.DataFrame, *, splits: list[str]) -> pd.DataFrame:
    """Returns predictions.csv as a classifier's: p_pneumonia is an image's highest score."""
    rows = [row for split in splits for row in scored.detections[split].rows]
    highest = [evaluation.highest_scores(scored.detections[split].scores) for split in splits]
    probability = np.concatenate(highest)
    return (
        table.assign(patient=table["group"])
        .loc[rows, ["path", "patient", "label", "split"]]
        .assign(p_normal=1 - probability, p_pneumonia=probability)
        .sort_values("path")
    )


def box_table(scored: Scored, table: pd.DataFrame, *, splits: list[str]) -> pd.DataFrame:
    """Returns boxes.csv: a row a box, true ones and all predicted ones, sorted by path.

    Columns path, patient, split, kind (truth or predicted), score (in [0, 1]; NaN of truth), and
    x_min, y_min, x_max, y_max in pixels of the file.
    """
    parts = []
    for detections in (scored.detections[split] for split in splits):
        for row, true, boxes, scores in zip(
            detections.rows, detections.truth, detections.boxes, detections.scores, strict=True
        ):
            parts += [_rows(row, TRUTH, np.full(len(true), np.nan), true)]
            parts += [_rows(row, PREDICTED, scores, boxes)]
    rows = pd.concat(parts, ignore_index=True)
    images = table.assign(patient=table["group"])
    images = images.loc[rows.pop("row"), ["path", "patient", "split"]].set_axis(rows.index)
    ordered = images.join(rows).sort_values(
        ["path", "kind", "score"], ascending=[True, False, False]
    )
    return ordered.reset_index(drop=True)


def _rows(row: int, kind: str, scores: np.ndarray, boxes: np.ndarray) -> pd.DataFrame:
    columns = {"row": row, "kind": kind, "score": scores.astype(np.float64)}
    return pd.DataFrame(columns | dict(zip(SIDES, boxes.T.astype(np.float64), strict=True)))
