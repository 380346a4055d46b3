"""The contents of metrics.json, and the first and the last lines that a run logs."""

import logging
import math
import os
import platform
import shlex
import subprocess
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch

import pneumo
from pneumo import cli
from pneumo.data import fingerprint, image, split
from pneumo.data.augment import Augment
from pneumo.data.base import DataSet
from pneumo.data.kermany import pneumonia_share
from pneumo.evaluation.assessment import assess_run
from pneumo.evaluation.scores import CLINICAL, SCORES
from pneumo.models.views import Views, multiply_adds, num_parameters
from pneumo.runs import run_folder
from pneumo.training.callbacks import Selection
from pneumo.training.config import Config, Object, Trainer
from pneumo.training.devices import num_threads
from pneumo.training.task import Scored

log = logging.getLogger(__name__)

PACKAGE = Path(pneumo.__file__).resolve().parent
TRAIN_EVAL = "train_eval"  # in metrics.json: the train split without augmentation and dropout
WIDTH = 79  # of the lines on the screen
# Arguments that are hyperparameters, of the models that have them
MODEL_KEYS = ("f", "d", "c", "batch_norm", "num_classes", "backbone", "width", "pretrained")
# of the scores, on the screen; a decision is at 0.5
NAMES = {n: s.title for n, s in SCORES.items()} | {n: name for name, n in CLINICAL.items()}
SHOWN = (  # at the end of a run, two in a line
    *("f1_normal", "f1_pneumonia", "recall_pneumonia", "recall_normal", "accuracy", "auroc"),
)
DEBUG_NOTE = (
    "DEBUG RUN: it trained on a few batches an epoch. It shows that the software works; its scores "
    "mean nothing."
)


def is_debug(trainer: Trainer) -> bool:
    """Returns whether a Trainer leaves out images; in Lightning 1.0 is all of them, 1 a batch."""
    limits = (trainer.limit_train_batches, trainer.limit_val_batches)
    whole = all(limit is None or (isinstance(limit, float) and limit == 1) for limit in limits)
    return not whole or trainer.overfit_batches is not None


def results(history: list[dict[str, Any]], *, best: Scored, last: Scored) -> dict[str, Any]:
    """Returns the keys best, last and history of metrics.json.

    The epochs are those of the two checkpoints. On the splits that a checkpoint was scored on, the
    scores are its own, of all images in evaluation mode; "train" stays that of the training steps.
    """
    found: dict[str, Any] = {}
    for name, scored in {"best": best, "last": last}.items():
        row = next(row for row in history if row["epoch"] == scored.epoch)
        kept = {key: value for key, value in row.items() if key not in ("lr", "seconds")}
        held_out = {key: value for key, value in scored.scores.items() if key != "train"}
        found[name] = {**kept, **held_out, TRAIN_EVAL: scored.scores["train"]}
    return found | {"history": history}


def assessment(
    table: pd.DataFrame,
    predictions: pd.DataFrame,
    *,
    root: Path,
    config: Config,
    num_classes: int = 2,
    class_weights: Any = None,
) -> dict[str, Any]:
    """Returns the key assessment of metrics.json: intervals of the best checkpoint's scores.

    Args:
        table: the split table of the run.
        predictions: path and p_pneumonia of the images that were scored, as in predictions.csv.
        root: the folder that paths are relative to.
        config: of the run.
        num_classes: of the network.
        class_weights: of the loss.
    """
    scored = table.merge(predictions[["path", "p_pneumonia"]], on="path")
    scored["pixels"] = [image.num_pixels(root / path) for path in scored["path"]]
    rule = {"protocol": config.protocol.name, "decision": config.decision}
    share = pneumonia_share(
        table[table["split"] == "train"], num_classes=num_classes, class_weights=class_weights
    )
    assessment = assess_run(scored, **rule, trained_at=share)
    return {"checkpoint": "best", "split": "test", **assessment}


def describe(
    config: Config,
    data_set: DataSet,
    table: pd.DataFrame,
    digest: str,
    network: Any,
    trainer: pl.Trainer,
) -> dict[str, Any]:
    """Returns the part of metrics.json of a network's run that is known before it starts."""
    data = config.data
    facts = describe_run(config, data_set, table, digest)
    return facts | {
        "debug": is_debug(config.trainer),
        "num_classes": network.num_classes,
        "batch_norm": (config.model.model_extra or {}).get("batch_norm"),
        "parameters": num_parameters(network),
        "multiply_adds": multiply_adds(
            network, image_size=data.image_size, views=Views(**config.views.plain())
        ),
        "selection": asdict(Selection.parse(config.monitor)),
        "hyperparameters": hyperparameters(config),
        "preprocessing": fingerprint.take(
            size=data.image_size,
            aspect=data.aspect,
            mean=float(network.mean),
            std=float(network.std),
        ),
        "machine": {
            "device": device_name(trainer),
            "accelerator": type(trainer.accelerator).__name__,
            **facts["machine"],
        },
        "versions": {
            **facts["versions"],
            **{n: version(n) for n in ("torch", "pytorch-lightning", "torchmetrics")},
        },
    }


def describe_run(
    config: Config, data_set: DataSet, table: pd.DataFrame, digest: str
) -> dict[str, Any]:
    """Returns the part of metrics.json that any run has: its name, its data, its machine."""
    return {
        "schema": run_folder.SCHEMA,
        "model": config.model.name,
        "recipe": config.recipe,
        "seed": config.seed,
        "protocol": config.protocol.name,
        "decision": config.decision if config.task == "classification" else None,
        "fold": config.protocol.fold,
        "tags": config.tags,
        "data": {
            "kind": data_set.kind,
            "note": data_set.note,
            "root_name": data_set.root.name,
            "licence": data_set.licence,
            "population": data_set.population,
            "ages": list(data_set.ages) if data_set.ages else None,
            "images": len(table),
            "patients": int(table["group"].nunique()),
            "patient_key": config.data.patient_key,
            "index_sha256": split.digest(table[["path"]].assign(split="")),
            "split_sha256": digest,
            "images_sha256": split.digest(table, "digest"),
            "labels_sha256": split.labels_digest(table),
            "splits": split.summary(table),
        },
        "machine": {"threads": torch.get_num_threads(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "pneumo": version("pneumo")},
        "git_commit": _git_commit(),
    }


def hyperparameters(config: Config) -> dict[str, Any]:
    """Returns the settings that TensorBoard's HParams compares, flat."""
    model, data = config.model.model_extra or {}, config.data
    return {
        "model": config.model.name,
        "seed": config.seed,
        "protocol": config.protocol.name,
        "fold": config.protocol.fold,
        **{key: model[key] for key in MODEL_KEYS if key in model},
        "image_size": data.image_size,
        "aspect": data.aspect,
        "patient_key": data.patient_key,
        "batch_size": data.batch_size,
        "optimizer": config.optimizer.target_.rpartition(".")[2],
        "lr": config.optimizer.lr,
        "schedule": config.schedule.target_.rpartition(".")[2],
        "max_epochs": config.trainer.max_epochs,
        **_augmentation(config.augment),
        **({"tags": ", ".join(config.tags)} if config.tags else {}),
    }


def _augmentation(augment: Object) -> dict[str, Any]:
    """Returns the paper's three settings, or the names of transforms or of a class."""
    settings, kind = augment.model_extra or {}, augment.target_.rpartition(".")[2]
    if "transforms" in settings:
        names = [step["_target_"].rpartition(".")[2] for step in settings["transforms"]]
        return {"augment": "+".join(names)}
    if kind != "Augment":
        return {"augment": kind}
    keys = ("rotation", "zoom", "flip")
    paper = Augment(**{key: settings[key] for key in keys if key in settings})
    zoom = "-".join(f"{z:g}" for z in paper.zoom)
    return {"rotation": paper.rotation, "zoom": zoom, "flip": paper.flip}


def announce(facts: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """Logs the network, its size, the device and the splits."""
    if facts["debug"]:
        log.warning(textwrap.fill(DEBUG_NOTE, WIDTH))
    log.info(
        "%s: %s parameters, %.1f M multiply-adds an image; on %s",
        *(facts["model"], f"{facts['parameters']:,}", facts["multiply_adds"] / 1e6),
        device_name(trainer),
    )
    announce_splits(facts)


def announce_splits(facts: Mapping[str, Any]) -> None:
    """Logs how many images, patients and images of each label each split has."""
    splits = facts["data"]["splits"]
    for name in sorted(splits, key=split.SPLITS.index):
        log.info(
            "%-5s %6s images of %5s patients: %5s NORMAL, %5s PNEUMONIA",
            name,
            *(f"{splits[name][k]:,}" for k in ("images", "patients", "NORMAL", "PNEUMONIA")),
        )


def decimal(value: float | None) -> str:
    """Returns a score with three digits; ? if it is undefined."""
    return "?" if value is None or math.isnan(value) else f"{value:.3f}"


def score_lines(scores: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Returns the main scores of a test split, two in a line, each with its interval.

    Args:
        scores: value, low and high by score, as the assessment in metrics.json has them.
    """
    texts = []
    for score in SHOWN:
        value, low, high = (decimal(scores[score][key]) for key in ("value", "low", "high"))
        texts.append(f"{NAMES[score]:12} {value} ({low}-{high})")
    return [f"  {a:36}   {b}" for a, b in zip(texts[::2], texts[1::2], strict=True)]


def show_end(
    lines: Iterable[str],
    notes: Iterable[str | None],
    seconds: Mapping[str, float],
    run_dir: Path,
) -> None:
    """Logs scores, notes, the time it took, the run folder, and how TensorBoard shows it."""
    for line in lines:
        log.info("%s", line)
    for note in filter(None, notes):
        log.warning(textwrap.fill(note, WIDTH, initial_indent="  ", subsequent_indent="  "))
    log.info("Took %.0f s, of which training %.0f s.", seconds["total"], seconds["train"])
    if seconds.get("earlier"):
        log.info("Of these, %.0f s are of the epochs before it was resumed.", seconds["earlier"])
    shown = run_dir.relative_to(Path.cwd()) if run_dir.is_relative_to(Path.cwd()) else run_dir
    log.info("Run folder:  %s", shown)
    if any(run_dir.glob("events.out.*")):
        log.info("TensorBoard: tensorboard --logdir %s", shlex.quote(str(shown)))


def device_name(trainer: pl.Trainer) -> str:
    """Returns the name of the device that the trainer computes on, and how many there are."""
    number = trainer.num_devices
    if trainer.strategy.root_device.type == "cuda":
        name = torch.cuda.get_device_name(trainer.strategy.root_device)
        return name if number == 1 else f"{number} x {name}"
    threads = cli.counted(num_threads(number), "thread")
    return f"the CPU, {threads}" if number == 1 else f"the CPU, {number} processes of {threads}"


def _git_commit() -> str | None:
    """Returns the commit of this project's own repository; None in another's or outside."""
    git = ["git", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        text = subprocess.check_output(git, cwd=PACKAGE, stderr=subprocess.DEVNULL, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    top, commit = text.splitlines()
    return commit if Path(top).resolve() == PACKAGE.parent else None
