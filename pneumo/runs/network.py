"""The network of a run folder, built again; nothing in the folder is executed."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException

from pneumo.choices import CHECKPOINTS
from pneumo.data import fingerprint
from pneumo.models.base import OWN_KEYS, Network, build
from pneumo.runs.metrics import COPY_AGAIN
from pneumo.runs.run_folder import CONFIG, NetworkSettings
from pneumo.runs.trust import check_target, check_timm, targets
from pneumo.runs.weights import read_weights

if TYPE_CHECKING:  # torchvision's detectors, which a classifier need not wait for
    from pneumo.models.detector import Detector

BASELINES = "pneumo.baselines."  # classifiers without a network
WITHOUT_WEIGHTS = {"weights": None, "weights_backbone": None, "pretrained": False}


Recorded = Mapping[str, Any] | None  # preprocessing in metrics.json


def load(
    settings: NetworkSettings, checkpoint: str, *, preprocessing: Recorded, trust: Sequence[str]
) -> Network:
    """Returns the network of a classifier; arguments and errors: see Run.network."""
    size = settings.image_size
    network: Network = _build(
        settings, trust, lambda make: build(settings.model, image_size=size, make=make)
    )
    if network.inputs:
        raise ValueError(
            f"this needs a network of images alone; that of {settings.name} also takes "
            f"{', '.join(network.inputs)} of its data set's table. Its scores are in metrics.json"
        )
    _fill(network, settings, checkpoint, preprocessing)
    return network.eval()


def load_detector(
    settings: NetworkSettings, checkpoint: str, *, preprocessing: Recorded, trust: Sequence[str]
) -> "Detector":
    """Returns the network of a detector; arguments and errors: see Run.network."""
    from pneumo.models.detector import Detector

    model = {key: value for key, value in settings.model.items() if key not in OWN_KEYS}
    network = _build(settings, trust, lambda make: make(model))
    if not isinstance(network, Detector):
        raise ValueError(
            f"model._target_ of {settings.run_dir} must make a detector; got "
            f"{type(network).__name__}. {COPY_AGAIN}"
        )
    _fill(network, settings, checkpoint, preprocessing)
    return network.to(memory_format=torch.channels_last).eval()  # as in its training


def _build(
    settings: NetworkSettings,
    trust: Sequence[str],
    make: Callable[[Callable[..., Any]], Any],
) -> Any:
    """Returns what ``make`` builds with an instantiate that builds only allowed targets."""
    model: Any = settings.model
    target = model.get("_target_") if isinstance(model, Mapping) else None
    path = settings.run_dir / CONFIG
    if str(target).startswith(BASELINES):
        raise ValueError(
            f"this needs a network; {settings.name} is a baseline ({model.get('name')}) without "
            f"one. Its scores: python -m pneumo.evaluate {settings.name}"
        )
    if target is None:
        raise ValueError(f"{path} must name its network: model._target_")

    def instance(wanted: dict[str, Any]) -> Any:
        check_timm(wanted, packages=trust)
        for name in targets(wanted):
            check_target(name, run_dir=settings.run_dir, trust=trust)
        return instantiate(_without_weights(wanted))

    try:
        return make(instance)
    except (InstantiationException, OmegaConfBaseException, TypeError) as error:
        cause = error.__cause__ or error
        raise ValueError(f"{path} does not fit this version: {cause}") from None


def _without_weights(settings: Any) -> Any:
    """Returns settings that download and read no weights: the checkpoint has them."""
    if isinstance(settings, Mapping):
        return {
            key: WITHOUT_WEIGHTS[key] if key in WITHOUT_WEIGHTS else _without_weights(value)
            for key, value in settings.items()
        }
    return [_without_weights(item) for item in settings] if isinstance(settings, list) else settings


def _fill(
    network: "Network | Detector",
    settings: NetworkSettings,
    checkpoint: str,
    preprocessing: Recorded,
) -> None:
    """Loads a checkpoint; ValueError if it does not fit, or images are prepared differently."""
    if checkpoint not in CHECKPOINTS:
        raise ValueError(f"checkpoint must be one of best, last; got {checkpoint!r}")
    path = settings.run_dir / "checkpoints" / f"{checkpoint}.ckpt"
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} does not fit its configuration: {reason}") from None
    broken = [name for name, value in network.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise ValueError(
            f"{path} must hold finite weights; {broken[0]} is not finite. Train again, with a "
            "smaller optimizer.lr if the training diverged"
        )
    if preprocessing is None:
        raise ValueError(
            "metrics.json of a network must record its preprocessing; that of "
            f"{settings.run_dir} does not. {COPY_AGAIN}"
        )
    fingerprint.check(
        preprocessing,
        size=settings.image_size,
        aspect=settings.aspect,
        mean=float(network.mean),
        std=float(network.std),
    )


def check_finite(outputs: np.ndarray, *, name: str) -> None:
    """Raises ValueError if outputs of the network of the run ``name`` are not finite."""
    if not np.isfinite(outputs).all():
        raise ValueError(
            f"a network's probabilities must be finite; those of {name} are not. Its weights "
            f"or its statistics are broken. {COPY_AGAIN}, or train again"
        )
