"""Views of an image at test time: logits, features and maps are means over them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pneumo.models.base import Network


@dataclass(frozen=True)
class Views:
    """The image itself and, with ``mirror``, its left-right mirror image.

    Outside training, logits, features and maps are means over the views. A forward pass of the
    network has one view, so each of its layers runs once.
    """

    mirror: bool = False

    @property
    def num(self) -> int:
        """Returns the number of views, each of which costs one forward pass."""
        return 1 + self.mirror

    def of(self, images: Tensor) -> list[Tensor]:
        """Returns the views of (B, 1, S, S) images, each of the same shape, the images first."""
        return [images, images.flip(-1)][: self.num]

    def logits(self, network: nn.Module, images: Tensor, **inputs: Tensor) -> Tensor:
        """(B, 1, S, S) grey values to (B, num_classes) logits, the mean over the views.

        ``inputs``: see Network.inputs.
        """
        return _mean([network(view, **inputs) for view in self.of(images)])

    def features_and_logits(self, network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, S, S) to (B, F) features and (B, num_classes) logits, both means over the views.

        With ``mirror`` the mirror image has the same mean features, and so the same distances in
        pneumo.inference.ood.
        """
        features, logits = zip(*map(network.features_and_logits, self.of(images)), strict=True)
        return _mean(features), _mean(logits)

    def maps(self, attribute: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """(B, 1, S, S) to (B, S, S): the mean of the views' maps, in the images' own pixels.

        Args:
            attribute: from (B, 1, S, S) of one view to (B, S, S), a value for each pixel.
            images: grey values.
        """
        first, *mirrored = map(attribute, self.of(images))
        return _mean([first, *(heat.flip(-1) for heat in mirrored)])


ONE_VIEW = Views()


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(tuple(values)).mean(0)
