"""The objects that a configuration names by _target_: found, called and tried before any image."""

import inspect
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import BatchSizeFinder, LearningRateFinder
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.tensorboard import SummaryWriter

from pneumo import cli
from pneumo.data.augment import BoxAugment
from pneumo.training import losses
from pneumo.training.config import direction

# How many arguments the program gives besides those of the configuration
GIVEN = {"optimizer": 1, "schedule": 1, "protocol.split": 1}
KINDS: dict[str, type] = {
    "optimizer": torch.optim.Optimizer,
    "schedule": LRScheduler,
    "loss": nn.Module,
    "callbacks": pl.Callback,
    "logger": Logger,
}
NO_ARGUMENTS = {  # keys that are the program's own
    "model": ("name", "channels", "heatmap_layer"),
    "schedule": ("interval", "monitor"),
}
# What takes any keyword, and hands it on to what does not
HANDS_ON: dict[Any, Callable[..., Any]] = {TensorBoardLogger: SummaryWriter}
MAX_TRIED = 1000  # epochs that a schedule is stepped through
NUM_DRAWS = 8  # of an augmentation that is tried, since it may do nothing to an image

# What libraries warn of though the argument does what it should
HARMLESS = (
    "[A-Z]+ available but not used",  # trainer=cpu
    "The `srun` command is available",  # of the machine, as the next two
    "CUDA initialization",
    "Can't initialize NVML",
    "pkg_resources is deprecated",  # when a library is imported
    "The parameter 'pretrained' is deprecated",  # torchvision: a deprecation of another category
    "Arguments other than a weight enum",  # the same
    "Got processor for bboxes",  # albumentations: of transforms that move no box
    "ShiftScaleRotate is a special case",  # the same: advice
)
# They choose the batch size or the rate themselves: configuration and metrics.json would be wrong
TUNERS: dict[type, str] = {
    BatchSizeFinder: "data.batch_size=N",
    LearningRateFinder: "optimizer.lr=X",
}

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


@contextmanager
def strict() -> Iterator[None]:
    """Raises warnings of the category UserWarning: of arguments that a library ignores.

    Others, such as deprecations, come again in the run, and go to its log.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UserWarning)
        for message in HARMLESS:
            warnings.filterwarnings("ignore", message)
        yield


def attempt(key: str, make: Callable[[], T]) -> T:
    """Returns what ``make`` returns; ValueError that names the setting ``key`` where it fails.

    A warning is a failure, too, see strict.
    """
    try:
        with strict():
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
    # of the first convolution, another one, a bias, a dense layer
    shapes = ((4, 1, 3, 3), (4, 4, 3, 3), (4,), (2, 4))
    weights = [nn.Parameter(torch.ones(shape, device=device)) for shape in shapes]
    optimizer = attempt("optimizer", lambda: instantiate(config["optimizer"])(weights))
    _check_kind("optimizer", optimizer)
    epochs = config["trainer"]["max_epochs"]
    settings = attempt("schedule", lambda: schedule_settings(config, num_steps=epochs))
    schedule = attempt("schedule", lambda: instantiate(settings)(optimizer))
    _check_kind("schedule", schedule)
    check_direction("schedule", schedule, config["schedule"].get("monitor"))
    for _ in range(min(epochs, MAX_TRIED)):
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        attempt("optimizer", optimizer.step)
        attempt("schedule", lambda: step_schedule(schedule))


def check_direction(key: str, follower: Any, monitor: str | None) -> None:
    """Raises ValueError where what follows a score takes its wrong end for the best.

    Args:
        key: of the settings of ``follower``.
        follower: a callback or a schedule; one without an attribute ``mode`` passes.
        monitor: the score, such as loss/val.
    """
    mode = getattr(follower, "mode", None)
    if monitor and mode in ("min", "max") and mode != (best := direction(monitor)):
        raise ValueError(
            f"{key}.mode must be {best}, since {monitor} is best at its {best}imum; got {mode}. "
            f"Set {key}.mode={best}"
        )


def step_schedule(schedule: LRScheduler) -> None:
    """Steps a schedule, one that follows a score by a score that does not change."""
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(1.0)
    else:
        schedule.step()


def schedule_settings(config: Mapping[str, Any], *, num_steps: int) -> dict[str, Any]:
    """Returns what makes the schedule; its total_steps, where they are null, are ``num_steps``.

    Raises:
        ValueError: the schedule ends before the run, where torch would break it off.
    """
    own = NO_ARGUMENTS["schedule"]
    settings = {key: value for key, value in config["schedule"].items() if key not in own}
    if "total_steps" in settings:
        settings["total_steps"] = total = settings["total_steps"] or num_steps
        if total < num_steps:
            raise ValueError(
                f"schedule.total_steps must be at least the {num_steps} steps of the run; got "
                f"{total}. null takes all of them"
            )
    return settings


def try_augment(config: Mapping[str, Any], *, with_boxes: bool) -> None:
    """Augments a blank image as a run would, for detection also with a box.

    Raises:
        ValueError: the augmentation fails, or makes an image of another size or type.
    """
    augment = attempt("augment", lambda: instantiate(config["augment"]))
    key = "augment.transforms" if "transforms" in config["augment"] else "augment"
    size = config["data"]["image_size"]
    blank = np.zeros((size, size), np.uint8)

    def draw() -> list[Any]:
        if not with_boxes:
            alone = augment.per_image()
            return [alone(blank.copy(), seed=seed) for seed in range(NUM_DRAWS)]
        boxed = BoxAugment(augment.transforms)
        middle = np.array([[size / 4, size / 4, 3 * size / 4, 3 * size / 4]])
        return [
            boxed(blank.copy(), boxes, seed=seed)[0]
            for seed in range(NUM_DRAWS)
            for boxes in (middle, middle[:0])
        ]

    for made in attempt(key, draw):
        if made.shape != blank.shape or made.dtype != blank.dtype:
            raise ValueError(
                f"{key} must keep an image's size and type, {size} x {size} pixels of uint8; an "
                f"image comes out as {' x '.join(map(str, made.shape))} of {made.dtype}"
            )


def make_loss(config: Mapping[str, Any], target: np.ndarray, num_classes: int) -> nn.Module:
    """Returns the loss of a configuration; balanced class weights are those of ``target``.

    Args:
        config: plain, resolved.
        target: (N,) class numbers of the train split.
        num_classes: 2 or 3.
    """
    settings = dict(config["loss"])
    if settings.get("class_weights") == losses.BALANCED:
        settings["class_weights"] = losses.balance(target, num_classes=num_classes)
    made: nn.Module = instantiate(settings)
    return made


def try_loss(config: Mapping[str, Any], *, num_classes: int) -> None:
    """Raises ValueError where the loss cannot be used on logits of so many classes."""
    target = torch.arange(num_classes)
    loss = attempt("loss", lambda: make_loss(config, target.numpy(), num_classes))
    _check_kind("loss", loss)
    value = attempt("loss", lambda: loss(torch.zeros(num_classes, num_classes), target))
    if not (isinstance(value, Tensor) and value.ndim == 0):
        raise ValueError("loss must give one number for a batch, such as the mean over its images")


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
    many = re.fullmatch(r"(callbacks|logger)\.[^.]+", key)
    wanted = KINDS.get(many[1] if many else key)
    if isinstance(made_by, type) and wanted and not issubclass(made_by, wanted):
        return [f"{key}._target_ must be a {wanted.__name__}; got {target}"]
    for tuner, way_out in TUNERS.items():
        if isinstance(made_by, type) and issubclass(made_by, tuner):
            return [
                f"{key} must leave batch size and learning rate as they are recorded; a "
                f"{tuner.__name__} changes them. Set {way_out}, or search with "
                "hparams_search=optuna"
            ]
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
        + cli.nearest(name, names)
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
