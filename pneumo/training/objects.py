"""The objects of a run, each built once, before any image is read: construction is the check."""

import inspect
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import get_object, instantiate
from pytorch_lightning.callbacks import BatchSizeFinder, LearningRateFinder
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pneumo.data.augment import Augmentation, BoxAugment
from pneumo.models.base import Network
from pneumo.models.base import build as build_any
from pneumo.training import losses
from pneumo.training.callbacks import EpochBar
from pneumo.training.config import Config, direction
from pneumo.training.finetune import Finetune
from pneumo.training.whole_files import WholeFiles

if TYPE_CHECKING:  # torchvision's detectors take a second to import
    from pneumo.models.detector import Detector

# its tips, and its messages on hardware that is missing
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

NUM_DRAWS = 8  # of an augmentation that is tried, since it may leave an image as it is
OWN_KEYS = ("interval", "monitor")  # of a schedule's YAML that are no arguments
SHAPES = ((4, 1, 3, 3), (4, 4, 3, 3), (4,), (2, 4))  # of weights that an optimizer is tried on

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
TUNERS = {BatchSizeFinder: "data.batch_size=N", LearningRateFinder: "optimizer.lr=X"}
PROFILERS = {
    "simple": "SimpleProfiler",
    "advanced": "AdvancedProfiler",
    "pytorch": "PyTorchProfiler",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """The network and the Trainer of a run."""

    network: "Network | Detector"
    trainer: pl.Trainer


def build_parts(config: Mapping[str, Any], settings: Config) -> Parts:
    """Returns network and Trainer, and tries what is built with the images: loss, optimizer.

    Args:
        config: the composed configuration, plain and resolved.
        settings: the same, typed.

    Raises:
        ValueError: an object cannot be built of its settings, or used with them; one line.
    """
    torch.manual_seed(settings.seed)  # of the network's weights
    network = build_detector(config) if settings.of_detector else build_network(config)
    run_dir, number = Path(settings.run_dir), config.get("job_number")
    trainer = build_trainer(config, run_dir, job_number=number)
    if isinstance(network, Network):
        try_loss(config, num_classes=network.num_classes)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Finetune):
                callback.check(network)
    try_optimizer(config, settings, device=trainer.strategy.root_device)
    try_augment(config, with_boxes=settings.of_detector)
    return Parts(network, trainer)


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Turns what goes wrong into a ValueError of one line that names the setting ``key``.

    Warnings of the category UserWarning are errors, too: a library gives them for an argument that
    it ignores. Others, such as deprecations, come again in the run, and go to its log.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", UserWarning)
            for message in HARMLESS:
                warnings.filterwarnings("ignore", message)
            yield
    except Exception as error:  # foreign classes raise any
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        named = re.match(rf"{key}|\w+\.[\w.]+ must", reason)  # the message names the setting
        if isinstance(cause, ValueError | OSError) and named:
            raise ValueError(reason) from None
        raise ValueError(f"{key} cannot be used as it is set: {reason}") from None


def build(key: str, settings: Mapping[str, Any], kind: type[T], *arguments: Any) -> T:
    """Returns the object of settings with a _target_.

    Args:
        key: of the settings, for the message.
        settings: _target_ and its arguments, plain.
        kind: of the object.
        arguments: of a _partial_ target; without them the partial itself is returned.

    Raises:
        ValueError: it cannot be built, or is of another kind.
    """
    with naming(key):
        built = instantiate(settings)
        if isinstance(built, partial):
            inspect.signature(built.func).bind_partial(**built.keywords)  # TypeError for others
            built = built(*arguments) if arguments else built
        if not isinstance(built, kind):
            raise ValueError(
                f"{key}._target_ must build a {kind.__name__}; {settings['_target_']} builds a "
                f"{type(built).__name__}"
            )
        return built


def is_a(kind: type, settings: Mapping[str, Any]) -> bool:
    """Returns whether the _target_ of a model's settings is a class of this kind."""
    with naming("model"):
        target = get_object(settings["_target_"])  # a class, or a function that builds a network
    return isinstance(target, type) and issubclass(target, kind)


def build_network(config: Mapping[str, Any]) -> Network:
    """Returns the classifier of a configuration; its errors are those of models.base.build."""
    with naming("model"):
        size = config["data"]["image_size"]
        return build_any(config["model"], image_size=size, make=instantiate)


def build_detector(config: Mapping[str, Any]) -> "Detector":
    """Returns the detector of a configuration, channels-last."""
    from pneumo.models.detector import Detector

    model = {key: value for key, value in config["model"].items() if key != "name"}
    return build("model", model, Detector).to(memory_format=torch.channels_last)


def build_trainer(
    config: Mapping[str, Any], run_dir: Path, *, job_number: int | None = None
) -> pl.Trainer:
    """Returns the Trainer with its callbacks and loggers; a bar only on a terminal.

    Args:
        config: plain, resolved.
        run_dir: where Lightning puts what it writes of itself. Under SLURM it resumes from what it
            finds there: in a folder that runs share, from another run's weights.
        job_number: of a run in a sweep; with several GPUs, runs take turns on them.

    Raises:
        ValueError: the device is missing, or the Trainer refuses a setting.
    """
    settings = config["trainer"]
    arguments = {"enable_progress_bar": sys.stderr.isatty()} | {
        key: value for key, value in settings.items() if value is not None and key[0] != "_"
    }
    arguments.pop("overfit_batches", None)  # Lightning's would score train images
    callbacks = [_build_callback(name, c) for name, c in config["callbacks"].items()]
    if arguments["enable_progress_bar"]:
        callbacks.insert(0, EpochBar())
    loggers = [
        build(f"logger.{name}", value, Logger)  # type: ignore[type-abstract]
        for name, value in (config.get("logger") or {}).items()
    ]
    num_gpus = torch.cuda.device_count()
    if job_number is not None and num_gpus > 1 and settings["accelerator"] != "cpu":
        arguments["devices"] = [job_number % num_gpus]
    if profiler := arguments.get("profiler"):
        kind = getattr(pl.profilers, PROFILERS[profiler])
        arguments["profiler"] = kind(dirpath=str(run_dir), filename="profile")
    arguments |= {"default_root_dir": str(run_dir), "plugins": [WholeFiles()]}
    try:
        with naming("trainer"):
            return pl.Trainer(**arguments, callbacks=callbacks, logger=loggers or False)
    except ValueError as error:
        raise ValueError(f"{error} The default is trainer=auto") from None


def _build_callback(name: str, settings: Mapping[str, Any]) -> pl.Callback:
    key = f"callbacks.{name}"
    callback = build(key, settings, pl.Callback)
    check_direction(key, callback, getattr(callback, "monitor", None))
    for tuner, way_out in TUNERS.items():
        if isinstance(callback, tuner):
            raise ValueError(
                f"{key} must leave batch size and learning rate as they are recorded; a "
                f"{tuner.__name__} changes them. Set {way_out}, or search with "
                "hparams_search=optuna"
            )
    return callback


def check_direction(key: str, follower: Any, monitor: str | None) -> None:
    """Raises ValueError where a callback or a schedule takes a score's wrong end for the best.

    Args:
        key: of the settings of ``follower``.
        follower: one without an attribute ``mode`` passes.
        monitor: the score, such as loss/val.
    """
    mode = getattr(follower, "mode", None)
    if monitor and mode in ("min", "max") and mode != (best := direction(monitor)):
        raise ValueError(
            f"{key}.mode must be {best}, since {monitor} is best at its {best}imum; got {mode}. "
            f"Set {key}.mode={best}"
        )


def try_optimizer(config: Mapping[str, Any], settings: Config, *, device: torch.device) -> None:
    """Steps an optimizer of a few weights, and its schedule; ValueError where one of them fails."""
    weights = [nn.Parameter(torch.ones(shape, device=device)) for shape in SHAPES]
    optimizer = build("optimizer", config["optimizer"], torch.optim.Optimizer, weights)
    epochs = settings.trainer.max_epochs
    arguments = schedule_settings(config, num_steps=epochs)
    schedule = build("schedule", arguments, LRScheduler, optimizer)
    check_direction("schedule", schedule, settings.schedule.monitor)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    with naming("optimizer"):
        optimizer.step()
    with naming("schedule"):
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(1.0)
        else:
            schedule.step()


def schedule_settings(config: Mapping[str, Any], *, num_steps: int) -> dict[str, Any]:
    """Returns the arguments of the schedule; total_steps, where it is null, is ``num_steps``.

    Raises:
        ValueError: the schedule ends before the run, where torch would break it off.
    """
    settings = {key: value for key, value in config["schedule"].items() if key not in OWN_KEYS}
    if "total_steps" in settings:
        settings["total_steps"] = total = settings["total_steps"] or num_steps
        if total < num_steps:
            raise ValueError(
                f"schedule.total_steps must be at least the {num_steps} steps of the run; got "
                f"{total}. null takes all of them"
            )
    return settings


def try_augment(config: Mapping[str, Any], *, with_boxes: bool) -> None:
    """Augments a blank image as a run would, for detection also with a box and with none.

    Raises:
        ValueError: the augmentation fails, or returns an image of another size or type.
    """
    key = "augment.transforms" if "transforms" in config["augment"] else "augment"
    size = config["data"]["image_size"]
    blank = np.zeros((size, size), np.uint8)
    box = np.array([[size / 4, size / 4, 3 * size / 4, 3 * size / 4]])
    augment: Augmentation = build("augment", config["augment"], object)  # type: ignore[assignment]
    with naming(key):
        alone, boxed = augment.per_image(), BoxAugment(augment.transforms)
        images = [alone(blank.copy(), seed=seed) for seed in range(NUM_DRAWS)]
        for boxes in (box, box[:0]) if with_boxes else ():
            images += [boxed(blank.copy(), boxes, seed=seed)[0] for seed in range(NUM_DRAWS)]
    for image in images:
        if image.shape != blank.shape or image.dtype != blank.dtype:
            raise ValueError(
                f"{key} must keep an image's size and type, {size} x {size} pixels of uint8; got "
                f"{' x '.join(map(str, image.shape))} of {image.dtype}"
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
    return build("loss", settings, nn.Module)


def try_loss(config: Mapping[str, Any], *, num_classes: int) -> None:
    """Raises ValueError where the loss cannot be used on logits of so many classes."""
    target = torch.arange(num_classes)
    with naming("loss"):
        loss = make_loss(config, target.numpy(), num_classes)
        value = loss(torch.zeros(num_classes, num_classes), target)
        if not (isinstance(value, Tensor) and value.ndim == 0):
            raise ValueError(
                "loss must be one number for a batch, such as the mean over its images"
            )
