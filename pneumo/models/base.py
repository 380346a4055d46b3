"""The contract of a network, and the wrapper that makes any classifier of images meet it."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

NUM_CLASSES = (2, 3)  # NORMAL, PNEUMONIA; or NORMAL, bacteria, virus
OWN_KEYS = ("name", "channels", "heatmap_layer")  # of a model's YAML; not constructor arguments
GREY, COLOUR = 1, 3


class Network(nn.Module):
    """(B, 1, S, S) grey values in [0, 255] to (B, num_classes) float32 logits.

    Attributes:
        mean, std: of the train split's pixels, in grey values, which standardise the input; kept in
            the checkpoint.
        log_prior: (num_classes,), subtracted from the logits in evaluation mode only; kept in the
            checkpoint. With decision=balanced the logarithm of each class's share in training, so
            that probabilities are those for equal classes (Saerens, Latinne and Decaestecker,
            "Adjusting the outputs of a classifier to new a priori probabilities", 2002); else 0.
        num_classes: 2 (NORMAL, PNEUMONIA) or 3 (NORMAL, bacteria, virus).
        heatmap_method: of pneumo.inference.saliency, the default of python -m pneumo.heatmap.
        inputs: numeric columns of the data set's table that ``forward`` takes by name besides the
            image, (B,) float32 each. It has a default for each, with which it is counted; a run
            of such a network is scored and reported, and cannot predict files without a table.
    """

    inputs: tuple[str, ...] = ()
    mean: Tensor
    std: Tensor
    log_prior: Tensor
    num_classes: int
    heatmap_method: str = "gradcam"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))
        self.register_buffer("log_prior", torch.tensor(0.0))  # of each class once it is built
        self.register_forward_hook(_corrected)

    @property
    def heatmap_layer(self) -> nn.Module:
        """Returns the module whose output Grad-CAM and LayerCAM use: the last convolution.

        Raises:
            ValueError: the network has no convolution.
        """
        layers = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        if not layers:
            raise ValueError(
                "gradcam needs a convolution, or a layer named by model.heatmap_layer; this "
                "network has neither. Use --method occlusion"
            )
        return layers[-1]

    def features_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, S, S) to (B, F) inputs of the last dense layer, and (B, num_classes) logits.

        If the dense layer runs several times, the features are the mean of its inputs; without a
        dense layer they are the logits.
        """
        inputs: list[Tensor] = []
        dense = [m for m in self.modules() if isinstance(m, nn.Linear)]

        def keep(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs.append(arguments[0])

        handle = dense[-1].register_forward_pre_hook(keep) if dense else None
        try:
            logits: Tensor = self(x)
        finally:
            if handle:
                handle.remove()
        return (torch.stack(inputs).mean(0) if inputs else logits).flatten(1), logits


class Wrapped(Network):
    """Any classifier of images as a Network: its input standardised, grey repeated to colour.

    A body with a ``pretrained_cfg`` (a mapping with mean and std of red, green and blue in [0, 1],
    as timm's networks have) is standardised by that, other bodies by the train split.

    Args:
        body: (B, channels, S, S) to (B, C) logits, or to a named tuple with ``logits``.
        image_size: S, pixels.
        channels: 1 or 3; None: those of its first convolution, 1 without one.

    Raises:
        ValueError: the body rejects such images, or has not 2 or 3 outputs.
    """

    preset_mean: Tensor | None
    preset_std: Tensor | None

    def __init__(self, body: nn.Module, *, image_size: int, channels: int | None = None):
        super().__init__()
        self.body = body
        self.channels = _first_channels(body) if channels is None else channels
        if self.channels not in (GREY, COLOUR):
            raise ValueError(f"model.channels must be 1 or 3; got {self.channels}")
        self.heatmap_method = getattr(body, "heatmap_method", self.heatmap_method)
        self.layer_name: str | None = None
        preset = getattr(body, "pretrained_cfg", None)
        is_used = self.channels == COLOUR and isinstance(preset, Mapping) and "mean" in preset
        for name in ("mean", "std"):
            value = 255 * torch.tensor(preset[name])[:, None, None] if preset and is_used else None
            self.register_buffer(f"preset_{name}", value, persistent=False)
        self.num_classes = self._count_classes(image_size)

    def draw(self, heatmap_layer: str | None) -> None:
        """Sets the submodule of the body for Grad-CAM and LayerCAM; None: see heatmap_layer.

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
        """Returns the layer set by `draw`, else the body's heatmap_layer or last convolution."""
        if self.layer_name is not None:
            return self.body.get_submodule(self.layer_name)
        layer: nn.Module | None = getattr(self.body, "heatmap_layer", None)
        return super().heatmap_layer if layer is None else layer

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) grey values to (B, num_classes) logits."""
        x = x.expand(-1, self.channels, -1, -1)
        if self.preset_mean is None or self.preset_std is None:
            x = (x - self.mean) / self.std
        else:
            x = (x - self.preset_mean) / self.preset_std
        output = self.body(x)
        return cast(Tensor, output if isinstance(output, Tensor) else output.logits)

    @torch.no_grad()
    def _count_classes(self, image_size: int) -> int:
        training = self.body.training
        self.body.eval()
        try:
            shape = tuple(self(torch.zeros(2, 1, image_size, image_size)).shape)
        except Exception as error:  # a foreign network may raise anything
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"the network must take images of {image_size} x {image_size} pixels and "
                f"{self.channels} channels; it raises: {reason}. Try another data.image_size, or "
                "model.channels=1 or 3"
            ) from None
        self.body.train(training)
        if len(shape) != 2 or shape[1] not in NUM_CLASSES:
            raise ValueError(
                "a network must have 2 outputs (NORMAL, PNEUMONIA) or 3 (NORMAL, bacteria, virus) "
                f"per image; got {shape} for 2 images. Its constructor has an argument for it, "
                "such as model.num_classes=2"
            )
        return int(shape[1])


def build(
    model: Mapping[str, Any], *, image_size: int, make: Callable[[dict[str, Any]], Any]
) -> Network:
    """Returns the network of a model's configuration, channels-last, which is faster on a CPU.

    Args:
        model: with _target_, the arguments of its constructor, and OWN_KEYS.
        image_size: S, pixels.
        make: instantiates a mapping with _target_.

    Raises:
        ValueError: the object is not a network, or does not meet the contract.
    """
    network = make({key: value for key, value in model.items() if key not in OWN_KEYS})
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"model._target_ must be a torch.nn.Module; {model.get('_target_')} returns "
            f"{type(network).__name__}"
        )
    if not isinstance(network, Network):
        network = Wrapped(network, image_size=image_size, channels=model.get("channels"))
    if isinstance(network, Wrapped):
        network.draw(model.get("heatmap_layer"))
    network.log_prior = torch.zeros(network.num_classes)
    return cast(Network, network.to(memory_format=torch.channels_last))


def _corrected(network: nn.Module, _: object, logits: Tensor) -> Tensor:
    return logits if network.training else logits - cast(Network, network).log_prior


def _first_channels(body: nn.Module) -> int:
    first = next((m for m in body.modules() if isinstance(m, nn.Conv2d)), None)
    return GREY if first is None else first.in_channels
