"""Losses: modules from (B, C) logits and (B,) class numbers to a mean over the batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

BALANCED = "balanced"  # of class_weights: by their share of the train split, see `balance`


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy with optional class weights and label smoothing.

    Args:
        class_weights: a number for each class; None: equal weights.
        label_smoothing: in [0, 1], the share of each target that is spread over all classes.
    """

    def __init__(
        self, *, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
    ):
        super().__init__(weight=_tensor(class_weights), label_smoothing=label_smoothing)


class Focal(nn.Module):
    """Focal loss (Lin et al., "Focal loss for dense object detection", 2017), of a softmax.

    Args:
        gamma: 0 or more; an image with probability p of its class counts (1 - p) ** gamma.
        class_weights: a number for each class; None: equal weights.
    """

    weight: Tensor | None

    def __init__(self, *, gamma: float = 2.0, class_weights: Sequence[float] | None = None):
        super().__init__()
        self.gamma = gamma
        self.register_buffer("weight", _tensor(class_weights))

    def forward(self, logit: Tensor, target: Tensor) -> Tensor:
        """Returns the weighted mean over a batch of (B, C) logits and (B,) class numbers."""
        each = functional.cross_entropy(logit, target, reduction="none")
        weight = (1 - torch.exp(-each)) ** self.gamma
        if self.weight is None:
            return (weight * each).mean()
        share = self.weight[target]
        return (share * weight * each).sum() / share.sum()


def balance(target: np.ndarray, *, num_classes: int) -> list[float]:
    """Returns the weight of each class by scikit-learn's "balanced" rule.

    That is images / (classes * images of the class); 0 for a class without images.

    Args:
        target: (N,) class numbers of the train split.
        num_classes: 2 or 3.
    """
    counts = np.bincount(target, minlength=num_classes)
    return [float(len(target) / (num_classes * count)) if count else 0.0 for count in counts]


def log_prior(loss: nn.Module, target: np.ndarray, *, num_classes: int) -> Tensor:
    """Returns (num_classes,) float64: the log of the share of NORMAL, and of PNEUMONIA elsewhere.

    The shares are those that a network's probabilities imply: of the train split, weighted by the
    class weights of its loss. Bacteria and virus have that of both together, so their ratio stays.

    Args:
        loss: with the attribute ``weight``, (num_classes,), if it weights classes.
        target: (N,) class numbers of the train split.
        num_classes: 2 or 3.

    Raises:
        ValueError: a label has no share.
    """
    counts = torch.from_numpy(np.bincount(target, minlength=num_classes)).double()
    if isinstance(weight := getattr(loss, "weight", None), Tensor):
        counts *= weight
    normal = counts[0] / counts.sum()
    if not 0 < normal < 1:
        raise ValueError(
            "decision=balanced needs train images of both labels, with class weights above 0; "
            f"NORMAL has a share of {float(normal):g}"
        )
    return torch.stack([normal, *[1 - normal] * (num_classes - 1)]).log()


def _tensor(weights: Sequence[float] | None) -> Tensor | None:
    return None if weights is None else torch.tensor(weights, dtype=torch.float32)
