"""The base of the two tasks: a network, its batches, optimizer, history and scores."""

import logging
import math
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from pneumo.data.cache import Cache
from pneumo.data.datamodule import XrayDataModule
from pneumo.training.config import Config
from pneumo.training.construction import naming

log = logging.getLogger("pneumo")

OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]  # parameters or groups
ScheduleFactory = Callable[[torch.optim.Optimizer], LRScheduler]


@dataclass(frozen=True)
class Scored:
    """The predictions of one checkpoint for all images of some splits, in evaluation mode."""

    epoch: int  # after which the checkpoint was saved, from 0
    scores: dict[str, dict[str, Any]]  # by split
    outputs: dict[str, Any]  # by split: rows and logits of a classifier, Detections of a detector
    confidence: float | None = None  # of a detector's boxes, fixed on the validation split


class Task(pl.LightningModule):
    """Trains a network and scores it on every split after each epoch.

    A subclass has the steps of Lightning, and the methods below that are abstract.

    Attributes:
        with_boxes: whether its images have boxes.
        arithmetic: kind and number of devices, and threads of each, on which the last digits of the
            weights depend. A run that is resumed with others records both.

    Args:
        config: of the run. Its seed is that of the dropout; with the epoch it sets torch's
            generator, so that a resumed run draws the same numbers as an uninterrupted one.
        network: of `build_network`.
        data: of `batches`.
    """

    with_boxes: ClassVar[bool] = False

    def __init__(self, config: Config, network: nn.Module, data: XrayDataModule):
        super().__init__()
        self.network, self.seed, self.eval_splits = network, config.seed, data.eval_splits
        self.optimizer: OptimizerFactory = instantiate(config.optimizer.plain())
        settings = schedule_settings(config, num_steps=num_steps(config, data))
        self.schedule: ScheduleFactory = instantiate(settings)
        self.interval, self.plateau_on = config.schedule.interval, str(config.schedule.monitor)
        self.arithmetic: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.start = 0.0  # of the epoch, time.monotonic()

    @classmethod
    @abstractmethod
    def build_network(cls, config: Config) -> Any:
        """Returns the network of a configuration; ValueError if it cannot be built."""

    @classmethod
    def try_settings(cls, config: Config, network: Any) -> None:
        """Raises ValueError where settings that only this task has cannot be used."""

    @classmethod
    @abstractmethod
    def batches(
        cls, config: Config, network: Any, table: pd.DataFrame, images: Cache
    ) -> XrayDataModule:
        """Returns the batches for a network; ``table`` is split, ``images`` are of its rows."""

    @abstractmethod
    def scores(self) -> dict[str, dict[str, Any]]:
        """Returns the scores of each split in the epoch, its loss among them, and clears them.

        They are of the images of all devices.
        """

    @torch.inference_mode()
    def score_checkpoint(
        self, data: XrayDataModule, path: Path, *, splits: Sequence[str]
    ) -> Scored:
        """Loads a checkpoint, on the task's device, and scores every image of ``splits``."""
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        self.load_state_dict(checkpoint["state_dict"])
        self.eval()
        return self.score_splits(data, splits, checkpoint["history"][-1])

    @abstractmethod
    def score_splits(
        self, data: XrayDataModule, splits: Sequence[str], epoch: Mapping[str, Any]
    ) -> Scored:
        """Scores every image of ``splits`` with the weights after ``epoch`` of the history."""

    @abstractmethod
    def tables(self, scored: Scored, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Returns the tables of the run folder by file name, predictions.csv among them.

        They have the images that are not trained on; ``table`` is split.
        """

    def arrays(
        self, images: np.ndarray, table: pd.DataFrame, predictions: pd.DataFrame
    ) -> dict[str, Mapping[str, Any]]:
        """Returns the arrays of the run folder by file name, of (N, S, S) uint8 ``images``."""
        return {}

    def facts(self, scored: Scored, table: pd.DataFrame) -> dict[str, Any]:
        """Returns the keys of metrics.json that only this task has."""
        return {}

    @classmethod
    @abstractmethod
    def conclusion(cls, metrics: Mapping[str, Any]) -> list[str]:
        """Returns the lines with the scores in ``metrics``, of metrics.json, that end a run."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Returns the optimizer of all parameters."""
        return self.optimizer(self.parameters())

    def configure_optimizers(self) -> Any:
        """Returns the optimizer of all parameters, with its schedule."""
        optimizer = self.make_optimizer()
        with naming("schedule"):  # torch's OneCycleLR divides by 0 for 5 steps at pct_start=0.2
            schedule = self.schedule(optimizer)
        if isinstance(schedule, OneCycleLR):
            for group in optimizer.param_groups:  # it has set the rates of all groups
                for key in ("lr", "initial_lr", "max_lr", "min_lr"):
                    group[key] *= group.get("share", 1)
        stepped: Any = {"scheduler": schedule, "interval": self.interval}
        if isinstance(schedule, ReduceLROnPlateau):  # which this steps, not Lightning
            stepped |= {"monitor": self.plateau_on, "frequency": sys.maxsize}
        return {"optimizer": optimizer, "lr_scheduler": stepped}

    def on_train_epoch_end(self) -> None:
        """Steps a schedule that follows a score, before the epoch's checkpoint is written.

        Lightning would step it afterwards, and not at all for the epoch that a run resumes from.
        """
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            name, _, split = self.plateau_on.partition("/")
            schedule.step(self.history[-1][split][name])

    def on_train_epoch_start(self) -> None:
        """Draws the epoch's dropout from the seed, the epoch's number and the device's."""
        torch.manual_seed(self.seed * 100_003 + self.current_epoch + 10_007 * self.global_rank)
        self.start = time.monotonic()

    def on_train_batch_end(self, *_: Any) -> None:
        """Ends an epoch whose validation and test splits are not scored."""
        if self.trainer.is_last_batch and not self.trainer.enable_validation:
            self.on_validation_epoch_end()

    def on_validation_epoch_end(self) -> None:
        """Scores the splits of the epoch, logs the scores and appends them to the history."""
        scores = self.scores()
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        seconds = time.monotonic() - self.start
        row = {"epoch": self.current_epoch, "lr": rate, "seconds": seconds, **scores}
        # the same on all devices, whose callbacks decide by it
        self.history.append(self.trainer.strategy.broadcast(row))
        if not math.isfinite(scores["train"]["loss"]):
            # as it was set; a schedule may have reduced the present one to 0
            rate = self.optimizers(use_pl_optimizer=False).defaults["lr"]  # type: ignore[union-attr]
            raise ValueError(
                f"the training loss must stay finite; in epoch {self.current_epoch + 1} it is "
                f"{scores['train']['loss']}. Try a smaller optimizer.lr than {rate:g}"
            )
        # TensorBoard groups by the first half of the name: test beside train
        logged = {f"{n}/{split}": v for split, row in scores.items() for n, v in row.items()}
        logged = {name: v for name, v in logged.items() if not name.startswith("confusion")}
        # the step of all loggers is the epoch, from 1; Lightning would count batches
        logged |= {"learning_rate": rate, "step": float(self.current_epoch + 1)}
        self.log_dict(logged, on_step=False, on_epoch=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the history, so that a resumed run has all epochs."""
        checkpoint |= {"history": self.history, "arithmetic": self.arithmetic}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Restores the history."""
        self.history, self.arithmetic = (list(checkpoint[key]) for key in ("history", "arithmetic"))

    def on_fit_start(self) -> None:
        """Records devices and threads; warns if they differ from those before."""
        device, number = self.trainer.strategy.root_device.type, self.trainer.num_devices
        now = {"device": device, "threads": torch.get_num_threads(), "devices": number}
        before = self.arithmetic[-1] if self.arithmetic else now
        changed = [key for key in now if now[key] != before.get(key)]
        if changed or not self.arithmetic:
            self.arithmetic.append({"from_epoch": len(self.history), **now})
        if changed:
            text = ", ".join(f"{key} {now[key]} for {before.get(key)}" for key in changed)
            log.warning(
                "Resumed with other arithmetic: %s.\nThe scores will differ a little from those of "
                "an uninterrupted run;\nmetrics.json records both.",
                text,
            )


def batch_settings(config: Config) -> dict[str, Any]:
    """Returns the arguments of a data module that each task takes from ``config``."""
    return {
        "batch_size": config.data.batch_size,
        "augment": instantiate(config.augment.plain()),
        "seed": config.seed,
        "num_workers": config.data.num_workers,
        "overfit_batches": config.trainer.overfit_batches,
        "num_devices": config.trainer.num_devices,
    }


def schedule_settings(config: Config, *, num_steps: int) -> dict[str, Any]:
    """Returns the arguments of the schedule, whose total_steps is ``num_steps`` where it is null.

    T_max is set in epochs, and returned in steps of the schedule.

    Raises:
        ValueError: the schedule ends before the run, where torch would break it off.
    """
    settings = config.schedule.plain(without=("interval", "monitor"))
    if "T_max" in settings:
        settings["T_max"] *= num_steps / config.trainer.max_epochs
    if "total_steps" in settings:
        settings["total_steps"] = total = settings["total_steps"] or num_steps
        if total < num_steps:
            raise ValueError(
                f"schedule.total_steps must be at least the {num_steps} steps of the run; got "
                f"{total}. null means all of them"
            )
    return settings


def num_steps(config: Config, data: XrayDataModule) -> int:
    """Returns how often the schedule steps in a run: once an epoch, or once a step."""
    trainer, batches = config.trainer, data.num_train_batches
    if config.schedule.interval == "epoch":
        return trainer.max_epochs
    limit = trainer.limit_train_batches
    if limit is not None:
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
    return math.ceil(batches / (trainer.accumulate_grad_batches or 1)) * trainer.max_epochs
