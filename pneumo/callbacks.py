"""What a run shows and keeps while it trains: lines, the history file, pictures."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from torchvision.utils import make_grid

from pneumo import runs
from pneumo.data import XrayDataModule

log = logging.getLogger(__name__)

NUM_PICTURES = 16  # images in a picture of a batch


class EpochLines(pl.Callback):
    """One line an epoch, on the screen and in train.log.

    Args:
        select_on: the part whose F1 chooses the epoch.
    """

    def __init__(self, select_on: str):
        self.select_on = select_on

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the epoch's scores; a star marks the best so far."""
        row = _history(pl_module)[-1]
        f1 = row[self.select_on]["f1_normal"]
        best = max((r[self.select_on]["f1_normal"] for r in _history(pl_module)[:-1]), default=-1)
        parts = " ".join(
            f"{part} {row[part]['loss']:.3f}/{row[part]['f1_normal']:.3f}"
            for part in ("train", "val", "test")
            if part in row
        )
        log.info(
            "epoch %*d/%d loss/F1 %s  %.0f s%s",
            len(str(trainer.max_epochs)),
            row["epoch"] + 1,
            trainer.max_epochs,
            parts,
            row["seconds"],
            " *" if f1 > best else "",
        )


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
        runs.write_table(self.run_dir / "history.csv", history_table(history))
        runs.write_status(
            self.run_dir, "running", epoch=len(history), max_epochs=trainer.max_epochs or 0
        )


class BatchPicture(pl.Callback):
    """A picture of the first training images, as they are and augmented, for TensorBoard."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the two pictures, once."""
        data: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        writer = getattr(trainer.logger, "experiment", None)
        if writer is None or not hasattr(writer, "add_image"):
            return
        for name, augment in (("1_before", None), ("2_after", data.augment)):
            batch = next(iter(data.loader("train", augment=augment, shuffle=True)))
            grid = make_grid(batch.image[:NUM_PICTURES], nrow=8, padding=4, pad_value=255)
            writer.add_image(f"augmentation/{name}", grid, 0)


def history_table(history: list[dict[str, Any]]) -> pd.DataFrame:
    """Returns a row an epoch: epoch, lr, seconds, and train/accuracy and its like for each part."""
    return pd.DataFrame(
        [
            {
                "epoch": row["epoch"],
                "lr": row["lr"],
                "seconds": row["seconds"],
                **{
                    f"{part}/{name}": value
                    for part, scores in row.items()
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
