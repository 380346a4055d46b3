"""Networks of torchvision, of timm and EfficientNet-Lite by their names, made for grey images."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torch.nn import functional

from pneumo.models import efficientnet_lite
from pneumo.models.base import GREY, Wrapped
from pneumo.models.blocks import head

INSTALL = "python -m pip install 'pneumo[timm]'"
# Without the second output, which only a second loss would use and small images do not have; with
# torch's initial weights, since those of these two gave logits of 1e10 after an epoch of few steps
OPTIONS = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # its weights in torchvision's files
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Found:
    """A network for colour images, and what its library standardises them by."""

    body: nn.Module  # (B, 3, S, S) to (B, num_classes) logits
    mean: Sequence[float]  # of red, green and blue in [0, 1]
    std: Sequence[float]


class LibraryNetwork(Wrapped):
    """A network of a library, with a new last layer and a first one for grey images.

    It gives what the library's own network gives of the grey image copied to red, green and blue
    and standardised as the library describes, see GreyConvolution. So the mean and deviation of the
    train split, which other networks are standardised by, are kept but not used; and a network
    without pretrained weights is standardised in the same way.

    Args:
        library: torchvision, timm or efficientnet_lite, see pneumo.models.efficientnet_lite.
        architecture: its name there.
        image_size: S, pixels.
        num_classes: 2 (NORMAL, PNEUMONIA) or 3 (NORMAL, bacteria, virus).
        pretrained: false: random weights; true: the library's own, by its loader and from its
            cache; else the file of such weights. The last layer is always new, unless the file is
            for a network that is not timm's and its last layer has as many outputs.

    Raises:
        ValueError: there is no such network, its package is missing, it cannot take such images, or
            the weights cannot be had or do not fit.
    """

    def __init__(
        self,
        *,
        library: str,
        architecture: str,
        image_size: int,
        num_classes: int = 2,
        pretrained: bool | str = False,
    ):
        if library not in LIBRARIES:
            raise ValueError(f"model.library must be one of {', '.join(LIBRARIES)}; got {library}")
        if isinstance(pretrained, str):
            pretrained = existing(pretrained)
        found = LIBRARIES[library](
            architecture, image_size=image_size, num_classes=num_classes, pretrained=pretrained
        )
        self.grey_mean = sum(found.mean) / len(found.mean)
        self.grey_std = sum(found.std) / len(found.std)
        make_grey(found.body, mean=found.mean, std=found.std)
        super().__init__(found.body, image_size=image_size, channels=GREY)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) grey values to (B, num_classes) logits."""
        return cast(Tensor, self.body((x / 255 - self.grey_mean) / self.grey_std))


class GreyConvolution(nn.Conv2d):
    """A first convolution for grey images: one for colour, its weights summed over the colours.

    A library standardises red, green and blue each by its own mean and deviation, here grey is
    standardised by their averages. What a colour has in scale is multiplied into its weights, and
    what it has in addition, the ``shift``, is convolved by itself, since at the border, where zeros
    are added around the standardised image, it is no constant. So the output is that of the
    convolution for colour on the image copied to three channels; the shift is not trained.

    Args:
        colour: the convolution of (B, 3, S, S).
        mean: of red, green and blue, which the weights were trained with.
        std: the same.
    """

    shift: Tensor | None

    def __init__(self, colour: nn.Conv2d, *, mean: Sequence[float], std: Sequence[float]):
        super().__init__(
            GREY,
            colour.out_channels,
            cast(tuple[int, int], colour.kernel_size),
            cast(tuple[int, int], colour.stride),
            cast(tuple[int, int], colour.padding),
            cast(tuple[int, int], colour.dilation),
            bias=colour.bias is not None,
        )
        means, stds = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        scale, offset = stds.mean() / stds, (means.mean() - means) / stds
        with torch.no_grad():
            self.weight.copy_((colour.weight * scale).sum(1, keepdim=True))
            if self.bias is not None and colour.bias is not None:
                self.bias.copy_(colour.bias)
            shift = (colour.weight * offset).sum(1, keepdim=True)
        self.register_buffer("shift", shift if bool(offset.any()) else None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) standardised grey values to (B, C, H, W)."""
        output = super().forward(x)
        if self.shift is None:
            return output
        ones = x.new_ones(1, 1, *x.shape[2:])
        return output + functional.conv2d(
            ones, self.shift, None, self.stride, self.padding, self.dilation
        )


def make_grey(body: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
    """Puts a GreyConvolution in the place of a network's first convolution.

    Raises:
        ValueError: the first convolution is not a plain one of three channels.
    """
    name, first = next(
        ((n, m) for n, m in body.named_modules() if isinstance(m, nn.Conv2d)), ("", None)
    )
    plain = type(first) is nn.Conv2d and first.in_channels == len(mean) and first.groups == 1
    if first is None or not plain or first.padding_mode != "zeros":
        raise ValueError(
            "model.architecture must be a network that begins with a plain convolution of red, "
            f"green and blue; this one begins with {first}"
        )
    place, _, last = name.rpartition(".")
    setattr(body.get_submodule(place), last, GreyConvolution(first, mean=mean, std=std))


def _of_torchvision(
    architecture: str, *, image_size: int, num_classes: int, pretrained: bool | str
) -> Found:
    from torchvision import models  # late, as timm: seconds

    if architecture not in models.list_models(module=models):
        raise _unknown(architecture, "torchvision.models.list_models()")
    weights = models.get_model_weights(architecture).DEFAULT
    smallest = max(weights.meta["min_size"])
    if image_size < smallest:
        raise _too_small(architecture, smallest, image_size)
    body = models.get_model(
        architecture, weights=None, num_classes=num_classes, **OPTIONS.get(architecture, {})
    )
    load_pretrained(body, architecture, pretrained)
    described = weights.transforms()
    if hasattr(body, "transform_input"):  # the weights are of TensorFlow, which standardises so;
        return Found(body, HALF, HALF)  # transform_input makes that of torchvision's for colours
    return Found(body, described.mean, described.std)


def existing(pretrained: str) -> str:
    """Returns the file that model.pretrained names, its ~ resolved; ValueError: there is none."""
    path = Path(pretrained).expanduser()
    if not path.is_file():
        raise ValueError(
            f"model.pretrained must be true, false or a file of weights; there is no file {path}"
        )
    return str(path)


def load_pretrained(body: nn.Module, architecture: str, pretrained: bool | str) -> None:
    """Fills a network of torchvision with weights, but for a last layer of another size.

    Args:
        body: as torchvision.models.get_model makes it.
        architecture: its name there.
        pretrained: false: nothing is done; true: torchvision's default weights; else a file.

    Raises:
        ValueError: the weights cannot be had or do not fit.
    """
    from torchvision import models  # late, see above

    if not pretrained:
        return
    weights = models.get_model_weights(architecture).DEFAULT
    state = _fetch(weights) if pretrained is True else _read(str(pretrained))
    try:
        _fill(body, state)
    except RuntimeError as error:
        raise _misfit(architecture, pretrained, error) from None


def _fetch(weights: Any) -> dict[str, Any]:
    """Returns what torchvision's loader finds in its cache or fetches.

    Raises:
        ValueError: it is not in the cache and cannot be fetched, or it is broken.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(urlparse(weights.url).path).name
    try:
        return dict(
            weights.get_state_dict(
                progress=sys.stderr.isatty(),
                check_hash=True,
                map_location="cpu",
                weights_only=True,
            )
        )
    except OSError as error:
        raise ValueError(
            f"model.pretrained=true needs {file.name} of torchvision, which could not be fetched: "
            f"{error}. Get it from {weights.url} and put it into {folder}, or name the file by "
            "model.pretrained=FILE"
        ) from None
    except Exception as error:  # whatever the unpickler says of a broken file
        raise ValueError(
            f"model.pretrained=true needs {file.name} of torchvision; {file} is broken: "
            f"{_short(error)}. Remove it, so that it is fetched again"
        ) from None


def _read(path: str) -> dict[str, Any]:
    """Returns the weights in a file; nothing in it is run. ValueError where it has none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler says of a broken file
        raise ValueError(
            f"model.pretrained={path} must be a file of weights by torch.save; {_short(error)}"
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"model.pretrained={path} must hold weights by name (a state dict) and nothing else"
        )
    return dict(state)


def _fill(body: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads weights, but those of a last layer of another size. RuntimeError where they misfit."""
    wanted = body.state_dict()
    # DenseNet's file is of a time when names could have dots: norm.1 for norm1
    names = {name.replace(".", ""): name for name in wanted}
    given = {
        names.get(key.replace(".", ""), key): value
        for key, value in state.items()
        if not key.startswith(AUXILIARY)
    }
    last = head(body)
    for name in (f"{last}.weight", f"{last}.bias"):
        if name in given and given[name].shape != wanted[name].shape:
            given[name] = wanted[name]
    body.load_state_dict(given)


def _of_timm(
    architecture: str, *, image_size: int, num_classes: int, pretrained: bool | str
) -> Found:
    try:
        import timm
    except ImportError:
        raise ValueError(
            f"model.library=timm needs timm, which is not installed: {INSTALL}"
        ) from None
    if not timm.is_model(architecture):
        raise _unknown(architecture, "timm.list_models()")
    described = timm.get_pretrained_cfg(architecture)
    options: dict[str, Any] = {"img_size": image_size} if described.fixed_input_size else {}
    if not pretrained:
        body = timm.create_model(architecture, num_classes=num_classes, **options)
        return Found(body, described.mean, described.std)
    if isinstance(pretrained, str):
        options["pretrained_cfg_overlay"] = {"file": pretrained}
    # with as many classes as in the file: with others timm takes any weights, fitting or not
    try:
        body = timm.create_model(
            architecture, pretrained=True, num_classes=described.num_classes, **options
        )
    except Exception as error:  # whatever the loaders, the hub and the unpickler say
        if isinstance(pretrained, str):
            raise _misfit(architecture, pretrained, error) from None
        raise ValueError(
            f"model.pretrained=true needs {_timm_weights(described)}, or name the file by "
            f"model.pretrained=FILE. timm says: {_short(error)}"
        ) from None
    body.reset_classifier(num_classes)
    return Found(body, described.mean, described.std)


def _timm_weights(described: Any) -> str:
    """Returns which file timm needs, where it can be had, and the folder it looks in."""
    if described.hf_hub_id:
        from huggingface_hub import constants

        copied = f"models--{described.hf_hub_id.replace('/', '--')}"
        return (
            f"model.safetensors of {described.hf_hub_id} on the Hugging Face hub. Get it from "
            f"there, or copy the folder {copied} of another machine into {constants.HF_HUB_CACHE}"
        )
    name = Path(urlparse(described.url).path).name
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return f"{name}. Get it from {described.url} and put it into {folder}"


def _of_lite(
    architecture: str, *, image_size: int, num_classes: int, pretrained: bool | str
) -> Found:
    lite = efficientnet_lite
    if architecture != "efficientnet_lite0":
        raise _unknown(architecture, "efficientnet_lite0")
    if image_size < lite.SMALLEST:
        raise _too_small(architecture, lite.SMALLEST, image_size)
    body = lite.build(num_classes)
    if pretrained:
        file = lite.weights_path() if pretrained is True else pretrained
        try:
            _fill(body, lite.renamed(_read(str(file)), body))
        except RuntimeError as error:
            raise _misfit(architecture, pretrained, error) from None
    return Found(body, (lite.MEAN,) * 3, (lite.STD,) * 3)


def _too_small(architecture: str, smallest: int, image_size: int) -> ValueError:
    return ValueError(
        f"model.architecture={architecture} takes images of {smallest} x {smallest} pixels or "
        f"more; got data.image_size={image_size}"
    )


def _unknown(architecture: str, listed: str) -> ValueError:
    return ValueError(f"model.architecture must be one of {listed}; got {architecture!r}")


def _misfit(architecture: str, pretrained: bool | str, error: Exception) -> ValueError:
    return ValueError(
        f"model.pretrained={pretrained} must be weights of {architecture}; they do not fit: "
        f"{_short(error)}"
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


LIBRARIES: dict[str, Callable[..., Found]] = {
    "torchvision": _of_torchvision,
    "timm": _of_timm,
    "efficientnet_lite": _of_lite,
}
