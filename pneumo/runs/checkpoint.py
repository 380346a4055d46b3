"""A finished run folder becomes its network again; nothing in the folder is run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from pneumo import labels
from pneumo.choices import CHECKPOINTS
from pneumo.data import fingerprint
from pneumo.models.base import OWN_KEYS, Network, build
from pneumo.models.views import Views
from pneumo.runs import detection_run, run_folder
from pneumo.runs.finished import read_metrics
from pneumo.runs.trust import check_target, check_timm, targets
from pneumo.runs.weights import read_weights

if TYPE_CHECKING:  # torchvision's detectors, which a classifier need not wait for
    from pneumo.models.detector import Detector

BASELINES = "pneumo.baselines."  # where those are that have no network
ASPECTS = ("stretch", "pad")
MAX_SIDE = 4096  # pixels of a prepared image; a larger one would fill the memory


@dataclass(frozen=True)
class Trained:
    """What a run has learnt, and how its images must be prepared."""

    run_dir: Path
    network: Network  # on the CPU, in evaluation mode; (B, 1, S, S) grey values 0-255 to logits
    views: Views  # over which its logits, features and maps are means
    metrics: dict[str, Any]  # metrics.json
    image_size: int  # S, pixels
    aspect: str  # stretch or pad
    classes: tuple[str, ...]  # of the logits: NORMAL, PNEUMONIA; or NORMAL, bacteria, virus


@dataclass(frozen=True)
class TrainedDetector:
    """What a detector's run has learnt, and how its images must be prepared."""

    run_dir: Path
    network: "Detector"  # on the CPU, in evaluation mode; see its forward
    metrics: dict[str, Any]  # metrics.json
    image_size: int  # S, pixels
    aspect: str  # stretch or pad
    confidence: float  # fixed on the validation split, for the best checkpoint


class _Kept(NamedTuple):
    """What a run folder holds of its network."""

    metrics: dict[str, Any]
    model: dict[str, Any]  # with _target_
    views: dict[str, Any]
    image_size: int
    aspect: str
    path: Path  # of the checkpoint
    weights: dict[str, Tensor]


def load(run_dir: Path, *, checkpoint: str = "best", trust: Sequence[str] = ()) -> Trained:
    """Returns the network of a finished classifier.

    Args:
        run_dir: a folder that pneumo.train wrote.
        checkpoint: "best", chosen as metrics.json says, or "last".
        trust: packages whose networks may be built besides those of check_target.

    Raises:
        FileNotFoundError: the folder or a file of it is missing.
        ValueError: the run is not finished or of another schema, its configuration names something
            unknown, a file is broken, the checkpoint does not fit the configuration, or images are
            prepared here in another way than in the training; or it is a detector.
    """
    run_dir = Path(run_dir)
    detection_run.refuse(run_dir, "this needs a classifier")
    kept = _read(run_dir, checkpoint)

    def make(settings: dict[str, Any]) -> Any:
        return _instance(settings, run_dir, trust, kept.weights)

    with _told(run_dir):
        network = build(kept.model, image_size=kept.image_size, make=make)
        views = Views(**kept.views)
    _fill(network, kept.weights, kept.path)
    _check_preprocessing(kept, network)
    classes = labels.CLASSES[network.num_classes]
    size, aspect = kept.image_size, kept.aspect
    return Trained(run_dir, network.eval(), views, kept.metrics, size, aspect, classes)


def load_detector(
    run_dir: Path, *, checkpoint: str = "best", trust: Sequence[str] = ()
) -> TrainedDetector:
    """Returns the network of a finished detector; arguments and errors as of `load`."""
    from pneumo.models.detector import Detector

    run_dir = Path(run_dir)
    kept = _read(run_dir, checkpoint)
    settings = {key: value for key, value in kept.model.items() if key not in OWN_KEYS}
    with _told(run_dir):
        network = _instance(settings, run_dir, trust, kept.weights)
    if not isinstance(network, Detector):
        raise ValueError(
            f"model._target_ of a detector's run must be a detector; that of {run_dir} makes "
            f"{type(network).__name__}. Take the run folder anew"
        )
    _fill(network, kept.weights, kept.path)
    _check_preprocessing(kept, network)
    confidence = detection_run.confidence_of(kept.metrics, run_dir)
    network = network.to(memory_format=torch.channels_last).eval()  # as in its training
    return TrainedDetector(run_dir, network, kept.metrics, kept.image_size, kept.aspect, confidence)


def _read(run_dir: Path, checkpoint: str) -> _Kept:
    if checkpoint not in CHECKPOINTS:
        raise ValueError(f"checkpoint must be one of best, last; got {checkpoint!r}")
    config = run_folder.read_config(run_dir)
    metrics = read_metrics(run_dir)
    try:
        resolved = OmegaConf.create({key: config[key] for key in ("model", "views", "data")})
        model = OmegaConf.to_container(resolved.model, resolve=True)
        views = dict(resolved.views)
        image_size, aspect = resolved.data.image_size, resolved.data.aspect
    except (OmegaConfBaseException, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{run_dir / run_folder.CONFIG} lacks or breaks {error}") from None
    _check_shape(image_size, aspect, run_dir)
    wanted = _network_settings(model, run_dir)
    path = run_dir / "checkpoints" / f"{checkpoint}.ckpt"
    return _Kept(metrics, wanted, views, image_size, aspect, path, read_weights(path))


def check_finite(answers: np.ndarray, run_dir: Path) -> None:
    """Raises ValueError where what a run's network says is not finite, as of broken weights."""
    if not np.isfinite(answers).all():
        raise ValueError(
            f"a network's probabilities must be finite; those of {run_dir} are not. Its weights or "
            "its statistics are broken: take the run folder anew, or train again"
        )


def _check_shape(image_size: Any, aspect: Any, run_dir: Path) -> None:
    whole = isinstance(image_size, int) and not isinstance(image_size, bool)
    if not (whole and 0 < image_size <= MAX_SIDE):
        raise ValueError(
            f"data.image_size of a run must be a whole number of pixels, at most {MAX_SIDE:,}; "
            f"{run_dir} has {image_size!r}"
        )
    if aspect not in ASPECTS:
        raise ValueError(
            f"data.aspect of a run must be one of {', '.join(ASPECTS)}; {run_dir} has {aspect!r}"
        )


def _check_preprocessing(kept: _Kept, network: "Network | Detector") -> None:
    """Raises ValueError as fingerprint.check, or where the run recorded none."""
    recorded = kept.metrics.get("preprocessing")
    if recorded is None:
        raise ValueError(
            "metrics.json of a network must record its preprocessing; that of "
            f"{kept.path.parents[1]} does not. Copy the run folder again"
        )
    fingerprint.check(
        recorded,
        size=kept.image_size,
        aspect=kept.aspect,
        mean=float(network.mean),
        std=float(network.std),
    )


def _network_settings(model: Any, run_dir: Path) -> dict[str, Any]:
    """Returns ``model``; ValueError where it is of a baseline, or of nothing."""
    target = model.get("_target_") if isinstance(model, Mapping) else None
    if str(target).startswith(BASELINES):
        raise ValueError(
            f"this needs a network; {run_dir} holds a baseline ({model.get('name')}), which has "
            f"none. Its scores: python -m pneumo.evaluate {run_dir}"
        )
    if target is None:
        raise ValueError(f"{run_dir / run_folder.CONFIG} must name its network by model._target_")
    return dict(model)


def _instance(
    settings: dict[str, Any], run_dir: Path, trust: Sequence[str], weights: Mapping[str, Tensor]
) -> Any:
    """Returns what a configuration's model names, if it may be made; without weights."""
    check_timm(settings, packages=trust)
    for name in targets(settings):
        check_target(name, run_dir=run_dir, trust=trust)
    wanted = _without_weights(settings)
    return instantiate(wanted)


@contextmanager
def _told(run_dir: Path) -> Iterator[None]:
    """Turns what Hydra says of a configuration into one line."""
    try:
        yield
    except (InstantiationException, OmegaConfBaseException, TypeError) as error:
        cause = error.__cause__ or error
        raise ValueError(
            f"{run_dir / run_folder.CONFIG} does not fit this version: {cause}"
        ) from None


def _without_weights(settings: Any) -> Any:
    """The checkpoint has them: nothing is fetched or read, however deep it is asked for."""
    off = {"weights": None, "weights_backbone": None, "pretrained": False}
    if isinstance(settings, Mapping):
        return {
            key: off[key] if key in off else _without_weights(value)
            for key, value in settings.items()
        }
    return [_without_weights(one) for one in settings] if isinstance(settings, list) else settings


def _fill(network: "Network | Detector", weights: Mapping[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} does not fit its configuration: {reason}") from None
    broken = [name for name, value in network.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise ValueError(
            f"{path} must hold finite weights; {broken[0]} is not finite. Train again, with a "
            "smaller optimizer.lr if the training left it so"
        )
