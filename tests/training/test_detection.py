import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pneumo.data.boxes import SIDES
from pneumo.evaluation.detection import NO_BOX
from pneumo.training import detection
from pneumo.training.callbacks import draw
from pneumo.training.config import BOX_SCORES, SCORES
from pneumo.training.detection import Detection, Detections
from tests.conftest import Command
from tests.test_train import metrics
from tests.training.test_resume import whole_and_resumed

TINY = ("model.backbone=mobilenet_v3_large", "data.image_size=64", "num_threads=1")
ON_CPU = (*TINY, "trainer.accelerator=cpu")
NONE = np.empty((0, 4))
BOX, OTHER = np.array([[0.0, 0, 10, 10]]), np.array([[20.0, 20, 30, 40]])


@pytest.fixture
def detections() -> Detections:
    """Four images: a hit and a low false box, a miss, a false box, nothing."""
    return Detections(
        rows=[3, 0, 1, 2],
        truth=[BOX, OTHER, NONE, NONE],
        boxes=[np.vstack([BOX, OTHER]), NONE, OTHER, NONE],
        scores=[np.array([0.9, 0.2]), np.empty(0), np.array([0.4]), np.empty(0)],
        losses=[(3, {"loss_a": 1.0, "loss_b": 0.0}), (1, {"loss_a": 5.0, "loss_b": 1.0})],
    )


def test_losses_are_means_over_images(detections: Detections) -> None:
    assert detections.mean_losses() == {"loss": 2.25, "loss_a": 2.0, "loss_b": 0.25}


def test_scores_at_a_confidence(detections: Detections) -> None:
    assert detection.fixed_confidence(detections) == pytest.approx(0.9)
    sure, all_boxes = (detection.score(detections, confidence=c) for c in (0.9, 0.1))
    assert sure["challenge"] == pytest.approx(1 / 2)  # 1 and 0
    assert all_boxes["challenge"] == pytest.approx(1 / 2 / 3)  # a half, 0 and 0
    assert {k: sure[k] for k in ("auroc", "loss")} == {k: all_boxes[k] for k in ("auroc", "loss")}
    # highest scores 0.9 and 0 with, 0.4 and 0 without an opacity
    assert sure["auroc"] == pytest.approx(2.5 / 4)
    assert sure["confusion"] == [[2, 0], [1, 1]]


def test_scores_are_those_that_may_choose_the_epoch(detections: Detections) -> None:
    known = {name for name in detection.score(detections, confidence=0.5) if "loss_" not in name}
    assert known == {*SCORES, *BOX_SCORES, "confusion"}


def test_tables_of_a_run(detections: Detections) -> None:
    table = pd.DataFrame(
        {"path": list("abcd"), "patient": list("wxyz"), "label": "NORMAL", "split": "val"}
    ).assign(group=list("wxyw"))  # z has an image of w
    predictions = detection.predictions(detections, table)
    assert predictions["path"].tolist() == list("abcd")
    assert predictions["patient"].tolist() == list("wxyw")
    assert predictions["p_pneumonia"].tolist() == [0, 0.4, 0, 0.9]
    boxes = detection.box_table(detections, table)
    assert list(boxes.columns) == ["path", "patient", "split", "kind", "score", *SIDES]
    assert boxes["path"].tolist() == ["a", "b", "d", "d", "d"]
    assert boxes["patient"].tolist() == ["w", "x", "w", "w", "w"]
    assert boxes["kind"].tolist() == ["truth", "predicted", "truth", "predicted", "predicted"]
    assert boxes["score"].fillna(-1).tolist() == [-1, 0.4, -1, 0.9, 0.2]
    assert boxes[SIDES].to_numpy().tolist()[-1] == OTHER[0].tolist()


def test_pictures_have_both_kinds_of_boxes() -> None:
    image = torch.zeros(1, 64, 64, dtype=torch.uint8)
    true, boxes = torch.tensor([[4.0, 4, 20, 20]]), torch.tensor([[30.0, 30, 60, 60], [1, 1, 9, 9]])
    picture = draw(image, true, boxes, torch.tensor([0.8, 0.1]), confidence=0.5)
    assert picture.shape == (3, 256, 256)
    assert picture[:, 16, 40].tolist() == [0, 255, 0]
    assert picture[:, 240, 200].tolist() == [255, 0, 0]
    assert picture[:, 36, 20].tolist() == [0, 0, 0]  # of the unsure one nothing
    nothing = draw(image, torch.empty(0, 4), boxes, torch.zeros(2), confidence=0.5)
    assert not nothing.any()


def test_a_detector_whose_boxes_do_not_count_is_reported() -> None:
    scored = {"challenge": 0.0, "map": 0.0, "auroc": 0.5}
    metrics = {
        "best": {"epoch": 0, "val": scored, "test": scored},
        "history": [{}],
        "selection": {"monitor": "challenge", "on": "val"},
    }
    none, some = (
        " ".join(" ".join(Detection.conclusion(metrics | {"confidence": confidence})).split())
        for confidence in (NO_BOX, 0.25)
    )
    assert "; no box counts:" in none
    assert "and more count" not in none
    assert "Train for longer (trainer.max_epochs)" in none
    assert "boxes of a score of 0.25 and more count:" in some
    assert "no box" not in some.lower()


@pytest.mark.slow
def test_data_without_boxes(train: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("task=detection", "data=kermany", "trainer=one_batch", *ON_CPU) == 2
    assert "task=detection needs data with boxes" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_from_the_challenges_files_and_resumed(
    train: Command, rsna_set: Path, tmp_path: Path
) -> None:
    data = ("task=detection", "data=rsna", f"data.root={rsna_set}", "trainer.max_epochs=2")
    arguments = (*data, "model=retinanet", *ON_CPU, "data.batch_size=5")
    whole, resumed = whole_and_resumed(train, *arguments, epoch=1)
    assert whole == resumed
    run = tmp_path / "whole"
    content = metrics(run)
    assert content["task"] == "detection"
    assert content["selection"] == {"monitor": "challenge", "on": "val"}
    assert 0 <= content["confidence"] <= 1
    for row in content["history"]:
        assert math.isfinite(row["train"]["loss"])
        assert {"challenge", "map", "auroc", "loss"} <= set(row["val"]) & set(row["test"])
    _check_boxes(run, content)
    history = pd.read_csv(run / "history.csv")
    assert {"val/challenge", "test/auroc", "train/loss_classification"} <= set(history)


def _check_boxes(run: Path, content: dict[str, Any]) -> None:
    """Checks that boxes.csv, predictions.csv and metrics.json agree."""
    boxes, predictions = pd.read_csv(run / "boxes.csv"), pd.read_csv(run / "predictions.csv")
    highest = boxes[boxes["kind"] == "predicted"].groupby("path")["score"].max()
    probability = predictions.set_index("path")["p_pneumonia"]
    assert np.allclose(highest.reindex(probability.index, fill_value=0), probability)
    true = boxes[boxes["kind"] == "truth"]
    positive = predictions.loc[predictions["label"] == "PNEUMONIA", "path"]
    assert set(true["path"]) == set(positive)
    counted = true.groupby("split").size().to_dict()
    assert counted == {k: v for k, v in content["boxes"].items() if k != "train"}
    assert (boxes["x_max"] > boxes["x_min"]).all()


@pytest.mark.slow
def test_mask_rcnn_trains(train: Command, rsna_set: Path, tmp_path: Path) -> None:
    data = ("task=detection", "data=rsna", f"data.root={rsna_set}", "trainer=one_batch")
    assert train(*data, "model=maskrcnn", *ON_CPU, "hydra.run.dir=run") == 0
    assert "loss_mask" in metrics(tmp_path / "run")["best"]["train"]
