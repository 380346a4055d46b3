"""The network of a run folder, built again; nothing in the folder is executed."""

import hashlib
import shlex
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from pneumo.data import fingerprint
from pneumo.models.base import OWN_KEYS, Network, build
from pneumo.runs.metrics import COPY_AGAIN
from pneumo.runs.run_folder import CONFIG
from pneumo.runs.trust import check_target, nodes

if TYPE_CHECKING:  # torchvision's detectors, which a classifier need not wait for
    from pneumo.models.detector import Detector
    from pneumo.runs.run import Run

BASELINES = "pneumo.baselines."  # classifiers without a network
PREFIX = "network."  # of the network's part of a LightningModule's state
WITHOUT_WEIGHTS = {"weights": None, "weights_backbone": None, "pretrained": False}


def load(run: "Run", checkpoint: str, *, trust: Sequence[str]) -> Network:
    """Returns the network of a classifier; arguments and errors: see Run.network."""
    network: Network = _build(
        run, trust, lambda make: build(run.settings["model"], image_size=run.image_size, make=make)
    )
    if network.inputs:
        raise ValueError(
            f"this needs a network of images alone; that of {run.name} also takes "
            f"{', '.join(network.inputs)} of its data set's table. Its scores are in metrics.json"
        )
    _fill(network, run, checkpoint)
    return network.eval()


def load_detector(run: "Run", checkpoint: str, *, trust: Sequence[str]) -> "Detector":
    """Returns the network of a detector; arguments and errors: see Run.network."""
    from pneumo.models.detector import Detector

    model = {key: value for key, value in run.settings["model"].items() if key not in OWN_KEYS}
    network = _build(run, trust, lambda make: make(model))
    if not isinstance(network, Detector):
        raise ValueError(
            f"model._target_ of {run.run_dir} must make a detector; got {type(network).__name__}. "
            f"{COPY_AGAIN}"
        )
    _fill(network, run, checkpoint)
    return network.to(memory_format=torch.channels_last).eval()  # as in its training


def _build(run: "Run", trust: Sequence[str], make: Callable[[Callable[..., Any]], Any]) -> Any:
    """Returns the result of ``make``, called with an instantiate of allowed targets only."""
    model, path = run.settings["model"], run.run_dir / CONFIG
    target = model.get("_target_") if isinstance(model, Mapping) else None
    if target is None:
        raise ValueError(f"{path} must name its network: model._target_")
    if str(target).startswith(BASELINES):
        raise ValueError(
            f"this needs a network; {run.name} is a baseline ({model.get('name')}) without one. "
            f"Its scores: python -m pneumo.evaluate {shlex.quote(run.name)}"
        )

    def instance(part: dict[str, Any]) -> Any:
        for node in nodes(part):
            check_target(node, run_dir=run.run_dir, trust=trust)
        return instantiate(_without_weights(part))

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


def _fill(network: "Network | Detector", run: "Run", checkpoint: str) -> None:
    """Loads a checkpoint; ValueError if it does not fit, or images are prepared differently."""
    path = run.run_dir / "checkpoints" / f"{checkpoint}.ckpt"
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
    recorded = run.required("preprocessing")
    mean, std = float(network.mean), float(network.std)
    fingerprint.check(recorded, size=run.image_size, aspect=run.aspect, mean=mean, std=std)


def check_finite(outputs: np.ndarray, *, name: str) -> None:
    """Raises ValueError if outputs of the network of the run ``name`` are not finite."""
    if not np.isfinite(outputs).all():
        raise ValueError(
            f"a network's probabilities must be finite; those of {name} are not. Its weights "
            f"or its statistics are broken. {COPY_AGAIN}, or train again"
        )


def read_checkpoint(path: Path) -> Any:
    """Returns the content of a file of torch.save, tensors on the CPU; nothing in it is executed.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no such file, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch reads no checksum
            if damaged := archive.testzip():
                raise ValueError(f"{Path(damaged).name} has changed")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # any error of zipfile and of the unpickler
        reason = str(error).partition("\n")[0]
        raise ValueError(reason or type(error).__name__) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Returns the weights of a run's network by name, on the CPU; nothing is executed.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is not a checkpoint of weights.
    """
    try:
        content = read_checkpoint(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"a run has checkpoints/best.ckpt and last.ckpt; there is no {path}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} must be a checkpoint of weights only; {error}") from None
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} must be a checkpoint of weights only; it holds no state_dict")
    return {k.removeprefix(PREFIX): value for k, value in state.items() if k.startswith(PREFIX)}


def weights_digest(network: nn.Module) -> str:
    """Returns the SHA-256 of a network's weights."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
