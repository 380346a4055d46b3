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
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from pneumo import cli
from pneumo.data import cache, split
from pneumo.data.base import DataSet
from pneumo.data.datamodule import XrayDataModule
from pneumo.data.labelled import check_names, shown, with_groups
from pneumo.data.near_copies import near_duplicates
from pneumo.inference.leakage import lineage, shared_with_train
from pneumo.models import fused_cpu
from pneumo.runs import run_folder
from pneumo.runs.network import weights_digest
from pneumo.runs.run import Run
from pneumo.runs.writer import RunWriter
from pneumo.training import devices, loggers, metadata, whole_files
from pneumo.training.callbacks import history_table
from pneumo.training.config import Config
from pneumo.training.construction import build
from pneumo.training.objects import Parts, build_parts, trusted_by
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
    config: Config, writer: RunWriter, *, data_set: DataSet, parts: Parts, start: float
) -> None:
    """Trains by ``config``, or resumes the run of ``writer``.

    Writes the files that the README lists. ``start``, of time.monotonic(), is when the user started
    the command.

    Raises:
        ValueError, FileNotFoundError: a mistake of the user's.
        KeyboardInterrupt: the user stopped it.
    """
    network, trainer = parts.network, parts.trainer
    table, images = read_data(config, data_set, with_boxes=parts.task.with_boxes)
    if config.init:
        check_init(Run.open(config.init), data_set.root, table)
    split_sha256 = writer.write_split(table)
    start_from = whole_files.resume_from(writer.run_dir)
    num_earlier = 1 + saved_epoch(start_from) if start_from else 0  # epochs of earlier starts
    data = parts.task.batches(config, network, table, images)
    task = parts.task(config, network, data)
    facts = metadata.describe(config, data_set, table, split_sha256, network, trainer)
    if config.init:
        init = Run.open(config.init)
        facts["init"] = {
            "run": Path(init.name).name,  # no path of this machine
            "trained_on": init.metrics["data"]["kind"],
            # before a prior of these labels
            "weights_sha256": weights_digest(init.network(trust=trusted_by(config))),
        }
    metadata.announce(facts, trainer)
    loggers.open_run(trainer, config, facts["hyperparameters"])
    train(trainer, task, data, start_from)
    best, last = score(task.to(trainer.strategy.root_device), data, writer.run_dir)
    tables = task.tables(best, table)
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
            table,
            predictions,
            root=data_set.root,
            config=config,
            num_classes=facts.get("num_classes") or 2,
            class_weights=config.loss and config.loss.plain().get("class_weights"),
        ),
        "seconds": seconds(task.history, num_earlier=num_earlier, start=start),
        "machine": {**facts["machine"], "arithmetic": task.arithmetic},
        # a callback may have changed it
        "hyperparameters": {**facts["hyperparameters"], "batch_size": data.batch_size},
    }
    loggers.close_run(trainer, metrics)
    writer.finish(metrics, epochs=len(task.history), max_epochs=config.trainer.max_epochs)
    lines, notes = ["", *task.conclusion(metrics)], [metadata.DEBUG_NOTE * metrics["debug"]]
    metadata.show_end(lines, [*notes, data_set.note], metrics["seconds"], writer.run_dir)


def check_init(run: Run, root: Path, table: pd.DataFrame) -> None:
    """Raises ValueError if validation or test images share patients or bytes with init's training.

    The run that init started from is compared, too. ``table`` is split, its paths are relative to
    ``root``.
    """
    runs, lost = lineage(run)
    for each in runs:
        shared, _ = shared_with_train(each, root, table[table["split"] != "train"])
        if shared:
            raise ValueError(
                "init must not have been trained on the images that this run is scored on; "
                f"{each.name} was, on {shared}. Take other images, or leave init out"
            )
    if lost:
        log.warning("%s, from which %s started, is not there: not compared", lost, run.name)


def score(task: Task, data: XrayDataModule, run_dir: Path) -> tuple[Scored, Scored]:
    """Returns the scores of the best epoch, and those of the last one, at least its train split.

    The best epoch is scored last, so that its weights stay in the network. If it is the last
    epoch, it is not scored twice.
    """
    best, last = run_dir / run_folder.BEST, run_dir / run_folder.LAST
    of_last = None
    if saved_epoch(best) != task.history[-1]["epoch"]:
        of_last = task.score_checkpoint(data, last, splits=["train"])
    of_best = task.score_checkpoint(data, best, splits=["train", *task.eval_splits])
    return of_best, of_last or of_best


def saved_epoch(path: Path) -> int:
    """Returns the epoch after which a checkpoint was saved, from 0."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return int(checkpoint["history"][-1]["epoch"])


def seconds(
    history: Sequence[Mapping[str, Any]], *, num_earlier: int, start: float
) -> dict[str, float]:
    """Returns the seconds of a run: its epochs, the total, and the epochs of earlier starts.

    ``total`` is the time on the clock since ``start``, and ``earlier``.
    """
    epochs = [row["seconds"] for row in history]
    earlier = float(sum(epochs[:num_earlier]))
    total = earlier + time.monotonic() - start
    return {"train": float(sum(epochs)), "total": total, "earlier": earlier}


def open_data_set(config: Config) -> DataSet:
    """Returns the data set of a configuration; sets the number of threads.

    Raises:
        ValueError: its folder is missing or holds something else.
    """
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    return build("data.source", config.data.source.plain(), DataSet)


def read_data(
    config: Config, data_set: DataSet, *, with_boxes: bool = False
) -> tuple[pd.DataFrame, cache.Cache]:
    """Returns the split table of a data set's images, with their boxes if asked, and the images."""
    if data_set.note:
        log.warning(textwrap.fill(data_set.note, metadata.WIDTH))
    data = config.data
    table = data_set.table(patient_key=data.patient_key, on_unknown_name=data.on_unknown_name)
    if unused := data_set.unused():
        log.warning("Left out %s: %s", cli.counted(len(unused), "unused file"), shown(unused))
    names = table["path"].tolist()
    check_names(names)
    images = cache.load(
        *(data_set.root, names),
        cache_dir=Path(data.cache_dir),
        image_size=data.image_size,
        aspect=data.aspect,
    )
    if data_set.near_duplicates:
        table = table.assign(patient=near_duplicates(table, images.images))
    table = with_groups(table, images.digests)
    table = split.split(table, instantiate(config.protocol.split.plain()), seed=config.seed)
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
    if trainer.strategy.root_device.type == "cpu":
        fused_cpu.keep_memory()
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
            raise ValueError(
                f"the memory must hold a batch of {data.batch_size} images and their features; it "
                "does not. Try a smaller data.batch_size (with trainer.accumulate_grad_batches=N a "
                "step has as many images), a smaller data.image_size or another model"
            ) from None
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
    config = Config.model_validate(json.load(sys.stdin))
    parts = build_parts(config)
    table, images = read_data(config, open_data_set(config), with_boxes=parts.task.with_boxes)
    data = parts.task.batches(config, parts.network, table, images)
    task = parts.task(config, parts.network, data)
    start_from = whole_files.resume_from(Path(config.run_dir))
    sys.stdout.buffer.write(devices.READY)
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # closes the pipe to the run's process
    train(parts.trainer, task, data, start_from)
