"""A finished run folder becomes its network again; nothing in the folder is run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pneumo import runs
from pneumo.network import Network, build
from pneumo.trust import check_target, check_timm, targets

CHECKPOINTS = ("best", "last")
BASELINES = "pneumo.baselines."  # where those are that have no network


@dataclass(frozen=True)
class Trained:
    """What a run has learnt, and how its images must be prepared."""

    run_dir: Path
    network: Network  # on the CPU, in evaluation mode; (B, 1, S, S) grey values 0-255 to logits
    metrics: dict[str, Any]  # metrics.json
    image_size: int  # S, pixels
    aspect: str  # stretch or pad
    classes: tuple[str, ...]  # of the logits: NORMAL, PNEUMONIA; or NORMAL, bacteria, virus


def load(run_dir: Path, *, checkpoint: str = "best", trust: Sequence[str] = ()) -> Trained:
    """Returns the network of a finished run.

    Args:
        run_dir: a folder that pneumo.train wrote.
        checkpoint: "best", chosen as metrics.json says, or "last".
        trust: packages whose networks may be built besides those of check_target.

    Raises:
        FileNotFoundError: the folder or a file of it is missing.
        ValueError: the run is not finished or of another schema, its configuration names something
            unknown, a file is broken, or the checkpoint does not fit the configuration.
    """
    if checkpoint not in CHECKPOINTS:
        raise ValueError(f"checkpoint must be one of best, last; got {checkpoint!r}")
    run_dir = Path(run_dir)
    config = runs.read_config(run_dir)
    metrics = read_metrics(run_dir)
    try:
        resolved = OmegaConf.create({key: config[key] for key in ("model", "data")})
        model = OmegaConf.to_container(resolved.model, resolve=True)
        data = resolved.data
        image_size, aspect = data.image_size, data.aspect
    except (OmegaConfBaseException, KeyError) as error:
        raise ValueError(f"{run_dir / runs.CONFIG} lacks or breaks {error}") from None
    network = _build(model, image_size, run_dir, trust)
    _fill(network, run_dir / "checkpoints" / f"{checkpoint}.ckpt")
    two = network.num_classes == 2
    classes = ("NORMAL", "PNEUMONIA") if two else ("NORMAL", "bacteria", "virus")
    return Trained(run_dir, network.eval(), metrics, image_size, aspect, classes)


def check_finite(answers: np.ndarray, run_dir: Path) -> None:
    """Raises ValueError where what a run's network says is not finite, as of broken weights."""
    if not np.isfinite(answers).all():
        raise ValueError(
            f"a network's probabilities must be finite; those of {run_dir} are not. Its weights or "
            "its statistics are broken: take the run folder anew, or train again"
        )


def read_metrics(run_dir: Path) -> dict[str, Any]:
    """Returns metrics.json of a finished run; errors as in load."""
    path = Path(run_dir, "metrics.json")
    if not path.is_file():
        status = runs.read_status(Path(run_dir))["status"]
        raise FileNotFoundError(
            f"a finished run has metrics.json; {run_dir} has none (status: {status}). Finish it "
            f"with python -m pneumo.train resume={run_dir}"
        )
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON; it is broken: {error}") from None
    if not isinstance(metrics, dict) or metrics.get("schema") != runs.SCHEMA:
        found = metrics.get("schema") if isinstance(metrics, dict) else None
        raise ValueError(f"{path} must have schema {runs.SCHEMA}; got {found}")
    return metrics


def _build(model: Any, image_size: int, run_dir: Path, trust: Sequence[str]) -> Network:
    target = model.get("_target_") if isinstance(model, Mapping) else None
    if str(target).startswith(BASELINES):
        raise ValueError(
            f"this needs a network; {run_dir} holds a baseline ({model['name']}), which has none. "
            f"Its scores: python -m pneumo.evaluate {run_dir}"
        )
    if target is None:
        raise ValueError(f"{run_dir / runs.CONFIG} must name its network by model._target_")

    def make(settings: dict[str, Any]) -> Any:
        check_timm(settings, packages=trust)
        for name in targets(settings):
            check_target(name, run_dir=run_dir, trust=trust)
        return instantiate(_without_weights(settings))

    try:
        return build(model, image_size=image_size, make=make)
    except (InstantiationException, TypeError) as error:
        cause = error.__cause__ or error
        raise ValueError(f"{run_dir / runs.CONFIG} does not fit this version: {cause}") from None


def _without_weights(settings: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint has them: nothing is fetched."""
    off = {"weights": None, "weights_backbone": None, "pretrained": False}
    return {key: off.get(key, value) for key, value in settings.items()}


def _fill(network: Network, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"a run has checkpoints/best.ckpt and last.ckpt; no file {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except (RuntimeError, UnpicklingError, EOFError, KeyError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} must be a checkpoint of weights only; {reason}") from None
    prefix = "network."
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
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
