"""The objects that a configuration names by _target_: found, called and tried before any image."""

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.tensorboard import SummaryWriter

from pneumo.training import settings

# How many arguments the program gives besides those of the configuration
GIVEN = {"optimizer": 1, "schedule": 1, "protocol.split": 1}
KINDS: dict[str, type] = {
    "optimizer": torch.optim.Optimizer,
    "schedule": LRScheduler,
    "callbacks": pl.Callback,
    "logger": Logger,
}
NO_ARGUMENTS = {"model": ("name", "channels", "heatmap_layer")}  # keys that are the program's own
# What takes any keyword, and hands it on to what does not
HANDS_ON: dict[Any, Callable[..., Any]] = {TensorBoardLogger: SummaryWriter}
MAX_TRIED = 1000  # epochs that a schedule is stepped through

T = TypeVar("T")


def check(config: Mapping[str, Any], *, sections: Sequence[str]) -> None:
    """Raises ValueError with each setting that its _target_ does not take, a line for each.

    Args:
        config: the composed configuration, plain and resolved.
        sections: keys whose objects are looked at, those within them too.
    """
    found = [one for key in sections for one in _objects(config, key)]
    wrong = [line for key, value in found for line in _wrong(key, value)]
    if wrong:
        raise ValueError("\n".join(wrong))


def attempt(key: str, make: Callable[[], T]) -> T:
    """Returns what ``make`` returns; ValueError that names the setting ``key`` where it fails."""
    try:
        return make()
    except Exception as error:  # whatever a foreign class says of its arguments
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        if isinstance(cause, ValueError) and reason.startswith(key):
            raise ValueError(reason) from None
        raise ValueError(f"{key} cannot be used as it is set: {reason}") from None


def try_optimizer(config: Mapping[str, Any], *, device: torch.device) -> None:
    """Steps an optimizer of a few weights, and its schedule, through the epochs of the run.

    Raises:
        ValueError: one of the two is of another kind or fails.
    """
    shapes = ((4, 1, 3, 3), (4,), (2, 4))  # of a convolution, a bias, a dense layer
    weights = [nn.Parameter(torch.ones(shape, device=device)) for shape in shapes]
    optimizer = attempt("optimizer", lambda: instantiate(config["optimizer"])(weights))
    _check_kind("optimizer", optimizer)
    schedule = attempt("schedule", lambda: instantiate(config["schedule"])(optimizer))
    _check_kind("schedule", schedule)
    for _ in range(min(config["trainer"]["max_epochs"], MAX_TRIED)):
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        attempt("optimizer", optimizer.step)
        attempt("schedule", schedule.step)


def _check_kind(section: str, made: Any) -> None:
    if not isinstance(made, KINDS[section]):
        raise ValueError(
            f"{section}._target_ must make a {KINDS[section].__name__}; it makes a "
            f"{type(made).__name__}"
        )


def _objects(config: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the mappings with a _target_ at and below a key such as protocol.split."""
    value: Any = config
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or key == "trainer.logger":  # it stands at logger, too
        return
    if "_target_" in value:
        yield key, value
    for name in value:
        yield from _objects(config, f"{key}.{name}")


def _wrong(key: str, value: Mapping[str, Any]) -> list[str]:
    target = value["_target_"]
    try:
        made_by = pkgutil.resolve_name(target)
    except Exception as error:  # whatever the import of a foreign module raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return [f"{key}._target_ must be something that can be imported; got {target}: {reason}"]
    wanted = KINDS.get("callbacks" if re.fullmatch(r"callbacks\.[^.]+", key) else key)
    if isinstance(made_by, type) and wanted and not issubclass(made_by, wanted):
        return [f"{key}._target_ must be a {wanted.__name__}; got {target}"]
    return _wrong_arguments(key, value, made_by)


def _wrong_arguments(key: str, value: Mapping[str, Any], made_by: Any) -> list[str]:
    own = NO_ARGUMENTS.get(key, ())
    given = [name for name in value if not name.startswith("_") and name not in own]
    try:
        parameters = inspect.signature(made_by).parameters
    except (TypeError, ValueError):  # written in C
        return []
    known = dict(list(parameters.items())[GIVEN.get(key, 0) :])
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        if made_by not in HANDS_ON:
            return []
        known |= inspect.signature(HANDS_ON[made_by]).parameters
    names = [n for n, p in known.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wrong = [
        f"{key}.{name} must be an argument of {value['_target_']}, which takes {', '.join(names)}."
        + settings.nearest(name, names)
        for name in given
        if name not in names
    ]
    lacking = [
        f"{key}.{name} must be set, since {value['_target_']} needs it: +{key}.{name}=VALUE"
        for name in names
        if known[name].default is inspect.Parameter.empty
        and name not in given
        and not (key == "protocol.split" and name == "seed")
    ]
    return wrong + lacking
