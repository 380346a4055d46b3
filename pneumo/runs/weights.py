"""The weights in a checkpoint, whoever wrote it, and a bound on the network that they are for."""

import math
import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pneumo import untrusted

PREFIX = "network."  # of what belongs to the network in a LightningModule's state
# What the pickle of weights, numbers and names asks for. weights_only=True allows more, such as a
# bytearray of any size.
KNOWN = re.compile(
    r"collections (OrderedDict|defaultdict)|builtins (dict|set)|_codecs encode|torch \w+Storage"
    r"|torch Size|torch device|torch\.serialization _get_layout|torch (float|bfloat|int|uint)\d+"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
)
# numbers that a network may make besides its weights, as to initialise them
MAX_INITIAL_NUMBERS = 1 << 24


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


def bounded(make: Callable[[], Any], *, weights: Mapping[str, Tensor]) -> Any:
    """Returns what ``make`` makes: a network that ``weights`` are for, and not much larger.

    Raises:
        ValueError: it asks for several times the numbers that the weights have.
    """
    stored = {
        value.untyped_storage().data_ptr(): value.untyped_storage() for value in weights.values()
    }
    with _Bounded(MAX_INITIAL_NUMBERS + sum(one.nbytes() for one in stored.values())):
        return make()


class _Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers in new tensors, and refuses before more than ``limit`` are made."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = self.left = limit

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operator, unless it would make a tensor that is too large."""
        if not any(isinstance(argument, Tensor) for argument in args):
            self.left -= max(map(_numbers, args), default=0)
            if self.left < 0:
                raise ValueError(
                    f"the network asks for more than {self.limit:,} numbers, far more than its "
                    "checkpoint holds: model or data.image_size are not those of the training"
                )
        return func(*args, **(kwargs or {}))


def _numbers(argument: Any) -> int:
    """What an argument that is the size of a new tensor, or its length, stands for; else 0."""
    if isinstance(argument, list | tuple) and all(isinstance(side, int) for side in argument):
        return math.prod(argument)
    return argument if isinstance(argument, int) else 0


def _check(file: BinaryIO) -> None:
    """Raises where a file is no zip of torch.save, or its pickle asks for what no weights need."""
    untrusted.check_stored(file)
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():  # torch itself does not look at the checksums
            raise ValueError(f"{Path(damaged).name} has changed")
        (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
        for code, argument, _ in pickletools.genops(archive.read(name)):
            if "GLOBAL" in code.name and not KNOWN.fullmatch(str(argument)):
                raise ValueError(f"it asks for {str(argument).replace(' ', '.')}")
    file.seek(0)


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor of numbers, in memory: not sparse, quantized, complex or meta."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex())
    )
