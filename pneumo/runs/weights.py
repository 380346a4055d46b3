"""The weights in a checkpoint of unknown origin."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PREFIX = "network."  # of the network's part of a LightningModule's state


def load(path: Path) -> Any:
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
        content = load(path)
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
