"""The LightningModule of classifiers: training steps, and scores after each epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pneumo.data.datamodule import Batch
from pneumo.evaluation.scores import scores as scores_of
from pneumo.models.blocks import groups
from pneumo.models.views import ONE_VIEW, Views
from pneumo.training.base import Task
from pneumo.training.config import LAST, direction

MAIN = "f1_normal"  # the paper's F1: with 73 % PNEUMONIA its figures fit NORMAL only (facts.md)


@dataclass(frozen=True)
class Selection:
    """The rule that chooses an epoch, for best.ckpt, the screen and metrics.json alike.

    Args:
        monitor: a score of `score`, such as f1_normal or loss; or "last", the last epoch.
        on: the split it is taken from, such as val; "none" with "last".
    """

    monitor: str
    on: str

    @classmethod
    def parse(cls, monitor: str) -> "Selection":
        """Returns the rule of "last" or of a score and a split such as "f1_normal/val".

        Raises:
            ValueError: it has another form.
        """
        if monitor == LAST:
            return cls(LAST, "none")
        name, slash, on = monitor.partition("/")
        if not (name and slash and on):
            raise ValueError(
                "callbacks.checkpoint.monitor must be last, or a score and a split, such as "
                f"f1_normal/val; got {monitor!r}"
            )
        return cls(name, on)

    def best(self, history: Sequence[Mapping[str, Any]]) -> int:
        """Returns the index in ``history`` of the chosen epoch.

        Of equal scores the one with the lower loss on the same split is better, of equal losses
        the earlier one. A score that is not a number is never better than one that is.

        Raises:
            ValueError: the history has no such score or split.
        """
        if self.monitor == LAST:
            return len(history) - 1
        return max(range(len(history)), key=lambda place: self._rank(history[place], place))

    def _rank(self, row: Mapping[str, Any], place: int) -> tuple[float, float, int]:
        scores = row.get(self.on)
        if not isinstance(scores, Mapping) or self.monitor not in scores:
            names = [f"{n}/{split}" for split, s in row.items() if isinstance(s, dict) for n in s]
            raise ValueError(
                "callbacks.checkpoint.monitor must be one of "
                f"{', '.join(n for n in names if not n.startswith('confusion'))}; got "
                f"{self.monitor}/{self.on}"
            )
        value, loss = float(scores[self.monitor]), float(scores["loss"])
        signed = value if direction(self.monitor) == "max" else -value
        return _or_worst(signed), _or_worst(-loss), -place


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value


class Classifier(Task):
    """Trains a network and scores it on every split after each epoch.

    Args:
        network: (B, 1, S, S) grey values to (B, num_classes) logits.
        loss: of (B, num_classes) logits and (B,) class numbers, the mean over the batch. The loss
            among the scores is always the plain cross-entropy.
        views: of an image, in evaluation mode.
        others: as of Task.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: nn.Module | None = None,
        views: Views = ONE_VIEW,
        **others: Any,
    ):
        super().__init__(network, **others)
        self.views = views
        self.loss = loss or nn.CrossEntropyLoss()
        self.seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self.train_side: int | None = None  # pixels, see callbacks.ProgressiveResize
        self.layer_decay = 1.0  # see finetune.Finetune

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, S, S) uint8 or float grey values to (B, num_classes) logits, see Views."""
        x = image.float()
        # a network on the CPU is faster channels-last; with one input channel only the strides
        # distinguish the layouts
        views = ONE_VIEW if self.training else self.views
        return views.logits(self.network, x.contiguous(memory_format=torch.channels_last))

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Returns the optimizer of all parameters, in groups if layers have rates of their own."""
        optimizer = super().make_optimizer()
        return optimizer if self.layer_decay == 1 else self._by_depth(optimizer.defaults["lr"])

    def _by_depth(self, rate: float) -> torch.optim.Optimizer:
        """Returns the optimizer with a group for each block, the last one first: it is logged."""
        body = getattr(self.network, "body", self.network)
        shares = groups(self, body, decay=self.layer_decay)
        return self.optimizer(
            [{"params": group, "lr": rate * share, "share": share} for share, group in shares]
        )

    def training_step(self, batch: Batch, _batch_idx: int) -> Tensor:
        """Returns the loss of the batch."""
        if self.train_side is not None:
            batch = batch._replace(image=smaller(batch.image, side=self.train_side))
        loss: Tensor = self.loss(self._keep(batch, "train"), batch.target)
        return loss

    def validation_step(self, batch: Batch, _batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collects the logits of one batch for the end of the epoch."""
        self._keep(batch, self.eval_splits[dataloader_idx])

    def scores(self) -> dict[str, dict[str, Any]]:
        """Returns the scores of each split, see `score`."""
        scores = {split: self._score(self.seen[split]) for split in sorted(self.seen)}
        self.seen.clear()
        return scores

    def _keep(self, batch: Batch, split: str) -> Tensor:
        """Returns the logits of a batch, and collects them for the scores of the epoch."""
        logit: Tensor = self(batch.image)
        self.seen.setdefault(split, []).append((logit.detach(), batch.target))
        return logit

    def _score(self, seen: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
        logit = torch.cat([logit for logit, _ in seen]).float().cpu()
        target = torch.cat([target for _, target in seen]).cpu()
        return score(logit, target)


def smaller(image: Tensor, *, side: int) -> Tensor:
    """Returns (B, 1, side, side) float32 of (B, 1, S, S) grey values, by the mean over areas."""
    return functional.interpolate(image.float(), (side, side), mode="area")


def score(logit: Tensor, target: Tensor) -> dict[str, Any]:
    """Returns the scores of (N, num_classes) logits and (N,) class numbers, both on the CPU.

    Of three classes, bacteria and virus are added up to PNEUMONIA, except in the loss, the mean
    cross-entropy of all classes.
    """
    scores = image_scores(pneumonia_probability(logit), (target > 0).long())
    return scores | {"loss": float(functional.cross_entropy(logit, target))}


def image_scores(probability: Tensor, label: Tensor) -> dict[str, Any]:
    """Returns every score of (N,) float64 probabilities at 0.5, and the confusion matrix.

    In float32 the probabilities of confident images are all 1, ties that the network has not.
    """
    decision = (probability >= 0.5).long()
    confusion = torch.bincount(label * 2 + decision, minlength=4).reshape(2, 2).tolist()
    return {**scores_of(label.numpy(), probability.numpy()), "confusion": confusion}


def pneumonia_probability(logit: Tensor) -> Tensor:
    """(N, num_classes) logits to (N,) float64 probabilities of PNEUMONIA, all classes but NORMAL.

    In float64 two logits up to 36 apart have different probabilities; in float32 they are tied from
    17 on.
    """
    return logit.double().softmax(1)[:, 1:].sum(1)
