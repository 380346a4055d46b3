"""Detection: trains on boxes around opacities, scores as the RSNA challenge does."""

import logging
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pneumo.data.boxes import PREDICTED, SIDES, TRUTH
from pneumo.data.cache import Cache
from pneumo.data.datamodule import XrayDataModule
from pneumo.data.detection import BoxBatch, BoxDataModule
from pneumo.evaluation import detection as evaluation
from pneumo.evaluation.detection import INSTALL, NO_BOX, WHY_NO_BOX
from pneumo.evaluation.scores import scores_at_half
from pneumo.models.detector import Detector
from pneumo.runs import run_folder, tables
from pneumo.runs.metrics import how_chosen
from pneumo.runs.tasks import DETECTION
from pneumo.training import metadata
from pneumo.training.config import Config
from pneumo.training.construction import build
from pneumo.training.devices import gathered
from pneumo.training.task import Scored, Task, batch_settings

log = logging.getLogger("pneumo")

FIXED_ON = "val"  # the split that the confidence is fixed on
LONGER = (
    "Train for longer (trainer.max_epochs); python -m pneumo.predict shows boxes of a lower "
    "score with --threshold"
)
NO_MAP = f"The mean average precision is left out: it needs pycocotools; {INSTALL}"


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

    def add(self, network: Detector, batch: BoxBatch) -> None:
        """Appends the boxes and losses of a network, in evaluation mode, on a batch."""
        boxes, losses = network(batch.image), network.losses(batch.image, batch.boxes)
        self.add_losses(losses, num_images=len(batch.row))
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


class Detection(Task):
    """Trains a detector, see Detector, and scores it on every split after each epoch."""

    with_boxes = True
    network: Detector

    def __init__(self, config: Config, network: Detector, data: XrayDataModule):
        super().__init__(config, network, data)
        self.seen: dict[str, Detections] = {}

    @classmethod
    def build_network(cls, config: Config) -> Detector:
        """Returns the detector of a configuration, channels-last."""
        return build("model", config.model.plain(without=("name",)), Detector).to(
            memory_format=torch.channels_last
        )

    @classmethod
    def batches(
        cls, config: Config, network: Detector, table: pd.DataFrame, images: Cache
    ) -> BoxDataModule:
        """Returns the batches with boxes."""
        return BoxDataModule(table, images, aspect=config.data.aspect, **batch_settings(config))

    def on_fit_start(self) -> None:
        """Warns if the mean average precision cannot be computed."""
        super().on_fit_start()
        if not find_spec("pycocotools"):
            log.warning(textwrap.fill(NO_MAP, metadata.WIDTH))

    def training_step(self, batch: BoxBatch, _batch_idx: int) -> Tensor:
        """Returns the sum of the losses of the batch."""
        losses = self.network.losses(batch.image, batch.boxes)
        self.seen.setdefault("train", Detections()).add_losses(losses, num_images=len(batch.row))
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: BoxBatch, _batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collects the boxes of one batch for the end of the epoch."""
        split = self.eval_splits[dataloader_idx]
        self.seen.setdefault(split, Detections()).add(self.network, batch)

    def scores(self) -> dict[str, dict[str, Any]]:
        """Returns the scores of each split: for train the losses, for the others as `score`."""
        parts, self.seen = gathered(self.seen), {}
        detections = {split: joined([part[split] for part in parts]) for split in parts[0]}
        train = detections.pop("train").mean_losses()
        confidence = fixed_confidence(detections[FIXED_ON])
        scores = {
            split: score(detections[split], confidence=confidence) for split in sorted(detections)
        }
        scores[FIXED_ON]["confidence"] = confidence
        return {"train": train, **scores}

    def score_splits(
        self, data: XrayDataModule, splits: Sequence[str], epoch: Mapping[str, Any]
    ) -> Scored:
        """Returns the scores and the boxes of every image of ``splits``."""
        assert isinstance(data, BoxDataModule)
        detections = {split: Detections() for split in splits}
        for split in splits:
            for batch in data.loader(split):
                moved: Any = self.transfer_batch_to_device(batch, self.device, 0)
                detections[split].add(self.network, moved)
            detections[split].to_files(data)
        confidence = epoch[FIXED_ON]["confidence"]  # in a debug run, of some of the images
        if FIXED_ON in detections:
            confidence = fixed_confidence(detections[FIXED_ON])
        scores = {split: score(detections[split], confidence=confidence) for split in splits}
        return Scored(epoch["epoch"], scores, detections, confidence)

    def tables(self, scored: Scored, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Returns predictions.csv and boxes.csv, see `predictions` and `box_table`."""
        detections = joined([scored.outputs[split] for split in self.eval_splits])
        return {
            run_folder.PREDICTIONS: predictions(detections, table),
            run_folder.BOXES: box_table(detections, table),
        }

    def facts(self, scored: Scored, table: pd.DataFrame) -> dict[str, Any]:
        """Returns the task, the confidence, and the number of true boxes of each split."""
        counts = table["boxes"].map(len).groupby(table["split"]).sum()
        boxes = {str(split): int(count) for split, count in counts.items()}
        return {"task": DETECTION, "boxes": boxes, "confidence": scored.confidence}

    @classmethod
    def conclusion(cls, metrics: Mapping[str, Any]) -> list[str]:
        """Returns the scores of both splits, and the reason if no box counts."""
        best, confidence = metrics["best"], metrics["confidence"]
        none = confidence == NO_BOX
        count = "no box counts" if none else f"boxes of a score of {confidence:.2f} and more count"
        epoch = f"Epoch {best['epoch'] + 1} of {len(metrics['history'])}"
        lines = [f"{epoch}, {how_chosen(metrics['selection'])}; {count}:"]
        for split in ("val", "test"):
            challenge, precision, auroc = (best[split][n] for n in ("challenge", "map", "auroc"))
            lines.append(
                f"  {split:4}  challenge score {challenge:.3f}   mean average precision "
                f"{precision:.3f}   AUROC of images {auroc:.3f}"
            )
        if none:
            why = f"No box counts: {WHY_NO_BOX}. {LONGER}"
            lines.append(textwrap.fill(why, metadata.WIDTH))
        return lines


def joined(parts: Sequence[Detections]) -> Detections:
    """Returns the detections on the images of all parts."""
    lists = ([each for part in parts for each in getattr(part, f.name)] for f in fields(Detections))
    return Detections(*lists)


def fixed_confidence(detections: Detections) -> float:
    """Returns the confidence with the best challenge score, for validation images."""
    return evaluation.fit_confidence(detections.truth, detections.boxes, detections.scores)


def score(detections: Detections, *, confidence: float) -> dict[str, Any]:
    """Returns the scores of a split.

    ``challenge`` counts the boxes of at least ``confidence``; ``map`` counts all, NaN without
    pycocotools. An image's probability of PNEUMONIA is its highest score, 0 without a box: the
    other scores are those of classification, with decisions at 0.5.
    """
    kept, _ = evaluation.kept(detections.boxes, detections.scores, confidence=confidence)
    probability = evaluation.highest_scores(detections.scores)
    label = np.array([int(len(boxes) > 0) for boxes in detections.truth])
    try:
        precision = evaluation.mean_average_precision(
            detections.truth, detections.boxes, detections.scores
        )["map"]
    except ModuleNotFoundError:  # the task warns once
        precision = math.nan
    return {
        "challenge": evaluation.challenge_score(detections.truth, kept),
        "map": precision,
        **scores_at_half(label, probability),
        **detections.mean_losses(),
    }


def predictions(detections: Detections, table: pd.DataFrame) -> pd.DataFrame:
    """Returns predictions.csv as of a classifier; p_pneumonia is the highest score of an image."""
    p = evaluation.highest_scores(detections.scores)
    return tables.predictions(table, detections.rows, p_normal=1 - p, p_pneumonia=p)


def box_table(detections: Detections, table: pd.DataFrame) -> pd.DataFrame:
    """Returns boxes.csv: a row for each true and each predicted box, sorted by path.

    Columns path, patient, split, kind (truth or predicted), score (in [0, 1]; NaN of truth), and
    x_min, y_min, x_max, y_max in pixels of the file.
    """
    images = table.assign(patient=table["group"])[["path", "patient", "split"]]
    parts = []
    for row, *boxes, scores in zip(
        detections.rows, detections.truth, detections.boxes, detections.scores, strict=True
    ):
        of_truth = np.full(len(boxes[0]), np.nan)
        for kind, sides, score in zip((TRUTH, PREDICTED), boxes, (of_truth, scores), strict=True):
            columns = {"kind": kind, "score": score.astype(np.float64)}
            columns |= dict(zip(SIDES, sides.T.astype(np.float64), strict=True))
            parts.append(pd.DataFrame({**images.loc[row], **columns}))
    table = pd.concat(parts)
    return table.sort_values(
        ["path", "kind", "score"], ascending=[True, False, False], ignore_index=True
    )
