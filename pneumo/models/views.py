"""Views of an image at test time, over which logits are averaged, and their cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pneumo.models.base import Network


@dataclass(frozen=True)
class Views:
    """An image at each of some scales and, with ``mirror``, their left-right mirror images.

    At scale s it is the central part of round(s * S) pixels a side, enlarged to S pixels. Outside
    training, logits, features and maps are means over the views. A forward pass of the network has
    one view, so each of its layers runs once.

    Args:
        scales: different, each in (0, 1]; see pneumo.runs.run_folder.wrong_scales.
        mirror: whether each is followed by its mirror image.
    """

    scales: tuple[float, ...] = (1,)
    mirror: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))  # a list in a configuration

    @property
    def num(self) -> int:
        """Returns the number of views, each of which costs one forward pass."""
        return len(self.scales) * (1 + self.mirror)

    def of(self, images: Tensor) -> list[Tensor]:
        """Returns the views of (B, 1, S, S) float images, each of the same shape."""
        parts = [_central(images, scale) for scale in self.scales]
        return [view for part in parts for view in (part, part.flip(-1))[: 1 + self.mirror]]

    def logits(self, network: nn.Module, images: Tensor, **inputs: Tensor) -> Tensor:
        """(B, 1, S, S) grey values to (B, num_classes) logits, the mean over the views.

        ``inputs``: see Network.inputs.
        """
        return _mean([network(view, **inputs) for view in self.of(images)])

    def features_and_logits(self, network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, S, S) to (B, F) features and (B, num_classes) logits, both means over the views.

        With ``mirror`` the mirror image has the same mean features, and so the same distances in
        pneumo.inference.ood, if the margins left and right of each central part are equal.
        """
        features, logits = zip(*map(network.features_and_logits, self.of(images)), strict=True)
        return _mean(features), _mean(logits)

    def maps(self, attribute: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """(B, 1, S, S) to (B, S, S): the mean of the views' maps, in the images' own pixels.

        A view is a linear map of the image, and its map of evidence is brought back by the
        transpose. So a gradient is exactly that of the mean logits, the sum of a map stays, and
        outside of a central part there is no evidence.

        Args:
            attribute: from (B, 1, S, S) of one view to (B, S, S), a value for each pixel.
            images: grey values.
        """
        linear: Any = torch.func.vjp(self.of, images)
        views, transpose = linear
        mean: Tensor = transpose([attribute(view)[:, None] / self.num for view in views])[0]
        return mean[:, 0]


ONE_VIEW = Views()


def _central(images: Tensor, scale: float) -> Tensor:
    """Returns (B, 1, S, S) of (B, 1, S, S): the central part, enlarged bilinearly."""
    whole = images.shape[-1]
    side = round(scale * whole)
    if side == whole:
        return images
    start = (whole - side) // 2
    part = images[..., start : start + side, start : start + side]
    return functional.interpolate(part, (whole, whole), mode="bilinear", align_corners=False)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(tuple(values)).mean(0)


def num_parameters(network: nn.Module) -> int:
    """Returns the number of trainable weights."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, *, image_size: int, views: Views = ONE_VIEW) -> int:
    """Returns the multiply-adds of all views of an image, in evaluation mode.

    By torch's FlopCounterMode, which counts two operations per multiply-add of convolutions,
    matrix products and attention; biases, normalisation, pooling and activations do not count.
    """
    training = network.training
    device = next(network.parameters()).device
    # as two matrix products: the counter lacks the CPU's own form of attention
    attention = sdpa_kernel(SDPBackend.MATH)
    with torch.no_grad(), attention, FlopCounterMode(display=False) as counter:
        views.logits(network.eval(), torch.zeros(1, 1, image_size, image_size, device=device))
    network.train(training)
    return int(counter.get_total_flops()) // 2
