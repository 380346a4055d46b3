"""The weights in a checkpoint, whoever wrote it."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pneumo import untrusted

PREFIX = "network."  # of what belongs to the network in a LightningModule's state


def load(path: Path) -> Any:
    """Returns what torch.save wrote to a file, its tensors on the CPU; nothing in it is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what is wrong with it.
    """
    try:
        with untrusted.open_regular(path) as file:
            _check(file)
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever zipfile and the unpickler say of a broken file
        reason = str(error).partition("\n")[0]
        raise ValueError(reason or type(error).__name__) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Returns the weights of a run's network by name, on the CPU; nothing in the file is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of weights.
    """
    try:
        found = load(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"a run has checkpoints/best.ckpt and last.ckpt; no file {path}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} must be a checkpoint of weights only; {error}") from None
    state = found.get("state_dict") if isinstance(found, Mapping) else found
    if not (isinstance(found, Mapping) and isinstance(state, Mapping)):
        raise ValueError(
            f"{path} must be a checkpoint of weights only; it holds no state_dict but a "
            f"{type(state).__name__}"
        )
    weights = {str(key): value for key, value in state.items() if str(key).startswith(PREFIX)}
    if wrong := [key for key, value in weights.items() if not _is_plain(value)]:
        raise ValueError(f"{path} must be a checkpoint of weights only; {wrong[0]} is no tensor")
    return {key.removeprefix(PREFIX): value for key, value in weights.items()}


def _check(file: BinaryIO) -> None:
    """Raises where a file is no zip of torch.save, or damaged: torch reads no checksum."""
    untrusted.check_stored(file)
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"{Path(damaged).name} has changed")
    file.seek(0)


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor of numbers, in memory: not sparse, quantized, complex or meta."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex())
    )
