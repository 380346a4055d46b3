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

from pneumo import untrusted
from pneumo.data import cache, split
from pneumo.data.base import DataSet
from pneumo.data.datamodule import XrayDataModule
from pneumo.data.labelled import check_names, with_groups
from pneumo.data.near_copies import near_duplicates
from pneumo.inference import ensemble, ood
from pneumo.labels import CLASS_NAMES
from pneumo.models import fused_cpu
from pneumo.models.base import Network
from pneumo.models.views import Views
from pneumo.runs import run_folder
from pneumo.runs.finished import read_table
from pneumo.training import metadata, objects, scoring, tensorboard_log, whole_files
from pneumo.training.base import Task
from pneumo.training.callbacks import history_table
from pneumo.training.config import Config
from pneumo.training.objects import Parts
from pneumo.training.task import Classifier

log = logging.getLogger("pneumo")

# Lightning's advice that does not hold here, and its use of what torch 2.15 calls old
SILENCED_MESSAGES = (
    ".*does not have many workers",  # the training process augments faster than a CPU can train
    ".*treespec, LeafSpec",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
)
# How torch says that a loading process was killed, or has no room for its batch
WORKER = re.compile(r"DataLoader worker \(pid.*|unable to allocate shared memory.*")
# How torch says that there is no memory left, on a GPU and on a CPU
MEMORY = re.compile(r"out of memory|can't allocate memory|bad_alloc|Cannot allocate memory")


def fit(config: dict[str, Any], run_dir: Path, *, parts: Parts, start: float | None = None) -> None:
    """Trains as ``config`` (plain, resolved, checked) says, or resumes where ``run_dir`` stopped.

    Leaves in ``run_dir`` what the README lists. Raises ValueError or FileNotFoundError for what
    the user can mend, KeyboardInterrupt where the user stopped it. ``start``, of time.monotonic(),
    is when the user started it; by default now.
    """
    run = begin(config, run_dir, trainer=parts.trainer, start=start)
    table, images, device = run.table, run.images, run.device
    arithmetic = {"device": device.type, "threads": torch.get_num_threads()}
    network = parts.network
    assert isinstance(network, Network)
    module, data = build(config, network, table, images, arithmetic=arithmetic)
    settings = Config.model_validate(config)
    facts = metadata.describe(settings, run.data_set, table, run.split_sha256, network, run.trainer)
    carry_out(run, module, data, facts)
    # the same weights where the last epoch is the best: not scored twice
    last: scoring.Scores | None = None
    if scoring.saved_epoch(run_dir / run_folder.BEST) != module.history[-1]["epoch"]:
        last = scoring.score_checkpoint(module, data, run_dir / run_folder.LAST, splits=["train"])
    # the one that stays in the network: keep_reference takes its features
    best = scoring.score_checkpoint(
        module, data, run_dir / run_folder.BEST, splits=["train", *data.eval_splits]
    )
    predictions = scoring.predictions(best, table, splits=data.eval_splits)
    run_folder.write_table(run_dir / "predictions.csv", predictions)
    keep_reference(network, module.views, images, table, predictions, run_dir)
    last = last or scoring.only(best, "train")
    metrics = finish(run, module, data, facts, best=best, last=last, predictions=predictions)
    metadata.conclude(metrics, run.data_set, run_dir)


@dataclass
class Run:
    """A run that has its images, its split and its Trainer; its network is still to be made."""

    config: dict[str, Any]  # plain, resolved
    run_dir: Path
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
        """Where the network is trained."""
        return self.trainer.strategy.root_device


def begin(
    config: dict[str, Any],
    run_dir: Path,
    *,
    trainer: pl.Trainer,
    with_boxes: bool = False,
    start: float | None = None,
) -> Run:
    """Reads and splits the images of ``config`` (plain, resolved); ``start``, errors: see fit."""
    start = time.monotonic() if start is None else start
    data_set = open_data_set(config)
    table, images = read_data(config, data_set)
    if with_boxes:
        table = table.join(data_set.boxes().set_index("path"), on="path")
    digest = keep_split(run_dir, table)
    start_from = whole_files.resume_from(run_dir, metadata.selection(Config.model_validate(config)))
    num_earlier = 1 + scoring.saved_epoch(start_from) if start_from else 0
    return Run(
        *(config, run_dir, data_set, table, images, digest, start_from, trainer),
        start=start,
        num_earlier=num_earlier,
    )


def carry_out(run: Run, module: Task, data: XrayDataModule, facts: Mapping[str, Any]) -> None:
    """Trains ``module`` and leaves it on the device; says ``facts``, of metadata.describe, first.

    Raises as train.
    """
    if run.device.type == "cpu":
        fused_cpu.keep_memory()
    metadata.announce(facts, run.trainer)
    tensorboard_log.open_run(run.trainer, run.config, facts["hyperparameters"])
    train(run.trainer, module, data, run.start_from)
    module.to(run.device)  # Lightning has taken it off


def finish(
    run: Run,
    module: Task,
    data: XrayDataModule,
    facts: Mapping[str, Any],
    *,
    best: scoring.Scores,
    last: scoring.Scores,
    predictions: pd.DataFrame,
) -> dict[str, Any]:
    """Writes what any finished run leaves beside its predictions; returns metrics.json.

    Args:
        run: that was carried out.
        module: that was trained.
        data: its batches.
        facts: of metadata.describe.
        best: scores of the best epoch.
        last: scores of the last one.
        predictions: as in predictions.csv.
    """
    config, run_dir = run.config, run.run_dir
    run_folder.write_table(run_dir / "history.csv", history_table(module.history))
    found = metadata.assessment(
        run.table, predictions, root=run.data_set.root, protocol=config["protocol"]["name"]
    )
    results = metadata.results(module.history, best=best, last=last)
    metrics = {**facts, **results, "assessment": found, "seconds": seconds(run, module.history)}
    metrics["machine"] = {**facts["machine"], "arithmetic": module.arithmetic}
    # a callback may have changed it
    metrics["hyperparameters"] = {**facts["hyperparameters"], "batch_size": data.batch_size}
    tensorboard_log.close_run(run.trainer, metrics, predictions, data)
    run_folder.write_json(run_dir / "metrics.json", metrics)
    (run_dir / run_folder.PREVIOUS).unlink(missing_ok=True)
    run_folder.write_status(
        run_dir, "done", epoch=len(module.history), max_epochs=config["trainer"]["max_epochs"]
    )
    return metrics


def seconds(run: Run, history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns how long a run took: its epochs, all of it, and its epochs of earlier starts.

    ``total`` is the time on the clock since this start, and ``earlier``.
    """
    epochs = [row["seconds"] for row in history]
    earlier = float(sum(epochs[: run.num_earlier]))
    total = earlier + time.monotonic() - run.start
    return {"train": float(sum(epochs)), "total": total, "earlier": earlier}


def open_data_set(config: Mapping[str, Any]) -> DataSet:
    """Returns the data set of a configuration, whose note is said; sets the number of threads."""
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


def keep_split(run_dir: Path, table: pd.DataFrame) -> str:
    """Writes split.csv, and split.json with digests; returns that of the split.

    Args:
        run_dir: the run folder.
        table: of split.split, with the column digest; with boxes for a detector.

    Raises:
        ValueError: the run began with another split, or with other images, labels or boxes of the
            same names.
    """
    path, kept = run_dir / "split.csv", run_dir / "split.json"
    found = {
        "split_sha256": split.digest(table),
        "images_sha256": split.images_digest(table),
        "labels_sha256": split.labels_digest(table),
    }
    if _split_before(path) not in (None, found["split_sha256"]):
        raise ValueError(
            f"a run resumes with the images it began with; those of {run_dir} were others. Name "
            "their folder with data.root=DIR, or start a new run"
        )
    before = untrusted.read_json(kept) if kept.exists() else {}
    for key, changed in (
        ("images_sha256", "files have changed under the same names"),
        ("labels_sha256", "labels or boxes have changed"),
    ):
        if before.get(key, found[key]) != found[key]:
            raise ValueError(
                f"a run resumes with the images it began with; since {run_dir} began, {changed}. "
                "Name the folder of the first ones with data.root=DIR, or start a new run"
            )
    run_folder.write_table(path, table[split.COLUMNS])
    run_folder.write_json(kept, found)
    return found["split_sha256"]


def _split_before(path: Path) -> str | None:
    """The digest of the split a run began with; None for a new run. Errors as read_table's."""
    try:
        return split.digest(read_table(path, split.COLUMNS, labels=CLASS_NAMES))
    except FileNotFoundError:
        return None


def build(
    config: Mapping[str, Any],
    network: Network,
    table: pd.DataFrame,
    images: cache.Cache,
    *,
    arithmetic: Mapping[str, Any] | None = None,
) -> tuple[Classifier, XrayDataModule]:
    """Returns the module that trains a network, and its batches, as ``config`` says.

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
    """Fits, resuming from a checkpoint where one is given.

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
        if found := WORKER.search(str(error)):
            raise ValueError(
                f"the processes that load images must stay alive; {found[0]}. They need memory, "
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
        f"the memory must hold a batch of {data.batch_size} images and what the network makes of "
        "it; it does not. Try a smaller data.batch_size (with trainer.accumulate_grad_batches=N a "
        "step has as many images), a smaller data.image_size or another model"
    )


def keep_reference(
    network: Network,
    views: Views,
    images: cache.Cache,
    table: pd.DataFrame,
    predictions: pd.DataFrame,
    run_dir: Path,
) -> None:
    """Writes the reference of in-distribution images, so that the run folder is enough."""
    rows = table.index[table["path"].isin(ensemble.reference_paths(predictions))].to_numpy()
    made = ensemble.make_reference(network, images.images[rows], views=views)
    if made is not None:
        ood.save(made, ensemble.reference_path(run_dir, checkpoint="best"))
