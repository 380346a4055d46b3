"""One run from its configuration to its run folder: data, training, scores, for either task."""

import json
import logging
import os
import re
import signal
import sys
import textwrap
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from pneumo.data import cache, split
from pneumo.data.base import DataSet
from pneumo.data.datamodule import XrayDataModule
from pneumo.data.labelled import check_names, shown, with_groups
from pneumo.data.near_copies import near_duplicates
from pneumo.models import fused_cpu
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from pneumo.training import devices, init, metadata, tensorboard_log, whole_files
from pneumo.training.callbacks import history_table
from pneumo.training.config import Config
from pneumo.training.construction import build
from pneumo.training.objects import Parts, build_parts
from pneumo.training.selection import Selection
from pneumo.training.task import Scored, Task

log = logging.getLogger("pneumo")
# Lightning's advice that does not hold here, and its use of deprecated functions of torch
SILENCED_MESSAGES = (
    ".*does not have many workers",  # the training process augments faster than a CPU can train
    ".*treespec, LeafSpec",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    ".*recommended to use .*sync_dist=True",  # the scores are those of all devices
)
# The messages of torch if a loading process was killed, or has no room for its batch
WORKER = re.compile(r"DataLoader worker \(pid.*|unable to allocate shared memory.*")
# The messages of torch without free memory, on a GPU and on a CPU
MEMORY = re.compile(r"out of memory|can't allocate memory|bad_alloc|Cannot allocate memory")


def fit(
    config: dict[str, Any], writer: RunWriter, *, parts: Parts, start: float | None = None
) -> None:
    """Trains by ``config`` (plain, resolved, checked), or resumes the run of ``writer``.

    Writes the files that the README lists. ``start``, of time.monotonic(), is when the user started
    the command; by default now.

    Raises:
        ValueError, FileNotFoundError: a mistake of the user's.
        KeyboardInterrupt: the user stopped it.
    """
    run = begin(config, writer, parts, start=time.monotonic() if start is None else start)
    table, images, network = run.table, run.images, parts.network
    number = run.trainer.num_devices
    threads = devices.num_threads(number)  # of each process
    arithmetic = {"device": run.device.type, "threads": threads, "devices": number}
    task, data = parts.task.build(config, network, table, images, arithmetic=arithmetic)
    facts = metadata.describe(
        run.settings, run.data_set, table, run.split_sha256, network, run.trainer
    )
    if run.settings.init:
        facts["init"] = init.facts(run.settings.init, network)
    if run.device.type == "cpu":
        fused_cpu.keep_memory()
    metadata.announce(facts, run.trainer)
    tensorboard_log.open_run(run.trainer, config, facts["hyperparameters"])
    train(run.trainer, task, data, run.start_from)
    best, last = score(run, task, data)
    tables = task.tables(best, table, splits=data.eval_splits)
    predictions = tables[run_folder.PREDICTIONS]
    for name, rows in {**tables, "history.csv": history_table(task.history)}.items():
        writer.write_table(name, rows)
    for name, arrays in task.arrays(images.images, table, predictions).items():
        writer.write_arrays(name, arrays)
    metrics = {
        **facts,
        **task.facts(best, table),
        **metadata.results(task.history, best=best, last=last),
        "assessment": metadata.assessment(
            table, predictions, root=run.data_set.root, settings=run.settings
        ),
        "seconds": seconds(run, task.history),
        "machine": {**facts["machine"], "arithmetic": task.arithmetic},
        # a callback may have changed it
        "hyperparameters": {**facts["hyperparameters"], "batch_size": data.batch_size},
    }
    tensorboard_log.close_run(run.trainer, metrics, predictions, data)
    max_epochs = run.settings.trainer.max_epochs
    writer.finish(metrics, epochs=len(task.history), max_epochs=max_epochs)
    conclude(run, task.conclusion(metrics), metrics)


@dataclass
class Started:
    """A run with its images, its split and its Trainer; its task is not built yet."""

    settings: Config
    writer: RunWriter
    data_set: DataSet
    table: pd.DataFrame  # split; with boxes where the task has them
    images: cache.Cache  # of all rows of the table
    split_sha256: str
    start_from: Path | None  # a checkpoint, of a run that resumes
    trainer: pl.Trainer
    start: float  # of time.monotonic()
    num_earlier: int  # epochs of earlier starts

    @property
    def device(self) -> torch.device:
        """The device of the training."""
        return self.trainer.strategy.root_device


def begin(config: dict[str, Any], writer: RunWriter, parts: Parts, *, start: float) -> Started:
    """Reads and splits the images of ``config``; arguments and errors: see fit."""
    settings = Config.model_validate(config)
    data_set = open_data_set(config)
    table, images = read_data(config, data_set, with_boxes=parts.task.with_boxes)
    if settings.init:
        init.check_new(settings.init, data_set.root, table)
    digest = writer.write_split(table)
    rule = Selection.parse(settings.callbacks.checkpoint.monitor)
    start_from = whole_files.resume_from(writer.run_dir, rule)
    num_earlier = 1 + saved_epoch(start_from) if start_from else 0
    return Started(
        *(settings, writer, data_set, table, images, digest, start_from, parts.trainer),
        start=start,
        num_earlier=num_earlier,
    )


def score(run: Started, task: Task, data: XrayDataModule) -> tuple[Any, Scored]:
    """Returns the scores of the best epoch, and those of the last one, at least its train split.

    The best epoch is scored last, so that its weights stay in the network. If it is the last
    epoch, it is not scored twice.
    """
    task.to(run.device)  # Lightning moves it away
    best, last = (run.writer.run_dir / name for name in (run_folder.BEST, run_folder.LAST))
    of_last = None
    if saved_epoch(best) != task.history[-1]["epoch"]:
        of_last = task.score_checkpoint(data, last, splits=["train"])
    of_best = task.score_checkpoint(data, best, splits=["train", *data.eval_splits])
    return of_best, of_last or of_best


def saved_epoch(path: Path) -> int:
    """Returns the epoch after which a checkpoint was saved, from 0."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return int(checkpoint["history"][-1]["epoch"])


def seconds(run: Started, history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the seconds of a run: its epochs, the total, and the epochs of earlier starts.

    ``total`` is the time on the clock since this start, and ``earlier``.
    """
    epochs = [row["seconds"] for row in history]
    earlier = float(sum(epochs[: run.num_earlier]))
    total = earlier + time.monotonic() - run.start
    return {"train": float(sum(epochs)), "total": total, "earlier": earlier}


def conclude(run: Started, lines: Sequence[str], metrics: Mapping[str, Any]) -> None:
    """Logs the lines of the task's conclusion, the caveats, and the run folder."""
    for line in ("", *lines):
        log.info("%s", line)
    notes = (metadata.DEBUG_NOTE if metrics["debug"] else "", run.data_set.note)
    seconds = metrics["seconds"]
    shown = metadata.show_end(notes, seconds=seconds, run_dir=run.writer.run_dir)
    log.info("TensorBoard: tensorboard --logdir '%s'", shown)


def open_data_set(config: Mapping[str, Any]) -> DataSet:
    """Returns the data set of a configuration and logs its note; sets the number of threads."""
    if config["num_threads"]:
        torch.set_num_threads(config["num_threads"])
    data_set = build("data.source", config["data"]["source"], DataSet)
    if data_set.note:
        log.warning(textwrap.fill(data_set.note, metadata.WIDTH))
    return data_set


def read_data(
    config: Mapping[str, Any], data_set: DataSet, *, with_boxes: bool = False
) -> tuple[pd.DataFrame, cache.Cache]:
    """Returns the split table of a data set's images, with their boxes if asked, and the images."""
    data = config["data"]
    table = data_set.table(patient_key=data["patient_key"], on_unknown_name=data["on_unknown_name"])
    if unused := data_set.unused():
        log.warning("Left out %d that are not used: %s", len(unused), shown(unused))
    check_names(table["path"].tolist())
    images = cache.load(
        data_set.root,
        table["path"].tolist(),
        cache_dir=Path(data["cache_dir"]),
        image_size=data["image_size"],
        aspect=data["aspect"],
    )
    if data_set.near_duplicates:
        table = table.assign(patient=near_duplicates(table, images.images))
    table = with_groups(table, images.digests)
    protocol = instantiate(config["protocol"]["split"])
    table = split.split(table, protocol, seed=config["seed"])
    if with_boxes:
        table = table.join(data_set.boxes().set_index("path"), on="path")
    return table, images


def train(
    trainer: pl.Trainer,
    task: pl.LightningModule,
    data: XrayDataModule,
    start_from: Path | None = None,
) -> None:
    """Fits ``task``, from a checkpoint if there is one.

    Raises:
        ValueError: a process that loads images has died, or a batch is too large for the memory.
        KeyboardInterrupt: the user stopped it.
    """
    try:
        with warnings.catch_warnings():
            for message in SILENCED_MESSAGES:
                warnings.filterwarnings("ignore", message)
            trainer.fit(task, datamodule=data, ckpt_path=start_from, weights_only=True)
    except SystemExit:  # how Lightning ends after Ctrl-C
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if match := WORKER.search(str(error)):
            raise ValueError(
                f"the processes that load images must stay alive; {match[0]}. They need memory, "
                "and room in /dev/shm. Resume without them: data.num_workers=0"
            ) from None
        if MEMORY.search(str(error)):
            raise ValueError(_too_large(data)) from None
        raise
    finally:
        torch.set_grad_enabled(True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    for stopper in trainer.early_stopping_callbacks:
        if getattr(stopper, "stopping_reason_message", None):
            log.info("Stopped early: %s", stopper.stopping_reason_message)


def train_share() -> None:
    """Trains on one device of several: the program of devices.Processes, which sends the settings.

    Writes no file. Errors go to the standard error, of which the run's process reads the end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run's process, which gets it, too, ends this
    config = json.load(sys.stdin)
    settings = Config.model_validate(config)
    parts = build_parts(config, settings)
    data_set = open_data_set(config)
    table, images = read_data(config, data_set, with_boxes=parts.task.with_boxes)
    task, data = parts.task.build(config, parts.network, table, images)
    rule = Selection.parse(settings.callbacks.checkpoint.monitor)
    start_from = whole_files.resume_from(Path(settings.run_dir), rule)
    if parts.trainer.strategy.root_device.type == "cpu":
        fused_cpu.keep_memory()
    sys.stdout.buffer.write(devices.READY)
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # closes the pipe to the run's process
    train(parts.trainer, task, data, start_from)


def _too_large(data: XrayDataModule) -> str:
    return (
        f"the memory must hold a batch of {data.batch_size} images and their features; it does "
        "not. Try a smaller data.batch_size (with trainer.accumulate_grad_batches=N a step has as "
        "many images), a smaller data.image_size or another model"
    )
