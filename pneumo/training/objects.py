"""The objects of a run, each built once, before any image is read: construction is the check."""

import inspect
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import get_class
from pytorch_lightning.callbacks import BatchSizeFinder, LearningRateFinder
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pneumo.data.augment import Augmentation, BoxAugment, Warp
from pneumo.training import init
from pneumo.training.callbacks import EpochBar
from pneumo.training.config import Config, Trainer, direction
from pneumo.training.construction import build, check_arguments, naming, schedule_settings
from pneumo.training.devices import DataParallel
from pneumo.training.finetune import Finetune
from pneumo.training.task import Task
from pneumo.training.whole_files import WholeFiles

# its tips, and its messages on hardware that is missing and on processes
for name in ("pytorch_lightning", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)

TASKS = {  # imported on use: torchvision's detectors take a second
    "classification": "pneumo.training.classification.Classification",
    "detection": "pneumo.training.detection.Detection",
}
NUM_DRAWS = 8  # of an augmentation that is tried, since it may leave an image as it is
SHAPES = ((4, 1, 3, 3), (4, 4, 3, 3), (4,), (2, 4))  # of weights that an optimizer is tried on

# They choose the batch size or the rate themselves: configuration and metrics.json would be wrong
TUNERS = {BatchSizeFinder: "data.batch_size=N", LearningRateFinder: "optimizer.lr=X"}
PASS_ON = {  # loggers, and the object that gets the arguments which they do not know
    TensorBoardLogger: "torch.utils.tensorboard.SummaryWriter",
    WandbLogger: "wandb.init",
}
PROFILERS = {
    "simple": "SimpleProfiler",
    "advanced": "AdvancedProfiler",
    "pytorch": "PyTorchProfiler",
}


@dataclass(frozen=True)
class Parts:
    """The task of a run, its network and its Trainer."""

    task: type[Task]
    network: nn.Module
    trainer: pl.Trainer


def build_parts(config: Mapping[str, Any], settings: Config) -> Parts:
    """Returns network and Trainer, and tries what is built with the images: loss, optimizer.

    Args:
        config: the composed configuration, plain and resolved.
        settings: the same, typed.

    Raises:
        ValueError: an object cannot be built of its settings, or used with them; one line.
    """
    task: type[Task] = get_class(TASKS[settings.task])
    torch.manual_seed(settings.seed)  # of the network's weights
    network = task.build_network(config)
    if settings.init:
        init.load_weights(network, settings.init)
    run_dir, number = Path(settings.run_dir), config.get("job_number")
    trainer = build_trainer(config, settings, run_dir, job_number=number)
    task.try_settings(config, network)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Finetune):
            callback.check(network)
    try_optimizer(config, settings, device=trainer.strategy.root_device)
    try_augment(config, with_boxes=task.with_boxes)
    return Parts(task, network, trainer)


def build_trainer(
    config: Mapping[str, Any], typed: Config, run_dir: Path, *, job_number: int | None = None
) -> pl.Trainer:
    """Returns the Trainer with its callbacks and loggers; a bar only on a terminal.

    Args:
        config: plain, resolved.
        typed: the same, typed.
        run_dir: where Lightning puts what it writes of itself. Under SLURM it resumes from what it
            finds there: in a folder that runs share, from another run's weights.
        job_number: of a run in a sweep; with several GPUs, runs of one device take turns on them.

    Raises:
        ValueError: a device is missing, or the Trainer refuses a setting.
    """
    settings, number = config["trainer"], Trainer.model_validate(config["trainer"]).num_devices
    arguments = {"enable_progress_bar": sys.stderr.isatty()} | {
        key: value for key, value in settings.items() if value is not None and key[0] != "_"
    }
    arguments.pop("overfit_batches", None)  # Lightning's would score train images
    if not typed.scores_each_epoch:
        arguments["limit_val_batches"] = 0
    callbacks = [_build_callback(name, c) for name, c in config["callbacks"].items()]
    if arguments["enable_progress_bar"]:
        callbacks.insert(0, EpochBar())
    loggers = [_build_logger(name, logger) for name, logger in (config.get("logger") or {}).items()]
    num_gpus = torch.cuda.device_count()
    if number > 1:
        arguments |= {"strategy": DataParallel(config), "use_distributed_sampler": False}
    elif job_number is not None and num_gpus > 1 and settings["accelerator"] != "cpu":
        arguments["devices"] = [job_number % num_gpus]
    if profiler := arguments.get("profiler"):
        kind = getattr(pl.profilers, PROFILERS[profiler])
        arguments["profiler"] = kind(dirpath=str(run_dir), filename="profile")
    arguments |= {"default_root_dir": str(run_dir), "plugins": [WholeFiles()]}
    try:
        with naming("trainer"):
            trainer = pl.Trainer(**arguments, callbacks=callbacks, logger=loggers or False)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}. The default is trainer=auto") from None
    if number > 1 and trainer.strategy.root_device.type == "cpu":
        check_processes(number, num_workers=config["data"]["num_workers"])
    return trainer


def check_processes(number: int, *, num_workers: int) -> None:
    """Raises ValueError for processes that the CPU cannot have."""
    cores = os.cpu_count() or 1
    if number > cores:
        raise ValueError(f"trainer.devices must be at most {cores}, the CPU's cores; got {number}")
    if num_workers:  # a fork beside gloo's threads can block forever, seen with Python 3.11
        raise ValueError(
            f"data.num_workers must be 0 with several devices on the CPU; got {num_workers}"
        )


def _build_logger(name: str, settings: Mapping[str, Any]) -> Logger:
    """Returns a logger, also checked for the arguments that it passes on when the run starts."""
    key = f"logger.{name}"
    logger = build(key, settings, Logger)  # type: ignore[type-abstract]
    if place := PASS_ON.get(type(logger)):
        parameters = inspect.signature(type(logger)).parameters
        others = {name: value for name, value in settings.items() if name not in parameters}
        check_arguments(key, others | {"_target_": place})
    return logger


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
        alone = augment.per_image()
        images = [alone(blank.copy(), seed=seed) for seed in range(NUM_DRAWS)]
        for boxes in (box, box[:0]) if with_boxes else ():
            assert not isinstance(augment, Warp)  # see pneumo.training.settings
            boxed = BoxAugment(augment.transforms)
            images += [boxed(blank.copy(), boxes, seed=seed)[0] for seed in range(NUM_DRAWS)]
    for image in images:
        if image.shape != blank.shape or image.dtype != blank.dtype:
            raise ValueError(
                f"{key} must keep an image's size and type, {size} x {size} pixels of uint8; got "
                f"{' x '.join(map(str, image.shape))} of {image.dtype}"
            )
