"""The weights in a checkpoint of unknown origin."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pneumo import untrusted

PREFIX = "network."  # of the network's part of a LightningModule's state


def load(path: Path) -> Any:
    """Returns the content of a file of torch.save, tensors on the CPU; nothing in it is executed.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no such file, or damaged.
    """
    try:
        with untrusted.open_regular(path) as file:
            untrusted.check_stored(file)
            with zipfile.ZipFile(file) as archive:  # torch reads no checksum
                if damaged := archive.testzip():
                    raise ValueError(f"{Path(damaged).name} has changed")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
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
    rule = f"{path} must be a checkpoint of weights only"
    try:
        content = load(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"a run has checkpoints/best.ckpt and last.ckpt; there is no {path}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{rule}; {error}") from None
    state = content.get("state_dict") if isinstance(content, Mapping) else content
    if not (isinstance(content, Mapping) and isinstance(state, Mapping)):
        raise ValueError(f"{rule}; it holds no state_dict but a {type(state).__name__}")
    weights = {str(key): value for key, value in state.items() if str(key).startswith(PREFIX)}
    if wrong := [key for key, value in weights.items() if not _is_plain(value)]:
        raise ValueError(f"{rule}; {wrong[0]} is no tensor")
    return {key.removeprefix(PREFIX): value for key, value in weights.items()}


def _is_plain(value: Any) -> bool:
    """Returns whether it is a real tensor in memory: not sparse, quantized, complex or meta."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex())
    )


def weights_digest(network: nn.Module) -> str:
    """Returns the SHA-256 of a network's weights."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
