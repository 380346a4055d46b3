"""One run from its configuration to its run folder: data, network, training, final scores."""

import logging
import math
import re
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
from pneumo.data.labelled import check_names, with_groups
from pneumo.data.near_copies import near_duplicates
from pneumo.inference import ood, reference
from pneumo.models import fused_cpu
from pneumo.models.base import Network
from pneumo.models.views import Views
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from pneumo.training import metadata, objects, scoring, tensorboard_log, whole_files
from pneumo.training.base import Task
from pneumo.training.callbacks import history_table
from pneumo.training.config import Config
from pneumo.training.objects import Parts
from pneumo.training.task import Classifier

log = logging.getLogger("pneumo")
# Lightning's advice that does not hold here, and its use of deprecated functions of torch
SILENCED_MESSAGES = (
    ".*does not have many workers",  # the training process augments faster than a CPU can train
    ".*treespec, LeafSpec",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
)
# The messages of torch if a loading process was killed, or has no room for its batch
WORKER = re.compile(r"DataLoader worker \(pid.*|unable to allocate shared memory.*")
# The messages of torch without free memory, on a GPU and on a CPU
MEMORY = re.compile(r"out of memory|can't allocate memory|bad_alloc|Cannot allocate memory")


def fit(config: dict[str, Any], run_dir: Path, *, parts: Parts, start: float | None = None) -> None:
    """Trains by ``config`` (plain, resolved, checked), or resumes the run in ``run_dir``.

    Writes the files that the README lists. ``start``, of time.monotonic(), is when the user started
    the command; by default now.

    Raises:
        ValueError, FileNotFoundError: a mistake of the user's.
        KeyboardInterrupt: the user stopped it.
    """
    run = begin(config, run_dir, trainer=parts.trainer, start=start)
    table, images, device = run.table, run.images, run.device
    arithmetic = {"device": device.type, "threads": torch.get_num_threads()}
    network = parts.network
    assert isinstance(network, Network)
    module, data = build(config, network, table, images, arithmetic=arithmetic)
    facts = metadata.describe(
        Config.model_validate(config), run.data_set, table, run.split_sha256, network, run.trainer
    )
    carry_out(run, module, data, facts)
    # if the last epoch is the best, its weights are not scored twice
    last: scoring.Scores | None = None
    if scoring.saved_epoch(run_dir / run_folder.BEST) != module.history[-1]["epoch"]:
        last = scoring.score_checkpoint(module, data, run_dir / run_folder.LAST, splits=["train"])
    # scored last: its weights stay in the network, and make the reference
    best = scoring.score_checkpoint(
        module, data, run_dir / run_folder.BEST, splits=["train", *data.eval_splits]
    )
    predictions = scoring.predictions(best, table, splits=data.eval_splits)
    run.writer.write_table(run_folder.PREDICTIONS, predictions)
    write_reference(run, network, module.views, predictions)
    last = last or scoring.only(best, "train")
    metrics = finish(run, module, data, facts, best=best, last=last, predictions=predictions)
    metadata.conclude(metrics, run.data_set, run_dir)


@dataclass
class Started:
    """A run with its images, its split and its Trainer; its network is not built yet."""

    config: dict[str, Any]  # plain, resolved
    writer: RunWriter
    data_set: DataSet
    table: pd.DataFrame  # split; of a detector, with boxes
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

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return self.writer.run_dir


def begin(
    config: dict[str, Any],
    run_dir: Path,
    *,
    trainer: pl.Trainer,
    with_boxes: bool = False,
    start: float | None = None,
) -> Started:
    """Reads and splits the images of ``config`` (plain, resolved); ``start``, errors: see fit."""
    start = time.monotonic() if start is None else start
    data_set = open_data_set(config)
    table, images = read_data(config, data_set)
    if with_boxes:
        table = table.join(data_set.boxes().set_index("path"), on="path")
    writer = RunWriter(run_dir)
    digest = writer.write_split(table)
    start_from = whole_files.resume_from(run_dir, metadata.selection(Config.model_validate(config)))
    num_earlier = 1 + scoring.saved_epoch(start_from) if start_from else 0
    return Started(
        *(config, writer, data_set, table, images, digest, start_from, trainer),
        start=start,
        num_earlier=num_earlier,
    )


def carry_out(run: Started, module: Task, data: XrayDataModule, facts: Mapping[str, Any]) -> None:
    """Logs ``facts`` (of metadata.describe), trains ``module`` and leaves it on the device.

    Errors: see train.
    """
    if run.device.type == "cpu":
        fused_cpu.keep_memory()
    metadata.announce(facts, run.trainer)
    tensorboard_log.open_run(run.trainer, run.config, facts["hyperparameters"])
    train(run.trainer, module, data, run.start_from)
    module.to(run.device)  # Lightning moves it away


def finish(
    run: Started,
    module: Task,
    data: XrayDataModule,
    facts: Mapping[str, Any],
    *,
    best: scoring.Scores,
    last: scoring.Scores,
    predictions: pd.DataFrame,
) -> dict[str, Any]:
    """Writes the files of a finished run besides its predictions; returns metrics.json.

    Args:
        run: see carry_out.
        module: trained.
        data: its batches.
        facts: of metadata.describe.
        best: scores of the best epoch.
        last: scores of the last one.
        predictions: as in predictions.csv.
    """
    config = run.config
    run.writer.write_table("history.csv", history_table(module.history))
    assessment = metadata.assessment(
        run.table, predictions, root=run.data_set.root, protocol=config["protocol"]["name"]
    )
    results = metadata.results(module.history, best=best, last=last)
    metrics = {
        **facts,
        **results,
        "assessment": assessment,
        "seconds": seconds(run, module.history),
    }
    metrics["machine"] = {**facts["machine"], "arithmetic": module.arithmetic}
    # a callback may have changed it
    metrics["hyperparameters"] = {**facts["hyperparameters"], "batch_size": data.batch_size}
    tensorboard_log.close_run(run.trainer, metrics, predictions, data)
    max_epochs = config["trainer"]["max_epochs"]
    run.writer.finish(metrics, epochs=len(module.history), max_epochs=max_epochs)
    return metrics


def seconds(run: Started, history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the seconds of a run: its epochs, the total, and the epochs of earlier starts.

    ``total`` is the time on the clock since this start, and ``earlier``.
    """
    epochs = [row["seconds"] for row in history]
    earlier = float(sum(epochs[: run.num_earlier]))
    total = earlier + time.monotonic() - run.start
    return {"train": float(sum(epochs)), "total": total, "earlier": earlier}


def open_data_set(config: Mapping[str, Any]) -> DataSet:
    """Returns the data set of a configuration and logs its note; sets the number of threads."""
    if config["num_threads"]:
        torch.set_num_threads(config["num_threads"])
    data_set = objects.build("data.source", config["data"]["source"], DataSet)
    if data_set.note:
        log.warning(textwrap.fill(data_set.note, metadata.WIDTH))
    return data_set


def read_data(config: Mapping[str, Any], data_set: DataSet) -> tuple[pd.DataFrame, cache.Cache]:
    """Returns the split table of a data set's images, and the images."""
    data = config["data"]
    table = data_set.table(patient_key=data["patient_key"], on_unknown_name=data["on_unknown_name"])
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
    return split.split(table, protocol, seed=config["seed"]), images


def build(
    config: Mapping[str, Any],
    network: Network,
    table: pd.DataFrame,
    images: cache.Cache,
    *,
    arithmetic: Mapping[str, Any] | None = None,
) -> tuple[Classifier, XrayDataModule]:
    """Returns the module that trains a network by ``config``, and its batches.

    Args:
        config: plain, resolved.
        network: gets the mean and the deviation of the train images.
        table: split, as read_data returns it.
        images: of all rows of the table.
        arithmetic: see Classifier.
    """
    data = XrayDataModule(
        table,
        images,
        batch_size=config["data"]["batch_size"],
        augment=instantiate(config["augment"]),
        seed=config["seed"],
        num_classes=network.num_classes,
        num_workers=config["data"]["num_workers"],
        overfit_batches=config["trainer"].get("overfit_batches"),
    )
    mean, std = data.train_statistics()
    network.mean.fill_(mean)
    network.std.fill_(std)
    module = Classifier(
        network,
        optimizer=instantiate(config["optimizer"]),
        schedule=instantiate(objects.schedule_settings(config, num_steps=num_steps(config, data))),
        interval=config["schedule"].get("interval", "epoch"),
        plateau_on=config["schedule"].get("monitor"),
        views=Views(**config["views"]),
        loss=objects.make_loss(config, data.target[data.rows["train"]], network.num_classes),
        eval_splits=data.eval_splits,
        seed=config["seed"],
        arithmetic=arithmetic,
    )
    return module, data


def num_steps(config: Mapping[str, Any], data: XrayDataModule) -> int:
    """Returns how often the schedule steps in a run: once an epoch, or once a step."""
    trainer, batches = config["trainer"], data.num_train_batches
    if config["schedule"].get("interval", "epoch") == "epoch":
        return int(trainer["max_epochs"])
    limit = trainer.get("limit_train_batches")
    if limit is not None:
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
    steps = math.ceil(batches / (trainer.get("accumulate_grad_batches") or 1))
    return int(steps * trainer["max_epochs"])


def train(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: XrayDataModule,
    start_from: Path | None = None,
) -> None:
    """Fits ``module``, from a checkpoint if there is one.

    Raises:
        ValueError: a process that loads images has died, or a batch is too large for the memory.
        KeyboardInterrupt: the user stopped it.
    """
    try:
        with warnings.catch_warnings():
            for message in SILENCED_MESSAGES:
                warnings.filterwarnings("ignore", message)
            trainer.fit(module, datamodule=data, ckpt_path=start_from, weights_only=True)
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


def _too_large(data: XrayDataModule) -> str:
    return (
        f"the memory must hold a batch of {data.batch_size} images and their features; it does "
        "not. Try a smaller data.batch_size (with trainer.accumulate_grad_batches=N a step has as "
        "many images), a smaller data.image_size or another model"
    )


def write_reference(
    run: Started, network: Network, views: Views, predictions: pd.DataFrame
) -> None:
    """Writes the reference of the run's own images, by which predict flags others."""
    rows = run.table.index[run.table["path"].isin(reference.sampled_paths(predictions))]
    fitted = reference.fit(network, run.images.images[rows.to_numpy()], views=views)
    if fitted is not None:
        run.writer.write_arrays(reference.file_name("best"), ood.arrays(fitted))
