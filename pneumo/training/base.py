"""What every LightningModule here has: optimizer, schedule, history of scores, resuming."""

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
        network: what is trained.
        optimizer: makes the optimizer of the parameters.
        schedule: makes the schedule of an optimizer's learning rate.
        interval: epoch or step, after which the schedule is stepped.
        plateau_on: the score and the split that a ReduceLROnPlateau follows, such as loss/train.
        eval_splits: names of the validation loaders, in their order.
        seed: of the dropout; with the epoch it sets torch's generator, so that a resumed run
            draws what an uninterrupted one would.
        arithmetic: what the last digits of the weights depend on besides the seed, such as the
            number of threads. A run that is resumed with another keeps a record of both.
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
        """Returns the scores of each split in the epoch that ends, loss among them; forgets it."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of all parameters."""
        return self.optimizer(self.parameters())

    def configure_optimizers(self) -> Any:
        """The optimizer of all parameters, with its schedule."""
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

        Lightning would do it after that, and not at all for the epoch that a run is resumed from.
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
            # as it was set; a schedule may have taken that of now to 0
            rate = self.optimizers(use_pl_optimizer=False).defaults["lr"]  # type: ignore[union-attr]
            raise ValueError(
                f"the training loss must stay finite; in epoch {self.current_epoch + 1} it is "
                f"{scores['train']['loss']}. Try a smaller optimizer.lr than {rate:g}"
            )
        for split, values in scores.items():
            # test and train of a score share the first half of the name, so TensorBoard puts
            # them side by side
            self.log_dict(
                {f"{k}/{split}": v for k, v in values.items() if k != "confusion"}, on_epoch=True
            )
        self.log("learning_rate", rate)
        # the step of all loggers is the epoch, from 1; Lightning would count batches
        self.log("step", float(self.current_epoch + 1))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the history, so that a resumed run ends with the whole of it."""
        checkpoint["history"] = self.history
        checkpoint["arithmetic"] = self.arithmetic
        if self.plateau:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes up the history; says so where the run is computed otherwise than before."""
        self.history = list(checkpoint["history"])
        self.plateau_state = checkpoint.get("plateau")  # the schedule is made after this
        before = list(checkpoint["arithmetic"])
        now = {**self.arithmetic[-1], "from_epoch": len(self.history)}
        changed = [k for k in now if k != "from_epoch" and now[k] != before[-1].get(k)]
        if changed:
            told = ", ".join(f"{key} {now[key]} for {before[-1].get(key)}" for key in changed)
            log.warning(
                "Resumed with other arithmetic: %s.\nThe scores will differ a little from those of "
                "an uninterrupted run;\nmetrics.json records both.",
                told,
            )
            before.append(now)
        self.arithmetic = before


def slow_down(optimizer: torch.optim.Optimizer) -> None:
    """Takes each group's share, where it has one, of the rates that OneCycleLR goes through."""
    for group in optimizer.param_groups:
        for key in ("lr", "initial_lr", "max_lr", "min_lr"):
            group[key] *= group.get("share", 1)
