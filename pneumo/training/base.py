"""The base of the LightningModules: optimizer, schedule, history of scores, resuming."""

import logging
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

log = logging.getLogger("pneumo")

OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]  # parameters or groups
ScheduleFactory = Callable[[torch.optim.Optimizer], LRScheduler]


class Task(pl.LightningModule):
    """Trains a network and scores it on every split after each epoch.

    A subclass has a training_step, a validation_step and ``scores``.

    Args:
        network: is trained.
        optimizer: builds the optimizer of the parameters.
        schedule: builds the schedule of an optimizer's learning rate.
        interval: epoch or step, after which the schedule is stepped.
        plateau_on: the score and the split that a ReduceLROnPlateau follows, such as loss/train.
        eval_splits: names of the validation loaders, in their order.
        seed: of the dropout; with the epoch it sets torch's generator, so that a resumed run
            draws what an uninterrupted one would.
        arithmetic: device and number of threads, on which the last digits of the weights depend. A
            run that is resumed with others records both.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optimizer: OptimizerFactory,
        schedule: ScheduleFactory,
        eval_splits: list[str],
        seed: int,
        interval: str = "epoch",
        plateau_on: str | None = None,
        arithmetic: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.network = network
        self.optimizer, self.schedule, self.interval = optimizer, schedule, interval
        self.plateau_on = plateau_on
        self.plateau: ReduceLROnPlateau | None = None
        self.plateau_state: dict[str, Any] | None = None  # of the run that is resumed
        self.eval_splits = eval_splits
        self.seed = seed
        self.arithmetic: list[dict[str, Any]] = [{"from_epoch": 0, **(arithmetic or {})}]
        self.history: list[dict[str, Any]] = []
        self.start = 0.0  # of the epoch, time.monotonic()

    @abstractmethod
    def scores(self) -> dict[str, dict[str, Any]]:
        """Returns the scores of each split in the epoch, its loss among them, and clears them."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Returns the optimizer of all parameters."""
        return self.optimizer(self.parameters())

    def configure_optimizers(self) -> Any:
        """Returns the optimizer of all parameters, with its schedule."""
        optimizer = self.make_optimizer()
        schedule = self.schedule(optimizer)
        if isinstance(schedule, OneCycleLR):
            slow_down(optimizer)  # it has set the rates of all groups
        if isinstance(schedule, ReduceLROnPlateau):
            self.plateau = schedule
            if self.plateau_state:
                schedule.load_state_dict(self.plateau_state)
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": self.interval},
        }

    def on_train_epoch_end(self) -> None:
        """Steps a schedule that follows a score, before the epoch's checkpoint is written.

        Lightning would step it afterwards, and not at all for the epoch that a run resumes from.
        """
        if self.plateau:
            name, _, split = str(self.plateau_on).partition("/")
            self.plateau.step(self.history[-1][split][name])

    def on_train_epoch_start(self) -> None:
        """Draws the epoch's dropout from the seed and the epoch's number."""
        torch.manual_seed(self.seed * 100_003 + self.current_epoch)
        self.start = time.monotonic()

    def on_validation_epoch_end(self) -> None:
        """Scores all splits, logs the scores and appends them to the history."""
        scores = self.scores()
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        seconds = time.monotonic() - self.start
        self.history.append({"epoch": self.current_epoch, "lr": rate, "seconds": seconds, **scores})
        if not math.isfinite(scores["train"]["loss"]):
            # as it was set; a schedule may have reduced the present one to 0
            rate = self.optimizers(use_pl_optimizer=False).defaults["lr"]  # type: ignore[union-attr]
            raise ValueError(
                f"the training loss must stay finite; in epoch {self.current_epoch + 1} it is "
                f"{scores['train']['loss']}. Try a smaller optimizer.lr than {rate:g}"
            )
        for split, values in scores.items():
            # TensorBoard groups by the first half of the name: test beside train
            self.log_dict(
                {f"{k}/{split}": v for k, v in values.items() if k != "confusion"}, on_epoch=True
            )
        self.log("learning_rate", rate)
        # the step of all loggers is the epoch, from 1; Lightning would count batches
        self.log("step", float(self.current_epoch + 1))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the history, so that a resumed run has all epochs."""
        checkpoint["history"] = self.history
        checkpoint["arithmetic"] = self.arithmetic
        if self.plateau:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Restores the history; warns if device or threads differ from those before."""
        self.history = list(checkpoint["history"])
        self.plateau_state = checkpoint.get("plateau")  # the schedule is built after this
        before = list(checkpoint["arithmetic"])
        now = {**self.arithmetic[-1], "from_epoch": len(self.history)}
        changed = [k for k in now if k != "from_epoch" and now[k] != before[-1].get(k)]
        if changed:
            text = ", ".join(f"{key} {now[key]} for {before[-1].get(key)}" for key in changed)
            log.warning(
                "Resumed with other arithmetic: %s.\nThe scores will differ a little from those of "
                "an uninterrupted run;\nmetrics.json records both.",
                text,
            )
            before.append(now)
        self.arithmetic = before


def slow_down(optimizer: torch.optim.Optimizer) -> None:
    """Multiplies the rates that OneCycleLR goes through by each group's share, if it has one."""
    for group in optimizer.param_groups:
        for key in ("lr", "initial_lr", "max_lr", "min_lr"):
            group[key] *= group.get("share", 1)
