"""The objects of a run, each built once, before any image is read: construction is the check."""

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import get_class
from pytorch_lightning.callbacks import BatchSizeFinder, LearningRateFinder
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from pneumo.data.augment import BoxAugment
from pneumo.runs import trust
from pneumo.runs.run import Run
from pneumo.training.callbacks import EpochBar
from pneumo.training.config import Config, direction
from pneumo.training.construction import build, naming
from pneumo.training.devices import DataParallel
from pneumo.training.finetune import Finetune
from pneumo.training.task import Task, schedule_settings
from pneumo.training.whole_files import WholeFiles

# its tips, and its messages on hardware that is missing and on processes
for name in ("pytorch_lightning", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)

LIBRARIES = ("pneumo", "timm", "torch", "torchvision")  # runs.trust allows parts of them
TASKS = {  # imported on use: torchvision's detectors take a second
    "classification": "pneumo.training.classification.Classification",
    "detection": "pneumo.training.detection.Detection",
}
NUM_DRAWS = 8  # of an augmentation that is tried, since it may leave an image as it is
PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


@dataclass(frozen=True)
class Parts:
    """The task of a run, its network and its Trainer."""

    task: type[Task]
    network: nn.Module
    trainer: pl.Trainer


def build_parts(config: Config) -> Parts:
    """Returns network and Trainer, and tries what is built with the images: loss, optimizer.

    Raises:
        ValueError: an object cannot be built of its settings, or used with them; one line.
    """
    task: type[Task] = get_class(TASKS[config.task])
    torch.manual_seed(config.seed)  # of the network's weights
    network = task.build_network(config)
    if config.init:
        load_weights(network, config.init, packages=trusted_by(config))
    trainer = build_trainer(config)
    task.try_settings(config, network)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Finetune):
            callback.check(network)
    weights = network.parameters()
    optimizer = build("optimizer", config.optimizer.plain(), torch.optim.Optimizer, weights)
    schedule = schedule_settings(config, num_steps=config.trainer.max_epochs)
    built = build("schedule", schedule, LRScheduler, optimizer)
    check_direction("schedule", built, config.schedule.monitor)
    try_augment(config, with_boxes=task.with_boxes)
    return Parts(task, network, trainer)


def trusted_by(config: Config) -> list[str]:
    """Returns the packages whose networks the run of init may name.

    Those of --trust, or that of the user's own network, if the run names the same one.
    """
    if trust.trusted is not None:  # the settings may be foreign
        return [*trust.trusted]
    target = config.model.target_
    package = target.partition(".")[0]
    same = Run.open(config.init or "").settings["model"].get("_target_") == target
    return [package] if same and package not in LIBRARIES else []


def load_weights(network: Any, place: str, *, packages: Sequence[str] = ()) -> None:
    """Fills a network with the best checkpoint of a run, with its mean and deviation.

    Args:
        network: of the same architecture and number of classes.
        place: a run folder or pretrained:NAME.
        packages: whose networks the run may name.

    Raises:
        FileNotFoundError, ValueError: there is no such run, or its network is another one.
    """
    run = Run.open(place)
    other = run.network(trust=packages)
    try:
        network.load_state_dict(other.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"init must be a run of the same network and classes; {run.name} is "
            f"{run.metrics['model']} with {run.metrics.get('num_classes')} classes: {reason}. Set "
            "model= as in that run"
        ) from None
    side = run.image_size
    image = torch.linspace(0, 1, side**2).square().view(1, 1, side, side) * 255
    network.eval()
    is_same = True
    with torch.no_grad(), contextlib.suppress(Exception):  # of another fixed side
        is_same = torch.allclose(network(image), other(image), rtol=1e-3, atol=1e-4)
    network.train()
    if not is_same:  # such as by model.per_image
        raise ValueError(
            f"init must be a run of the same network; with the weights of {run.name}, this one has "
            "other outputs. Set model.* as in that run"
        )
    network.log_prior.zero_()  # the shares of that run's labels, if it was balanced


def build_callback(key: str, settings: dict[str, Any]) -> pl.Callback:
    """Returns a callback; ValueError: its direction is wrong, or it changes batch size or rate."""
    callback = build(key, settings, pl.Callback)
    check_direction(key, callback, getattr(callback, "monitor", None))
    if isinstance(callback, BatchSizeFinder | LearningRateFinder):
        raise ValueError(
            f"{key} must leave batch size and rate as they are recorded; set data.batch_size=N "
            "or optimizer.lr=X, or search with hparams_search=optuna"
        )
    return callback


def build_trainer(config: Config) -> pl.Trainer:
    """Returns the Trainer with its callbacks and loggers; a bar only on a terminal.

    What Lightning writes of itself goes to the run folder: under SLURM it resumes from what it
    finds there, in a folder that runs share from another run's weights. In a sweep with several
    GPUs, runs of one device take turns on them.

    Raises:
        ValueError: a device is missing, or the Trainer refuses a setting.
    """
    number, num_gpus = config.trainer.num_devices, torch.cuda.device_count()
    is_on_gpu = num_gpus > 1 and config.trainer.accelerator != "cpu"
    plain = config.trainer.plain(without=("_target_", "_convert_", "overfit_batches"))
    arguments: dict[str, Any] = {
        "enable_progress_bar": sys.stderr.isatty(),
        **{key: value for key, value in plain.items() if value is not None},
        "default_root_dir": config.run_dir,
        "plugins": [WholeFiles()],
    }
    if not config.scores_each_epoch:
        arguments["limit_val_batches"] = 0
    callbacks = [
        build_callback(f"callbacks.{name}", c.plain()) for name, c in config.callbacks.items()
    ]
    if arguments["enable_progress_bar"]:
        callbacks.insert(0, EpochBar())
    loggers: list[Logger] = [
        build(f"logger.{name}", settings.plain(), Logger)  # type: ignore[type-abstract]
        for name, settings in (config.logger or {}).items()
    ]
    if number > 1:
        arguments |= {"strategy": DataParallel(config), "use_distributed_sampler": False}
    elif config.trainer.devices == 1 and config.job_number is not None and is_on_gpu:
        arguments["devices"] = [config.job_number % num_gpus]
    if profiler := config.trainer.profiler:
        arguments["profiler"] = PROFILERS[profiler](dirpath=config.run_dir, filename="profile")
    with naming("trainer"):
        trainer = pl.Trainer(**arguments, callbacks=callbacks, logger=loggers or False)
    if number > 1 and trainer.strategy.root_device.type == "cpu":
        if number > (cores := os.cpu_count() or 1):
            raise ValueError(
                f"trainer.devices must be at most {cores}, the CPU's cores; got {number}"
            )
        # a fork beside gloo's threads can block forever, seen with Python 3.11
        if workers := config.data.num_workers:
            raise ValueError(
                f"data.num_workers must be 0 with several devices on the CPU; got {workers}"
            )
    return trainer


def check_direction(key: str, follower: Any, monitor: str | None) -> None:
    """Raises ValueError where a callback or a schedule takes a score's wrong end for the best."""
    mode = getattr(follower, "mode", None)
    if monitor and mode in ("min", "max") and mode != (best := direction(monitor)):
        raise ValueError(
            f"{key}.mode must be {best}, since {monitor} is best at its {best}imum; got {mode}. "
            f"Set {key}.mode={best}"
        )


def try_augment(config: Config, *, with_boxes: bool) -> None:
    """Augments a blank image as a run would, for detection also with a box and with none.

    Raises:
        ValueError: the augmentation fails, or returns an image of another size or type.
    """
    size = config.data.image_size
    blank, box = np.zeros((size, size), np.uint8), np.array([[1, 1, 3, 3]]) * size / 4
    augment: Any = build("augment", config.augment.plain(), object)
    with naming("augment"):
        images = [augment(blank.copy(), seed=seed) for seed in range(NUM_DRAWS)]
        if with_boxes:
            boxed = BoxAugment(augment.transforms)
            images += [boxed(blank.copy(), boxes, seed=0)[0] for boxes in (box, box[:0])]
    for image in images:
        if image.shape != blank.shape or image.dtype != blank.dtype:
            raise ValueError(
                f"augment must keep an image's size and type, {size} x {size} pixels of uint8; got "
                f"{' x '.join(map(str, image.shape))} of {image.dtype}"
            )
