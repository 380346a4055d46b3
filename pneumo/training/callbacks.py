"""What a run shows and keeps while it trains: lines, the history file, pictures."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ProgressBar, WeightAveraging
from torch import Tensor
from torchvision.utils import make_grid
from tqdm.auto import tqdm

from pneumo.data.datamodule import XrayDataModule
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from pneumo.training import tensorboard_log
from pneumo.training.task import Classifier, Selection

log = logging.getLogger(__name__)

NUM_PICTURES = 16  # images in a picture of a batch


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
        history = _history(pl_module)
        row = history[-1]
        is_best = self.selection.best(history) == len(history) - 1
        log.info(
            "epoch %*d/%d loss/%s %s  %.0f s%s",
            len(str(trainer.max_epochs)),
            row["epoch"] + 1,
            trainer.max_epochs,
            "F1" if self.score == "f1_normal" else self.score,
            " ".join(self._told(row, split) for split in ("train", "val", "test") if split in row),
            row["seconds"],
            " *" if is_best and self.selection.on in row else "",
        )

    def _told(self, row: Mapping[str, Any], split: str) -> str:
        scores = row[split]
        told = f"/{scores[self.score]:.3f}" if self.score in scores else ""
        return f"{split} {scores['loss']:.3f}{told}"


class EpochBar(ProgressBar):
    """One bar on stderr for the epoch under way, which is gone before the epoch's line is written.

    Training and scoring are one bar; epochs are counted from 1, as in the lines.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bar: Any = None

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

    def on_validation_batch_end(self, *_: Any) -> None:
        """Counts a batch."""
        self.bar.update()

    def on_validation_end(self, *_: Any) -> None:
        """Takes the bar away."""
        self.bar.close()

    def on_exception(self, *_: Any) -> None:
        """Takes the bar away, so that the message has a line of its own."""
        if self.bar is not None:
            self.bar.close()


class Checkpoints(Checkpoint):
    """Keeps last.ckpt, and best.ckpt of the epoch that the rule chooses in the run's history.

    Lightning's ModelCheckpoint remembers its best score beside the folder's path and forgets it
    when the folder is moved, and takes the first of equal epochs. The history is in the checkpoint,
    so what is saved here is always what metrics.json will name.

    Args:
        run_dir: the run folder; both files go into its checkpoints/.
        monitor: the score and the split that choose the epoch, such as f1_normal/val; or "last":
            nothing is selected, and best.ckpt is the last epoch's. The direction is the score's.
    """

    def __init__(self, run_dir: str, monitor: str):
        self.run_dir = Path(run_dir)
        self.selection = Selection.parse(monitor)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes last.ckpt, after best.ckpt where this epoch is the best so far."""
        history = _history(pl_module)
        if self.selection.best(history) == len(history) - 1:
            trainer.save_checkpoint(self.run_dir / run_folder.BEST)
        trainer.save_checkpoint(self.run_dir / run_folder.LAST)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps whether training ends here, as early stopping asks for."""
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

    Lightning's CSVLogger deletes its file when a run is resumed; this one writes the whole
    history, which the checkpoint keeps, anew after each epoch.
    """

    def __init__(self, run_dir: str):
        self.run_dir = Path(run_dir)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes both files."""
        history = _history(pl_module)
        writer = RunWriter(self.run_dir)
        writer.write_table("history.csv", history_table(history))
        writer.write_status("running", epoch=len(history), max_epochs=trainer.max_epochs or 0)


class AveragedWeights(WeightAveraging):
    """Scores and keeps a moving average of the weights and of their batch statistics.

    Lightning's EMAWeightAveraging keeps the first weights at full share: of a run of a few hundred
    steps they would be most of the average. Here, as in TensorFlow's, the share that stays is at
    most (1 + n) / (10 + n) after n steps.

    Args:
        decay: from 0, below 1; share of the average that stays at each step, in the end.
    """

    def __init__(self, decay: float = 0.995):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be from 0, below 1; got {decay}")

        def average(old: Tensor, new: Tensor, num_averaged: Tensor | int) -> Tensor:
            if not new.is_floating_point():  # how many batches a normalisation has seen
                return new
            number = int(num_averaged)
            return old.lerp(new, 1 - min(decay, (1 + number) / (10 + number)))

        super().__init__(avg_fn=average)


class ProgressiveResize(pl.Callback):
    """Trains on smaller images in the first epochs; scores are of the whole size.

    Args:
        sides: pairs of the number of an epoch, from 1, and the side in pixels from there on; None
            is the whole image's.
    """

    def __init__(self, sides: Sequence[tuple[int, int | None]]):
        self.sides = dict(sides)
        whole = all(isinstance(n, int) and n > 0 for n in (*self.sides, *self.sides.values()) if n)
        if not whole or not self.sides or min(self.sides) < 1:
            raise ValueError(f"sides must be pairs of an epoch from 1 and a side; got {sides}")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sets the side of the epoch."""
        assert isinstance(pl_module, Classifier)
        begun = [epoch for epoch in self.sides if epoch <= trainer.current_epoch + 1]
        pl_module.train_side = self.sides[max(begun)] if begun else None


class BatchPicture(pl.Callback):
    """A picture of the first training images, as they are and augmented, for TensorBoard."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the two pictures, once."""
        data: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        writer = tensorboard_log.writer_of(trainer)
        if writer is None:
            return
        for name, augment in (("1_before", None), ("2_after", data.augment)):
            batch = next(iter(data.loader("train", augment=augment, shuffle=True)))
            grid = make_grid(batch.image[:NUM_PICTURES], nrow=8, padding=4, pad_value=255)
            writer.add_image(f"augmentation/{name}", grid, 0)


def history_table(history: list[dict[str, Any]]) -> pd.DataFrame:
    """Returns a row an epoch: epoch, lr, seconds, and train/accuracy and the like of each split."""
    return pd.DataFrame(
        [
            {
                "epoch": row["epoch"],
                "lr": row["lr"],
                "seconds": row["seconds"],
                **{
                    f"{split}/{name}": value
                    for split, scores in row.items()
                    if isinstance(scores, dict)
                    for name, value in scores.items()
                    if name != "confusion"
                },
            }
            for row in history
        ]
    )


def _history(module: pl.LightningModule) -> list[dict[str, Any]]:
    history = module.history
    assert isinstance(history, list)
    return history
