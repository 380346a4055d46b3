"""The U-Net encoder of the paper: five levels of two convolutions, then two dense layers."""

import math
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from pneumo.models import fused_cpu
from pneumo.models.base import NUM_CLASSES, Network

LEVEL_DROPOUT = (0.0, 0.0, 0.10, 0.15, 0.20)  # paper, section II
DENSE_DROPOUT = 0.25  # paper, section II

# a context in which a GPU does not round the inputs of convolutions to 10 bits
without_tf32 = partial(torch.backends.cudnn.flags, enabled=True, allow_tf32=False)


def num_filters(level: int, *, f: int, d: int) -> int:
    """Returns the filters of a level, N(l) = f · 2^(l/d), rounded up.

    The paper does not report its rounding; up, with batch normalisation and a third class, gives
    its 115,407 parameters exactly.
    """
    # 2^(3/3) is 2.0000000000000004 on some machines, which must not be rounded up to one more
    return math.ceil(round(f * 2 ** (level / d), 9))


class Level(nn.Module):
    """Two 3 x 3 convolutions, a pooling that halves the sides, normalisation, spatial dropout.

    The second ReLU comes after the pooling: a monotone function and a maximum commute, so the
    result is the paper's, with a quarter of the element-wise work.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float, batch_norm: bool):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
        )
        self.norm = nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, *, first_weight: Tensor | None = None) -> Tensor:
        """(B, C, S, S) to (B, C', S/2, S/2).

        ``first_weight`` replaces the first convolution's weight and bias.
        """
        if trains_on_cpu(self, x):
            first, second = self.convolutions[0], self.convolutions[2]
            weight = (first.weight, first.bias) if first_weight is None else (first_weight, None)
            x = fused_cpu.Pooled.apply(x, *weight, second.weight, second.bias)
        else:
            x = self.convolutions(x)
        return cast(Tensor, self.dropout(self.norm(x)))


class Encoder(Network):
    """The classifier of the paper.

    Input: (B, 1, S, S) grey values, any float range; ``mean`` and ``std`` standardise them. Output:
    (B, num_classes) float32 logits.

    Args:
        f: filters of level 0.
        d: divider of the exponent; the filters double every ``d`` levels.
        c: units of the first dense layer.
        num_classes: 2 (NORMAL, PNEUMONIA) or 3 (NORMAL, bacteria, virus).
        batch_norm: normalises the input and the output of each level's pooling.
        image_size: side of the input in pixels; a multiple of 32.
        level_dropout: probability of dropping a channel, for each level.
        dense_dropout: probability of dropping a unit of the first dense layer.
    """

    def __init__(
        self,
        *,
        f: int,
        d: int,
        c: int,
        num_classes: int = 2,
        batch_norm: bool = True,
        image_size: int = 256,
        level_dropout: Sequence[float] = LEVEL_DROPOUT,
        dense_dropout: float = DENSE_DROPOUT,
    ):
        super().__init__()
        step = 2 ** len(level_dropout)
        for rule, is_met in (
            ("model.f, model.d and model.c must be at least 1", min(f, d, c) >= 1),
            ("model.num_classes must be 2 or 3", num_classes in NUM_CLASSES),
            (f"data.image_size must be a multiple of {step}", image_size % step == 0),
        ):
            if not is_met:
                raise ValueError(f"{rule}; got {f}, {d}, {c}, {num_classes}, {image_size}")
        self.num_classes = num_classes
        self.norm = nn.BatchNorm2d(1) if batch_norm else nn.Identity()
        levels, channels, side = [], 1, image_size
        for number, dropout in enumerate(level_dropout):
            filters = num_filters(number, f=f, d=d)
            levels.append(Level(channels, filters, dropout=dropout, batch_norm=batch_norm))
            channels, side = filters, side // 2
        self.levels = nn.ModuleList(levels)
        self.dense = nn.Linear(channels * side * side, c)
        self.dropout = nn.Dropout(dense_dropout)
        self.head = nn.Linear(c, num_classes)
        self.apply(initialise)

    # the largest deletion gap on test images (docs/how-to/heatmaps.md)
    heatmap_method = "integrated"

    @property
    def heatmap_layer(self) -> nn.Module:
        """Returns the last level's convolutions with their pooling, see Network."""
        return cast(Level, self.levels[-1]).convolutions

    def features(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) grey values to (B, c) activations of the first dense layer."""
        first_weight = None
        first = (self.norm, self.levels[0])  # a frozen one is in evaluation mode
        if isinstance(self.norm, nn.BatchNorm2d) and all(trains_on_cpu(m, x) for m in first):
            x, first_weight = self._normalised(x, self.norm)
        else:
            x = self.norm((x - self.mean) / self.std)
        for level in self.levels:
            x = level(x, first_weight=first_weight)
            first_weight = None
        return torch.relu(self.dense(x.flatten(1)))

    def _normalised(self, x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        """Returns the normalised input beside a channel of ones, and a weight for both channels.

        The scale and shift of the input's normalisation, and the bias of the convolution that
        follows, become part of its weight on the ones, so that zeros around the image have the same
        effect as in the plain form. No gradient of the input is needed, the most expensive one of
        the first convolution.
        """
        count = x.numel()
        centred = x - x.mean()
        flat = centred.flatten()
        variance = (flat @ flat) / count / self.std**2
        with torch.no_grad():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert norm.num_batches_tracked is not None
            assert norm.momentum is not None
            norm.running_mean.lerp_((x.mean() - self.mean) / self.std, norm.momentum)
            norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
            norm.num_batches_tracked.add_(1)
        both = x.new_ones((len(x), 2, *x.shape[2:])).contiguous(memory_format=torch.channels_last)
        torch.mul(centred, (variance + norm.eps).rsqrt() / self.std, out=both[:, :1])
        convolution = cast(nn.Conv2d, cast(Level, self.levels[0]).convolutions[0])
        assert convolution.bias is not None
        centre = nn.functional.pad(convolution.bias[:, None, None, None], (1, 1, 1, 1))
        weight = convolution.weight
        weight = torch.cat([weight * norm.weight, weight * norm.bias + centre], 1)
        return both, weight.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) grey values to (B, num_classes) logits."""
        return cast(Tensor, self.head(self.dropout(self.features(x))))


def trains_on_cpu(module: nn.Module, x: Tensor) -> bool:
    """Returns whether `fused_cpu` applies: not with autocast, another device or an export."""
    on_cpu = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return module.training and on_cpu and torch.is_grad_enabled()


def initialise(module: nn.Module) -> None:
    """Initialises by Xavier's normal rule, biases at 0 (paper, section II; reference 13)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
