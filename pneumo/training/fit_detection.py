"""One run of a detector from its configuration to its run folder; beside fit, the classifier's."""

import logging
import textwrap
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hydra.utils import instantiate

from pneumo.data import cache
from pneumo.data.base import DataSet
from pneumo.data.detection import BoxDataModule
from pneumo.evaluation.detection import INSTALL, NO_BOX, WHY_NO_BOX
from pneumo.models.detector import Detector
from pneumo.runs import run_folder
from pneumo.runs.metrics import how_chosen
from pneumo.training import detection, metadata, objects, scoring
from pneumo.training.config import Config
from pneumo.training.detection import DetectionTask
from pneumo.training.fit import begin, carry_out, finish, num_steps
from pneumo.training.objects import Parts

log = logging.getLogger("pneumo")

LONGER = (
    "Train for longer (trainer.max_epochs); python -m pneumo.predict shows boxes of a lower "
    "score with --threshold"
)
NO_MAP = f"The mean average precision is left out: it needs pycocotools; {INSTALL}"


def fit(config: dict[str, Any], run_dir: Path, *, parts: Parts, start: float | None = None) -> None:
    """Trains by ``config`` (plain, resolved, checked), or resumes the run in ``run_dir``.

    Writes the files of a classifier, and boxes.csv. ``start``, errors: see fit.fit.
    """
    run = begin(config, run_dir, trainer=parts.trainer, with_boxes=True, start=start)
    table = run.table
    if not find_spec("pycocotools"):
        log.warning(textwrap.fill(NO_MAP, metadata.WIDTH))
    arithmetic = {"device": run.device.type, "threads": torch.get_num_threads()}
    assert isinstance(parts.network, Detector)
    module, data = build(config, parts.network, table, run.images, arithmetic=arithmetic)
    facts = metadata.describe(
        Config.model_validate(config),
        run.data_set,
        table,
        run.split_sha256,
        module.network,
        run.trainer,
    )
    facts |= {"task": run_folder.DETECTION, "boxes": num_boxes(table)}
    carry_out(run, module, data, facts)
    splits = ["train", *data.eval_splits]
    best = detection.score_checkpoint(module, data, run_dir / run_folder.BEST, splits=splits)
    last = scoring.only(best, "train")  # the same weights if the last epoch is the best
    if best.epoch < len(module.history) - 1:
        path = run_dir / run_folder.LAST
        last = scoring.only(
            detection.score_checkpoint(module, data, path, splits=["train"]), "train"
        )
    predictions = detection.predictions(best, table, splits=data.eval_splits)
    run.writer.write_table(run_folder.PREDICTIONS, predictions)
    boxes = detection.box_table(best, table, splits=data.eval_splits)
    run.writer.write_table(run_folder.BOXES, boxes)
    facts |= {"confidence": best.confidence}  # by the challenge's score on the validation split
    metrics = finish(run, module, data, facts, best=best, last=last, predictions=predictions)
    conclude(metrics, run.data_set, run_dir)


def build(
    config: Mapping[str, Any],
    network: Detector,
    table: pd.DataFrame,
    images: cache.Cache,
    *,
    arithmetic: Mapping[str, Any] | None = None,
) -> tuple[DetectionTask, BoxDataModule]:
    """Returns the module that trains the detector of ``config``, and its batches.

    Args:
        config: plain, resolved.
        network: is trained.
        table: split, with boxes.
        images: of all rows of the table.
        arithmetic: see Task.
    """
    data = BoxDataModule(
        table,
        images,
        aspect=config["data"]["aspect"],
        batch_size=config["data"]["batch_size"],
        augment=instantiate(config["augment"]),
        seed=config["seed"],
        num_workers=config["data"]["num_workers"],
        overfit_batches=config["trainer"].get("overfit_batches"),
    )
    module = DetectionTask(
        network,
        optimizer=instantiate(config["optimizer"]),
        schedule=instantiate(objects.schedule_settings(config, num_steps=num_steps(config, data))),
        interval=config["schedule"].get("interval", "epoch"),
        plateau_on=config["schedule"].get("monitor"),
        eval_splits=data.eval_splits,
        seed=config["seed"],
        arithmetic=arithmetic,
    )
    return module, data


def num_boxes(table: pd.DataFrame) -> dict[str, int]:
    """Returns the number of true boxes of each split."""
    return {
        str(k): int(v) for k, v in table["boxes"].map(len).groupby(table["split"]).sum().items()
    }


def conclude(metrics: Mapping[str, Any], data_set: DataSet, run_dir: Path) -> None:
    """Logs the scores, their meaning, and where the run lies."""
    best, confidence = metrics["best"], metrics["confidence"]
    none = confidence == NO_BOX
    log.info("")
    log.info(
        "Epoch %d of %d, %s; %s:",
        *(best["epoch"] + 1, len(metrics["history"])),
        how_chosen(metrics["selection"]),
        "no box counts" if none else f"boxes of a score of {confidence:.2f} and more count",
    )
    for split in ("val", "test"):
        log.info(
            "  %-4s  challenge score %.3f   mean average precision %.3f   AUROC of images %.3f",
            *(split, best[split]["challenge"], best[split]["map"], best[split]["auroc"]),
        )
    if none:
        log.warning(textwrap.fill(f"No box counts: {WHY_NO_BOX}. {LONGER}", metadata.WIDTH))
    notes = (metadata.DEBUG_NOTE if metrics["debug"] else "", data_set.note)
    shown = metadata.show_end(notes, seconds=metrics["seconds"], run_dir=run_dir)
    log.info("TensorBoard: tensorboard --logdir '%s'", shown)
