"""Callbacks: the choice of the epoch, lines, checkpoints, history, pictures, averaged weights."""

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ProgressBar, WeightAveraging
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, make_grid
from tqdm.auto import tqdm

from pneumo.data.datamodule import XrayDataModule
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from pneumo.training import loggers
from pneumo.training.config import LAST, direction
from pneumo.training.task import Task

log = logging.getLogger(__name__)

NUM_PICTURES = 16  # images in a picture of a batch
GRID: dict[str, Any] = {"nrow": 8, "padding": 4, "pad_value": 255}
SIDE = 256  # pixels of an image with boxes, at least, so that scores can be read
TRUE, PREDICTED = "lime", "red"  # boxes


@dataclass(frozen=True)
class Selection:
    """Chooses an epoch, for best.ckpt, the screen and metrics.json alike.

    Args:
        monitor: a score of an epoch, such as f1_normal or loss; or "last", the last epoch.
        on: the split it is taken from, such as val; "none" with "last".
    """

    monitor: str
    on: str

    @classmethod
    def parse(cls, monitor: str) -> "Selection":
        """Returns the rule of "last" or of a score and a split such as "f1_normal/val"."""
        name, _, on = monitor.partition("/")
        return cls(name, on or "none")

    def best(self, history: Sequence[Mapping[str, Any]]) -> int:
        """Returns the index in ``history`` of the chosen epoch.

        Of equal scores the one with the lower loss on the same split is better, of equal losses
        the earlier one. A score that is not a number is never better than one that is.

        Raises:
            ValueError: an epoch has no such score or split.
        """
        if self.monitor == LAST:
            return len(history) - 1
        sign = 1 if direction(self.monitor) == "max" else -1

        def rank(place: int) -> tuple[float, ...]:
            scores = history[place].get(self.on, {})
            if self.monitor not in scores:
                raise ValueError(f"epoch {place + 1} has no score {self.monitor}/{self.on}")
            values = sign * scores[self.monitor], -scores["loss"]
            return (*(-math.inf if math.isnan(value) else value for value in values), -place)

        return max(range(len(history)), key=rank)


class EpochLines(pl.Callback):
    """Logs one line per epoch, on the screen and in train.log.

    Args:
        monitor: as of Checkpoints.
        score: the score shown beside the loss, for the splits that have it.
    """

    def __init__(self, monitor: str, score: str = "f1_normal"):
        self.selection = Selection.parse(monitor)
        self.score = score

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the epoch's scores; a star marks the best so far, where epochs compete."""
        assert isinstance(pl_module, Task)
        history = pl_module.history
        row = history[-1]
        is_best = self.selection.best(history) == len(history) - 1
        shown = []
        for split, scores in ((s, row[s]) for s in ("train", "val", "test") if s in row):
            score = f"/{scores[self.score]:.3f}" if self.score in scores else ""
            shown.append(f"{split} {scores['loss']:.3f}{score}")
        log.info(
            "epoch %*d/%d loss/%s %s  %.0f s%s",
            len(str(trainer.max_epochs)),
            row["epoch"] + 1,
            trainer.max_epochs,
            "F1" if self.score == "f1_normal" else self.score,
            " ".join(shown),
            row["seconds"],
            " *" if is_best and self.selection.on in row else "",
        )


class EpochBar(ProgressBar):
    """One bar on stderr for training and scoring an epoch, removed before the epoch's line."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = tqdm(disable=True)

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Opens the bar."""
        self.bar = tqdm(
            total=int(self.total_train_batches + sum(trainer.num_val_batches)),
            desc=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            unit=" batches",
            leave=False,
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def on_train_batch_end(self, *_: Any) -> None:
        """Counts a batch."""
        self.bar.update()

    on_validation_batch_end = on_train_batch_end  # type: ignore[assignment]

    def on_train_epoch_end(self, *_: Any) -> None:
        """Removes the bar, so that a line or a message follows alone."""
        self.bar.close()

    on_exception = on_train_epoch_end  # type: ignore[assignment]


class Checkpoints(Checkpoint):
    """Writes last.ckpt, and best.ckpt of the epoch that the rule chooses in the run's history.

    Lightning's ModelCheckpoint forgets its best score when the run folder is moved, and takes the
    first of equal epochs. The history is in the checkpoint, so that the epoch saved here is the one
    in metrics.json.

    Args:
        run_dir: the run folder; both files go into its checkpoints/.
        monitor: the score and the split that choose the epoch, such as f1_normal/val; or "last":
            nothing is selected, and best.ckpt is the last epoch's. The direction is the score's.
    """

    def __init__(self, run_dir: str, monitor: str):
        self.run_dir = Path(run_dir)
        self.selection = Selection.parse(monitor)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes last.ckpt, after best.ckpt if this epoch is the best so far."""
        assert isinstance(pl_module, Task)
        history = pl_module.history
        if self.selection.best(history) == len(history) - 1:
            trainer.save_checkpoint(self.run_dir / run_folder.BEST)
        trainer.save_checkpoint(self.run_dir / run_folder.LAST)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds whether early stopping ends the training here."""
        checkpoint["stopped"] = trainer.should_stop

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Ends the training of a run that was killed after its last epoch.

        Early stopping itself looks only after an epoch, so that one more would be trained.
        """
        trainer.should_stop = bool(checkpoint.get("stopped", False))


class History(pl.Callback):
    """Keeps history.csv and status.json of the run folder up to date.

    Lightning's CSVLogger deletes its file when a run is resumed; the history is in the checkpoint.
    Of several devices' processes the first one writes.
    """

    def __init__(self, run_dir: str):
        self.run_dir = Path(run_dir)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes both files."""
        assert isinstance(pl_module, Task)
        if not trainer.is_global_zero:
            return
        history = pl_module.history
        writer = RunWriter(self.run_dir)
        writer.write_table("history.csv", history_table(history))
        writer.write_status("running", epoch=len(history), max_epochs=trainer.max_epochs or 0)


class AveragedWeights(WeightAveraging):
    """Scores and saves a moving average of the weights and of their batch statistics.

    Lightning's EMAWeightAveraging keeps the first weights at full share: of a run of a few hundred
    steps they would be most of the average. Here, as in TensorFlow's, the share that stays is at
    most (1 + n) / (10 + n) after n steps.

    Args:
        decay: in [0, 1), the share of the average that stays at each step, in the end.
    """

    def __init__(self, decay: float = 0.995):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1; got {decay}")

        def average(old: Tensor, new: Tensor, num_averaged: Tensor | int) -> Tensor:
            if not new.is_floating_point():  # the number of batches of a normalisation
                return new
            number = int(num_averaged)
            return old.lerp(new, 1 - min(decay, (1 + number) / (10 + number)))

        super().__init__(avg_fn=average)


def history_table(history: list[dict[str, Any]]) -> pd.DataFrame:
    """Returns one row per epoch: epoch, lr, seconds, and scores named train/accuracy."""
    table = pd.json_normalize(history, sep="/")
    return table[[name for name in table if not str(name).endswith("/confusion")]]


class BatchPicture(pl.Callback):
    """Two pictures of the first training images for TensorBoard: as they are, and augmented."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the two pictures."""
        data: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if not (writer := loggers.writer_of(trainer)):
            return
        for name, augment in (("1_before", None), ("2_after", data.augment)):
            batch = next(iter(data.loader("train", augment=augment, shuffle=True)))
            grid = make_grid(batch.image[:NUM_PICTURES], **GRID)
            writer.add_image(f"augmentation/{name}", grid, 0)


class BoxPictures(pl.Callback):
    """Draws the first validation images of a detector: true boxes green, predicted ones red.

    The predicted ones are those that count at the confidence fixed on the validation images.
    """

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the picture of the epoch."""
        data: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if not (writer := loggers.writer_of(trainer)):
            return
        assert isinstance(pl_module, Task)
        batch: Any = next(iter(data.loader("val", mixed=True)))
        network: Any = pl_module.network.eval()
        predicted = network(batch.image[:NUM_PICTURES].to(pl_module.device))
        network.train()
        confidence = pl_module.history[-1]["val"]["confidence"]
        pictures = [
            draw(image, true, boxes["boxes"].cpu(), boxes["scores"].cpu(), confidence=confidence)
            for image, true, boxes in zip(batch.image, batch.boxes, predicted, strict=False)
        ]
        writer.add_image("boxes/val", make_grid(pictures, **GRID), pl_module.current_epoch + 1)


def draw(
    image: Tensor, true: Tensor, boxes: Tensor, scores: Tensor, *, confidence: float
) -> Tensor:
    """Returns (3, H, W) uint8 of a (1, S, S) uint8 image with its boxes, (N, 4) and (M, 4)."""
    zoom = max(1, round(SIDE / image.shape[-1]))
    picture = image.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2).expand(3, -1, -1)
    counts = scores >= confidence
    if len(true):
        picture = draw_bounding_boxes(picture, true * zoom, colors=TRUE, width=2)
    if counts.any():
        labels = [f"{value:.2f}" for value in scores[counts]]
        picture = draw_bounding_boxes(
            picture, boxes[counts] * zoom, labels, colors=PREDICTED, width=2
        )
    return picture.contiguous()
