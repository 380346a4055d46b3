"""What the project asks of a network, and how any classifier is made to answer it."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

NUM_CLASSES = (2, 3)  # NORMAL, PNEUMONIA; or NORMAL, bacteria, virus
OWN_KEYS = ("name", "channels", "heatmap_layer")  # of a model's YAML that are no arguments
GREY, COLOUR = 1, 3


class Network(nn.Module):
    """(B, 1, S, S) grey values in [0, 255] to (B, num_classes) float32 logits.

    Attributes:
        mean, std: of the train split's pixels, in grey values, which standardise the input; kept in
            the checkpoint.
        num_classes: 2 (NORMAL, PNEUMONIA) or 3 (NORMAL, bacteria, virus).
        heatmap_method: of pneumo.inference.saliency, the default of python -m pneumo.heatmap.
    """

    mean: Tensor
    std: Tensor
    num_classes: int
    heatmap_method: str = "gradcam"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))

    @property
    def heatmap_layer(self) -> nn.Module:
        """The module whose output Grad-CAM and LayerCAM draw: the last convolution.

        Raises:
            ValueError: there is none.
        """
        layers = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        if not layers:
            raise ValueError(
                "a heat map by gradcam needs a convolution, or a layer named by "
                "model.heatmap_layer; this network has none. Use --method occlusion"
            )
        return layers[-1]

    def features_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, S, S) to (B, F) inputs of the last dense layer, and (B, num_classes) logits.

        A dense layer that runs several times has the mean of its inputs; the features of a network
        without a dense layer are its logits.
        """
        seen: list[Tensor] = []
        dense = [m for m in self.modules() if isinstance(m, nn.Linear)]

        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0])

        handle = dense[-1].register_forward_pre_hook(keep) if dense else None
        try:
            logits: Tensor = self(x)
        finally:
            if handle:
                handle.remove()
        return (torch.stack(seen).mean(0) if seen else logits).flatten(1), logits


class Wrapped(Network):
    """Any classifier of images behind the contract: standardised, grey copied to its channels.

    Args:
        body: (B, channels, S, S) to (B, C) logits, or a named tuple with ``logits``.
        image_size: S, pixels.
        channels: 1 or 3; None: as its first convolution has.
        heatmap_layer: name of a submodule of ``body`` for Grad-CAM and LayerCAM; None: the body's
            own heatmap_layer, or else its last convolution.

    Raises:
        ValueError: the body cannot take such images, or has no 2 or 3 outputs.
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        image_size: int,
        channels: int | None = None,
        heatmap_layer: str | None = None,
    ):
        super().__init__()
        self.body = body
        self.channels = _first_channels(body) if channels is None else channels
        if self.channels not in (GREY, COLOUR):
            raise ValueError(f"model.channels must be 1 or 3; got {self.channels}")
        self.heatmap_method = getattr(body, "heatmap_method", self.heatmap_method)
        self.layer_name: str | None = None
        self.draw(heatmap_layer)
        self.num_classes = self._count_classes(image_size)

    def draw(self, heatmap_layer: str | None) -> None:
        """Names the layer of the body for Grad-CAM and LayerCAM; None: its own, see Wrapped.

        Raises:
            ValueError: the body has no such layer.
        """
        names = [name for name, _ in self.body.named_modules()]
        if heatmap_layer is not None and heatmap_layer not in names:
            raise ValueError(
                f"model.heatmap_layer must name a layer of the network; got {heatmap_layer!r}. The "
                f"last are {', '.join(names[-3:])}"
            )
        self.layer_name = heatmap_layer

    @property
    def heatmap_layer(self) -> nn.Module:
        """The module whose output Grad-CAM and LayerCAM draw, see Wrapped."""
        if self.layer_name is not None:
            return self.body.get_submodule(self.layer_name)
        of_body: nn.Module | None = getattr(self.body, "heatmap_layer", None)
        return super().heatmap_layer if of_body is None else of_body

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) grey values to (B, num_classes) logits."""
        standardised = (x - self.mean) / self.std
        if self.channels == COLOUR:
            standardised = standardised.expand(-1, COLOUR, -1, -1)
        answer = self.body(standardised)
        return cast(Tensor, answer if isinstance(answer, Tensor) else answer.logits)

    @torch.no_grad()
    def _count_classes(self, image_size: int) -> int:
        training = self.body.training
        self.body.eval()
        try:
            shape = tuple(self(torch.zeros(2, 1, image_size, image_size)).shape)
        except Exception as error:  # whatever a foreign network says of an image it cannot take
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"the network must take images of {image_size} x {image_size} pixels and "
                f"{self.channels} channels; it does not: {reason}. Try another data.image_size"
            ) from None
        self.body.train(training)
        if len(shape) != 2 or shape[1] not in NUM_CLASSES:
            raise ValueError(
                f"a network must have 2 outputs (NORMAL, PNEUMONIA) or 3 (NORMAL, bacteria, virus) "
                f"for an image; this one gives {shape} for 2 images. Its number of classes is an "
                "argument of its constructor, such as model.num_classes=2"
            )
        return int(shape[1])


def build(
    model: Mapping[str, Any], *, image_size: int, make: Callable[[dict[str, Any]], Any]
) -> Network:
    """Returns the network of a model's configuration, channels-last, which is faster on a CPU.

    Args:
        model: with _target_, the arguments of its constructor, and OWN_KEYS.
        image_size: S, pixels.
        make: makes the object that a mapping with _target_ stands for.

    Raises:
        ValueError: it is no network, or cannot answer the contract.
    """
    made = make({key: value for key, value in model.items() if key not in OWN_KEYS})
    if not isinstance(made, nn.Module):
        raise ValueError(
            f"model._target_ must make a torch.nn.Module; {model.get('_target_')} makes "
            f"{type(made).__name__}"
        )
    if not isinstance(made, Network):
        made = Wrapped(
            made,
            image_size=image_size,
            channels=model.get("channels"),
            heatmap_layer=model.get("heatmap_layer"),
        )
    elif isinstance(made, Wrapped):
        made.draw(model.get("heatmap_layer"))
    network: Network = made.to(memory_format=torch.channels_last)
    return network


def _first_channels(body: nn.Module) -> int:
    first = next((m for m in body.modules() if isinstance(m, nn.Conv2d)), None)
    return COLOUR if first is None else first.in_channels
