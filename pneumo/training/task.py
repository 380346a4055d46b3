"""The LightningModule: how a network is trained, and what its scores are after each epoch."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau
from torchmetrics import ClasswiseWrapper, MetricCollection
from torchmetrics.classification import (
    BinaryAUROC,
    BinaryAveragePrecision,
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from pneumo.data.datamodule import Batch
from pneumo.models.blocks import groups

log = logging.getLogger("pneumo")

NAMES = ["normal", "pneumonia"]
MAIN = "f1_normal"  # the paper's F1: with 73 % PNEUMONIA its figures fit NORMAL only (facts.md)

MODES = ("max", "min")

OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]  # parameters or groups
ScheduleFactory = Callable[[torch.optim.Optimizer], LRScheduler]


@dataclass(frozen=True)
class Selection:
    """The rule that chooses an epoch: the one truth for best.ckpt, the screen and metrics.json.

    Args:
        monitor: a score of `score`, such as f1_normal or loss.
        on: the split it is taken from, such as val.
        mode: max or min, which of its values is best.
    """

    monitor: str
    on: str
    mode: str = "max"

    @classmethod
    def parse(cls, monitor: str, mode: str) -> "Selection":
        """Returns the rule of a setting such as "f1_normal/val"; ValueError for another form."""
        name, slash, on = monitor.partition("/")
        if not (name and slash and on):
            raise ValueError(
                "callbacks.checkpoint.monitor must be a score and a split, such as f1_normal/val; "
                f"got {monitor!r}"
            )
        if mode not in MODES:
            raise ValueError(f"callbacks.checkpoint.mode must be max or min; got {mode!r}")
        return cls(name, on, mode)

    def best(self, history: Sequence[Mapping[str, Any]]) -> int:
        """Returns the place in ``history`` of the best epoch.

        Of equal scores the one with the lower loss on the same split is better, of equal losses
        the earlier one. A score that is not a number is never better than one that is.

        Raises:
            ValueError: the history has no such score or split.
        """
        return max(range(len(history)), key=lambda place: self._rank(history[place], place))

    def _rank(self, row: Mapping[str, Any], place: int) -> tuple[float, float, int]:
        scores = row.get(self.on)
        if not isinstance(scores, Mapping) or self.monitor not in scores:
            known = [f"{n}/{part}" for part, s in row.items() if isinstance(s, dict) for n in s]
            raise ValueError(
                "callbacks.checkpoint.monitor must be one of "
                f"{', '.join(n for n in known if not n.startswith('confusion'))}; got "
                f"{self.monitor}/{self.on}"
            )
        value, loss = float(scores[self.monitor]), float(scores["loss"])
        signed = value if self.mode == "max" else -value
        return _or_worst(signed), _or_worst(-loss), -place


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def torchmetrics_scores(probability: Tensor, label: Tensor) -> dict[str, float]:
    """Returns every score of (N,) probabilities of PNEUMONIA and (N,) labels (1 PNEUMONIA).

    Both on the CPU. The metrics are made anew each time (about a millisecond): as parts of the
    LightningModule they would move to its GPU. Decisions are at 0.5. AUROC and average precision
    take PNEUMONIA as the positive class, and are NaN where there is one class only. Give float64:
    in float32 the probabilities of confident images are all 1, ties that the network has not.
    """
    options: dict[str, Any] = {"num_classes": 2, "average": None, "validate_args": False}
    by_class = {
        "precision": MulticlassPrecision(**options),
        "recall": MulticlassRecall(**options),
        "f1": MulticlassF1Score(**options),
    }
    decided = MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes=2, average="micro", validate_args=False),
            **{n: ClasswiseWrapper(m, NAMES, prefix=f"{n}_") for n, m in by_class.items()},
        }
    )
    ranked = MetricCollection(
        {
            "auroc": BinaryAUROC(validate_args=False),
            "average_precision": BinaryAveragePrecision(validate_args=False),
        }
    )
    values = decided((probability >= 0.5).long(), label)
    if 0 < int(label.sum()) < len(label):
        values |= ranked(probability, label)
    else:
        values |= dict.fromkeys(ranked, math.nan)
    return {name: float(value) for name, value in values.items()}


class Classifier(pl.LightningModule):
    """Trains a network and scores it on every split after each epoch.

    Args:
        network: (B, 1, S, S) grey values to (B, num_classes) logits.
        optimizer: makes the optimizer of the parameters.
        schedule: makes the schedule of an optimizer's learning rate.
        interval: epoch or step, after which the schedule is stepped.
        plateau_on: the score and the split that a ReduceLROnPlateau follows, such as loss/train.
        loss: (B, num_classes) logits and (B,) class numbers to the mean over the batch that is
            minimised; the loss among the scores is the plain cross-entropy, whatever it is.
        eval_parts: names of the validation loaders, in their order.
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
        eval_parts: list[str],
        seed: int,
        interval: str = "epoch",
        plateau_on: str | None = None,
        loss: nn.Module | None = None,
        arithmetic: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.network = network
        self.optimizer, self.schedule, self.interval = optimizer, schedule, interval
        self.plateau_on = plateau_on
        self.plateau: ReduceLROnPlateau | None = None
        self.plateau_state: dict[str, Any] | None = None  # of the run that is resumed
        self.loss = loss or nn.CrossEntropyLoss()
        self.eval_parts = eval_parts
        self.seed = seed
        self.arithmetic: list[dict[str, Any]] = [{"from_epoch": 0, **(arithmetic or {})}]
        self.history: list[dict[str, Any]] = []
        self.seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self.start = 0.0  # of the epoch, time.monotonic()
        self.train_side: int | None = None  # pixels, see callbacks.ProgressiveResize
        self.layer_decay = 1.0  # see finetune.Finetune

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, S, S) uint8 or float grey values to (B, num_classes) logits."""
        x = image.float()
        # a network on the CPU is faster channels-last; with one input channel the layouts are
        # the same memory, so only the strides say it
        return self.network(x.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        """The optimizer of all parameters, with its schedule."""
        optimizer = self.optimizer(self.parameters())
        if self.layer_decay < 1:
            optimizer = self._by_depth(optimizer.defaults["lr"])
        schedule = self.schedule(optimizer)
        if self.layer_decay < 1 and isinstance(schedule, OneCycleLR):
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

    def _by_depth(self, rate: float) -> torch.optim.Optimizer:
        """The optimizer with a group for each block, the last one's first, whose rate is logged."""
        body = getattr(self.network, "body", self.network)
        shares = groups(self, body, decay=self.layer_decay)
        return self.optimizer(
            [{"params": own, "lr": rate * share, "share": share} for share, own in shares]
        )

    def on_train_epoch_end(self) -> None:
        """Steps a schedule that follows a score, before the epoch's checkpoint is written.

        Lightning would do it after that, and not at all for the epoch that a run is resumed from.
        """
        if self.plateau:
            name, _, part = str(self.plateau_on).partition("/")
            self.plateau.step(self.history[-1][part][name])

    def on_train_epoch_start(self) -> None:
        """Draws the epoch's dropout from the seed and the epoch's number."""
        torch.manual_seed(self.seed * 100_003 + self.current_epoch)
        self.start = time.monotonic()

    def training_step(self, batch: Batch, _batch_idx: int) -> Tensor:
        """Returns the loss of the batch."""
        if self.train_side is not None:
            batch = batch._replace(image=smaller(batch.image, side=self.train_side))
        loss: Tensor = self.loss(self._keep(batch, "train"), batch.target)
        return loss

    def validation_step(self, batch: Batch, _batch_idx: int, dataloader_idx: int = 0) -> None:
        """Keeps the logits of one batch for the end of the epoch."""
        self._keep(batch, self.eval_parts[dataloader_idx])

    def on_validation_epoch_end(self) -> None:
        """Scores all splits, logs the scores and appends them to the history."""
        scores = {part: self._score(self.seen[part]) for part in sorted(self.seen)}
        self.seen.clear()
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        seconds = time.monotonic() - self.start
        self.history.append({"epoch": self.current_epoch, "lr": rate, "seconds": seconds, **scores})
        if not math.isfinite(scores["train"]["loss"]):
            raise ValueError(
                f"the training loss must stay finite; in epoch {self.current_epoch + 1} it is "
                f"{scores['train']['loss']}. Try a smaller optimizer.lr than {rate:g}"
            )
        for part, values in scores.items():
            # test and train of a score share the first half of the name, so TensorBoard puts
            # them side by side
            self.log_dict(
                {f"{k}/{part}": v for k, v in values.items() if k != "confusion"}, on_epoch=True
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
        before = list(checkpoint.get("arithmetic", []))
        if not before:  # a run begun by an older version
            return
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

    def _keep(self, batch: Batch, part: str) -> Tensor:
        """Returns the logits of a batch, and keeps them for the scores of the epoch."""
        logit: Tensor = self(batch.image)
        self.seen.setdefault(part, []).append((logit.detach(), batch.target))
        return logit

    def _score(self, seen: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
        logit = torch.cat([logit for logit, _ in seen]).float().cpu()
        target = torch.cat([target for _, target in seen]).cpu()
        return score(logit, target)


def slow_down(optimizer: torch.optim.Optimizer) -> None:
    """Takes each group's share of the rates that OneCycleLR goes through."""
    for group in optimizer.param_groups:
        for key in ("lr", "initial_lr", "max_lr", "min_lr"):
            group[key] *= group["share"]


def smaller(image: Tensor, *, side: int) -> Tensor:
    """Returns (B, 1, side, side) float32 of (B, 1, S, S) grey values, by the mean over areas."""
    return functional.interpolate(image.float(), (side, side), mode="area")


def score(logit: Tensor, target: Tensor) -> dict[str, Any]:
    """Returns the scores of (N, num_classes) logits and (N,) class numbers, both on the CPU.

    Of three classes, bacteria and virus are added up to PNEUMONIA, except in the loss, the mean
    cross-entropy of all classes.
    """
    probability = pneumonia_probability(logit)
    label = (target > 0).long()
    decision = (probability >= 0.5).long()
    confusion = torch.bincount(label * 2 + decision, minlength=4).reshape(2, 2).tolist()
    loss = float(functional.cross_entropy(logit, target))
    return {**torchmetrics_scores(probability, label), "loss": loss, "confusion": confusion}


def pneumonia_probability(logit: Tensor) -> Tensor:
    """(N, num_classes) logits to (N,) float64 probabilities of PNEUMONIA, all classes but NORMAL.

    In float64 two logits up to 36 apart stay apart; in float32 images are tied from 17 on, and
    whatever ranks them saturates.
    """
    return logit.double().softmax(1)[:, 1:].sum(1)
