"""What a run says of itself: metrics.json, its first lines and its last ones."""

import logging
import math
import os
import platform
import subprocess
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytorch_lightning as pl
import torch

import pneumo
from pneumo import cli
from pneumo.data import fingerprint, image, split
from pneumo.data.augment import Augment
from pneumo.data.base import DataSet
from pneumo.evaluation.assessment import assess_run
from pneumo.evaluation.published import TINY
from pneumo.evaluation.scores import CLINICAL, SCORES
from pneumo.models import complexity
from pneumo.models.views import Views
from pneumo.runs import run_folder
from pneumo.runs.metrics import how_chosen
from pneumo.training import scoring
from pneumo.training.task import MAIN, Selection

if TYPE_CHECKING:  # torchvision's detectors take a second to import
    from pneumo.models.base import Network
    from pneumo.models.detector import Detector

log = logging.getLogger(__name__)

PACKAGE = Path(pneumo.__file__).resolve().parent
WIDTH = 79  # of the lines on the screen
MODEL_KEYS = (
    "f",
    "d",
    "c",
    "batch_norm",
    "num_classes",
    "backbone",
    "width",
    "pretrained",
)  # where a model has them
LIMITS = ("limit_train_batches", "limit_val_batches", "overfit_batches", "fast_dev_run")
# of the scores, on the screen; a decision is at 0.5
NAMES = {n: s.title for n, s in SCORES.items()} | {n: name for name, n in CLINICAL.items()}
SHOWN = (  # at the end of a run, two in a line
    ("f1_normal", "f1_pneumonia"),
    ("recall_pneumonia", "recall_normal"),
    ("accuracy", "auroc"),
)
DEBUG_NOTE = (
    "DEBUG RUN: it trained on a few batches an epoch. It shows that the software works; its scores "
    "mean nothing."
)


def is_debug(trainer: Mapping[str, Any]) -> bool:
    """Returns whether a Trainer's settings leave out images; in Lightning 1.0 is all, 1 a batch."""
    given = (trainer.get(name) for name in LIMITS)
    return any(v is not None and v != 0 and not (v == 1 and isinstance(v, float)) for v in given)


def selection(config: Mapping[str, Any]) -> Selection:
    """Returns the rule that chooses the epoch, as the checkpoint callback was told."""
    told = (config.get("callbacks") or {}).get("checkpoint") or {}
    if "monitor" not in told:
        raise ValueError(
            "callbacks.checkpoint must name the score that chooses the epoch, such as "
            "callbacks.checkpoint.monitor=f1_normal/val; it is left out"
        )
    return Selection.parse(told["monitor"])


def check_best(history: list[dict[str, Any]], saved: int, config: Mapping[str, Any]) -> None:
    """Says so where best.ckpt is not of the epoch that the history calls the best.

    Only a checkpoint callback of another kind, or one of an older version, can leave that.
    """
    best = history[selection(config).best(history)]["epoch"]
    if saved != best:
        log.warning(
            "best.ckpt is of epoch %d, though epoch %d scored best: what is reported is of epoch "
            "%d, which was saved",
            saved + 1,
            best + 1,
            saved + 1,
        )


def results(
    history: list[dict[str, Any]], *, best: scoring.Scores, last: scoring.Scores
) -> dict[str, Any]:
    """Returns the keys best, last and history of metrics.json.

    The epochs are those that the checkpoints were saved after, so what is reported is what was
    saved. Scores are the checkpoint's own, of all images in evaluation mode, where it was scored;
    "train" stays that of the training steps.
    """
    rows = {row["epoch"]: row for row in history}
    return {
        "best": _scores(rows[best.epoch], best),
        "last": _scores(rows[last.epoch], last),
        "history": history,
    }


def _scores(row: Mapping[str, Any], scored: scoring.Scores) -> dict[str, Any]:
    kept = {key: value for key, value in row.items() if key not in ("lr", "seconds")}
    own = {k: v for k, v in scored.scores.items() if k != "train"}
    return {**kept, **own, scoring.TRAIN_EVAL: scored.scores["train"]}


def assessment(
    table: pd.DataFrame, predictions: pd.DataFrame, *, root: Path, protocol: str
) -> dict[str, Any]:
    """Returns the key assessment of metrics.json: what the best checkpoint's scores are worth.

    Args:
        table: the split table of the run.
        predictions: path and p_pneumonia of the images that were scored, as in predictions.csv.
        root: the folder that paths are relative to.
        protocol: its name.
    """
    scored = table.merge(predictions[["path", "p_pneumonia"]], on="path")
    scored["pixels"] = [image.num_pixels(root / path) for path in scored["path"]]
    return {"checkpoint": "best", "split": "test", **assess_run(scored, protocol=protocol)}


def describe(
    config: Mapping[str, Any],
    data_set: DataSet,
    table: pd.DataFrame,
    digest: str,
    network: "Network | Detector",
    trainer: pl.Trainer,
) -> dict[str, Any]:
    """Returns what metrics.json says of a network's run before it has begun."""
    model, data = config["model"], config["data"]
    facts = describe_run(config, data_set, table, digest)
    return facts | {
        "debug": is_debug(config["trainer"]),
        "num_classes": network.num_classes,
        "batch_norm": model.get("batch_norm"),
        "parameters": complexity.num_parameters(network),
        "multiply_adds": complexity.multiply_adds(
            network, image_size=data["image_size"], views=Views(**config["views"])
        ),
        "selection": asdict(selection(config)),
        "hyperparameters": hyperparameters(config),
        "preprocessing": fingerprint.take(
            size=data["image_size"],
            aspect=data["aspect"],
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
    config: Mapping[str, Any], data_set: DataSet, table: pd.DataFrame, digest: str
) -> dict[str, Any]:
    """Returns what metrics.json says of any run: its name, its data, what it ran on."""
    data, protocol = config["data"], config["protocol"]
    return {
        "schema": run_folder.SCHEMA,
        "model": config["model"]["name"],
        "seed": config["seed"],
        "protocol": protocol["name"],
        "fold": protocol["fold"],
        "tags": list(config.get("tags") or []),
        "data": {
            "kind": data_set.kind,
            "note": data_set.note,
            "root_name": data_set.root.name,
            "licence": data_set.licence,
            "population": data_set.population,
            "ages": list(data_set.ages) if data_set.ages else None,
            "images": len(table),
            "patients": int(table["group"].nunique()),
            "patient_key": data["patient_key"],
            "index_sha256": _digest(table["path"]),
            "split_sha256": digest,
            "images_sha256": split.images_digest(table),
            "splits": split.summary(table),
        },
        "machine": {"threads": torch.get_num_threads(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "pneumo": version("pneumo")},
        "git_commit": _git_commit(),
    }


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that TensorBoard's HParams compares, flat."""
    model, data = config["model"], config["data"]
    augment, optimizer = config["augment"], config["optimizer"]
    return {
        "model": model["name"],
        "seed": config["seed"],
        "protocol": config["protocol"]["name"],
        "fold": config["protocol"]["fold"],
        **{key: model[key] for key in MODEL_KEYS if key in model},
        "image_size": data["image_size"],
        "aspect": data["aspect"],
        "patient_key": data["patient_key"],
        "batch_size": data["batch_size"],
        "optimizer": optimizer["_target_"].rpartition(".")[2],
        "lr": optimizer["lr"],
        "schedule": config["schedule"]["_target_"].rpartition(".")[2],
        "max_epochs": config["trainer"]["max_epochs"],
        **_augmentation(augment),
        **({"tags": ", ".join(config["tags"])} if config.get("tags") else {}),
    }


def _augmentation(augment: Mapping[str, Any]) -> dict[str, Any]:
    """Of a pipeline, the names of its transforms."""
    if "transforms" in augment:
        names = [one["_target_"].rpartition(".")[2] for one in augment["transforms"]]
        return {"augment": "+".join(names)}
    paper = Augment(**{key: augment[key] for key in ("rotation", "zoom", "flip") if key in augment})
    zoom = "-".join(f"{z:g}" for z in paper.zoom)
    return {"rotation": paper.rotation, "zoom": zoom, "flip": paper.flip}


def announce(facts: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """Says what will be trained, on what, where."""
    if facts["debug"]:
        log.warning(textwrap.fill(DEBUG_NOTE, WIDTH))
    log.info(
        "%s: %s parameters, %.1f M multiply-adds an image; on %s",
        facts["model"],
        f"{facts['parameters']:,}",
        facts["multiply_adds"] / 1e6,
        device_name(trainer),
    )
    announce_splits(facts)


def announce_splits(facts: Mapping[str, Any]) -> None:
    """Says how many images, patients and images of each label each split has."""
    for name in split.SPLITS:
        if name in facts["data"]["splits"]:
            numbers = facts["data"]["splits"][name]
            log.info(
                "%-5s %6s images of %5s patients: %5s NORMAL, %5s PNEUMONIA",
                name,
                *(f"{numbers[k]:,}" for k in ("images", "patients", "NORMAL", "PNEUMONIA")),
            )


def conclude(metrics: Mapping[str, Any], data_set: DataSet, run_dir: Path) -> None:
    """Says what came out, what it means, and where it lies."""
    best, by = metrics["best"], metrics["selection"]
    on = by["on"]
    log.info("")
    log.info(
        "Test split, epoch %d of %d, %s (95 %% intervals):",
        best["epoch"] + 1,
        len(metrics["history"]),
        how_chosen(by),
    )
    show_scores(metrics["assessment"]["scores"])
    for line in train_lines(metrics):
        log.info("  %s", line)
    if on == "test":
        log.info(
            "  Optimistic: the epoch was chosen on the split it is scored on, as in the\n"
            "  paper (F1 NORMAL %.3f). The last epoch has %.3f; protocol=holdout is honest.",
            TINY["f1_normal"],
            metrics["last"]["test"][MAIN],
        )
    notes = (DEBUG_NOTE if metrics["debug"] else "", data_set.note)
    shown = show_end(notes, seconds=metrics["seconds"], run_dir=run_dir)
    log.info("TensorBoard: tensorboard --logdir '%s'", shown)


def train_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Says the train split's scores in evaluation mode, at the best and the last epoch.

    Beside those of the test split they show how far a network has learnt its images by heart.
    """
    best, last = metrics["best"], metrics["last"]
    told = {"the same epoch": best}
    if last["epoch"] != best["epoch"]:
        told[f"the last epoch, {last['epoch'] + 1}"] = last
    lines = ["Train split, without augmentation and dropout:"]
    for when, row in told.items():
        train = row[scoring.TRAIN_EVAL]
        f1, auroc, test = map(_decimal, (train[MAIN], train["auroc"], row["test"][MAIN]))
        lines.append(f"  {when}: F1 NORMAL {f1} (test {test}), AUROC {auroc}")
    return lines


def _decimal(value: float | None) -> str:
    return "?" if value is None or math.isnan(value) else f"{value:.3f}"


def show_scores(found: Mapping[str, Mapping[str, float | None]]) -> None:
    """Says the main scores of a test split, each with its interval.

    Args:
        found: value, low and high by score, as the assessment in metrics.json has them.
    """
    for left, right in SHOWN:
        log.info(
            "  %s   %s", score_text(left, found[left]).ljust(36), score_text(right, found[right])
        )


def score_text(score: str, found: Mapping[str, float | None]) -> str:
    """Returns such as "sensitivity  0.975 (0.960-0.986)"; ? stands for what is not known."""
    value, low, high = (_decimal(found[key]) for key in ("value", "low", "high"))
    return f"{NAMES[score]:12} {value} ({low}-{high})"


def show_end(notes: Iterable[str | None], *, seconds: Mapping[str, float], run_dir: Path) -> Path:
    """Says the notes, the time it took, and the run folder, which it returns as it was shown."""
    for note in notes:
        if note:
            log.warning(textwrap.fill(note, WIDTH, initial_indent="  ", subsequent_indent="  "))
    log.info("Took %.0f s, of which training %.0f s.", seconds["total"], seconds["train"])
    if seconds.get("earlier"):
        log.info("Of these, %.0f s are of the epochs before it was resumed.", seconds["earlier"])
    shown = run_dir.relative_to(Path.cwd()) if run_dir.is_relative_to(Path.cwd()) else run_dir
    log.info("Run folder:  %s", shown)
    return shown


def _digest(paths: "pd.Series[str]") -> str:
    return split.digest(pd.DataFrame({"path": paths, "split": ""}))


def device_name(trainer: pl.Trainer) -> str:
    """Returns the name of what the trainer computes on."""
    if trainer.strategy.root_device.type == "cuda":
        return torch.cuda.get_device_name(trainer.strategy.root_device)
    return f"the CPU, {cli.counted(torch.get_num_threads(), 'thread')}"


def _git_commit() -> str | None:
    """The commit of this project's own repository; None where the package lies in another's."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--show-toplevel", "HEAD"],
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            check=True,
        )
        # untracked: installed into somebody's repository, as pip's --target may do
        tracked = ["git", "ls-files", "--error-unmatch", "__init__.py"]
        subprocess.run(tracked, cwd=PACKAGE, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    top, commit = found.stdout.splitlines()
    return commit if Path(top).resolve() == PACKAGE.parent else None
