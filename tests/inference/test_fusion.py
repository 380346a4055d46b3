import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo.evaluation.detection import challenge_score, fit_confidence, kept
from pneumo.inference.fusion import METHODS, common, fit, fuse, weighted_box_fusion
from pneumo.runs.run import Run
from pneumo.runs.tables import ImageBoxes
from tests.conftest import Call, Refused
from tests.detection_runs import make_detector

needs_wbf = pytest.mark.skipif(
    find_spec("ensemble_boxes") is None, reason="the extra detection is not installed"
)
A, NEAR, FAR = [0.0, 0.0, 100.0, 100.0], [10.0, 0.0, 110.0, 100.0], [300.0, 300.0, 350.0, 350.0]
LINE, POINT, NONE = [5.0, 0.0, 5.0, 9.0], [7.0, 7.0, 7.0, 7.0], np.zeros((0, 4))


def run(folder: Path) -> Run:
    return Run.open(folder, name=folder.name)


WBF, NMS = METHODS


@pytest.mark.parametrize(
    ("method", "boxes", "scores", "weights", "fused_boxes", "fused_scores"),
    [
        (WBF, [[A], [NEAR]], [[0.6], [0.6]], [1, 1], [[5, 0, 105, 100]], [0.6]),
        (WBF, [[A], [NEAR]], [[0.6], [0.6]], [3, 1], [[2.5, 0, 102.5, 100]], [0.6]),
        (WBF, [[A, FAR], [A]], [[0.8, 0.8], [0.8]], [1, 1], [A, FAR], [0.8, 0.4]),  # of one alone
        (WBF, [[A, FAR], [NEAR]], [[0.0, 0.8], [0.0]], [1, 1], [FAR], [0.4]),  # score 0: left out
        (WBF, [[A], [NEAR]], [[0.0], [0.0]], [1, 1], NONE, []),
        (WBF, [[], []], [[], []], [1, 1], NONE, []),
        (
            WBF,
            [[LINE, POINT], [LINE]],
            [[0.9, 0.8], [0.7]],
            [1, 1],
            NONE,
            [],
        ),  # without area: left out
        (WBF, [[A, LINE], [A]], [[0.8, 0.9], [0.8]], [1, 1], [A], [0.8]),
        (
            WBF,
            [[A, FAR], [NEAR]],
            [[0.7, 0.2], [0.9]],
            [1, 0],
            [A, FAR],
            [0.7, 0.2],
        ),  # weight 0, too
        (NMS, [[A, FAR], [NEAR]], [[0.7, 0.2], [0.9]], [1, 1], [NEAR, FAR], [0.9, 0.2]),
        (NMS, [[A, FAR], [NEAR]], [[0.7, 0.2], [0.9]], [2, 1], [A, FAR], [0.7, 0.2]),  # 0.45
        (NMS, [[A, FAR], [NEAR]], [[0.7, 0.2], [0.9]], [1, 0], [A, FAR], [0.7, 0.2]),
        (NMS, [[LINE, POINT], [LINE]], [[0.9, 0.8], [0.7]], [1, 1], NONE, []),
        (NMS, [[], []], [[], []], [1, 1], NONE, []),
    ],
)
def test_boxes_that_overlap_become_their_weighted_mean_or_that_of_the_highest_score(
    method: str, boxes: Any, scores: Any, weights: Any, fused_boxes: Any, fused_scores: Any
) -> None:
    if method == WBF and find_spec("ensemble_boxes") is None:
        pytest.skip("the extra detection is not installed")
    fused = METHODS[method](boxes, scores, weights=weights)
    np.testing.assert_allclose(fused[0], fused_boxes, atol=1e-3)
    np.testing.assert_allclose(fused[1], fused_scores, atol=1e-6)


@needs_wbf
def test_fused_boxes_of_two_runs_score_better_than_both(tmp_path: Path) -> None:
    runs = [
        run(make_detector(tmp_path / str(seed), seed=seed, skill=9, images=600)) for seed in (1, 2)
    ]
    about = fit(runs)
    score = best_score(fuse(common(runs, "test"), weights=about["weights"], method=WBF))
    assert all(score > best_score(one.boxes.of_split("test")) for one in runs)
    assert about["val_images"] == len(runs[0].boxes.of_split("val").images)


def best_score(boxes: ImageBoxes) -> float:
    confidence = fit_confidence(boxes.truth, boxes.predicted, boxes.scores)
    found = kept(boxes.predicted, boxes.scores, confidence=confidence)
    return challenge_score(boxes.truth, *found)


def test_images_that_a_member_was_trained_on_are_left_out_and_counted(tmp_path: Path) -> None:
    first = run(make_detector(tmp_path / "a"))
    # six turns: of the patients that a tests on, b trains on half and tests on half
    turns = ("train", "val", "test", "train", "val", "train")
    second = run(make_detector(tmp_path / "b", seed=1, parts=turns))
    found = common([first, second], "test")
    trained = {"p005", "p011", "p017", "p023", "p029", "p035", "p041"}
    own = first.boxes.of_split("test").images
    assert set(found[0].images["patient"]) == set(own["patient"]) - trained
    assert len(found[0].images) == len(own) - 2 * len(trained) > 0


def test_runs_without_common_images_or_of_other_truth_are_refused(tmp_path: Path) -> None:
    runs = [run(make_detector(tmp_path / name)) for name in "ab"]
    other = run(make_detector(tmp_path / "c", parts=("test", "val", "train")))
    with pytest.raises(ValueError, match="no image of the test splits is shared by all runs"):
        common([runs[0], other], "test")
    test = runs[1].boxes.truth
    test[next(i for i, boxes in enumerate(test) if len(boxes))][0] += 5
    with pytest.raises(ValueError, match="must have the same true boxes"):
        [common(runs, split) for split in ("val", "test")]


def test_without_the_extra_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensemble_boxes", None)
    with pytest.raises(ValueError, match=r"needs ensemble_boxes; install it with .*detection"):
        weighted_box_fusion([[A], [NEAR]], [[0.6], [0.6]], weights=[1, 1])


def test_a_detector_is_scored_on_its_test_split(tmp_path: Path, call: Call) -> None:
    folder = make_detector(tmp_path / "run", confidence=0.4)
    shown = call("evaluate", folder, "--out", tmp_path / "scores.json").out
    assert max(map(len, shown.splitlines())) <= 80
    scores = json.loads((tmp_path / "scores.json").read_text())
    test = run(folder).boxes.of_split("test")
    expected = challenge_score(test.truth, *kept(test.predicted, test.scores, confidence=0.4))
    (member,) = scores["members"]
    challenge = member["scores"]["challenge"]
    assert challenge["value"] == pytest.approx(expected)
    assert challenge["low"] < expected < challenge["high"]
    assert scores["scored_on"]["images"] == len(test.images)
    assert scores["scored_on"]["patients"] == test.images["patient"].nunique()
    assert f"{expected:.3f}" in shown
    assert "0.4000" in shown
    assert scores["fused"] == {}


@needs_wbf
def test_two_detectors_are_fused_with_weights_of_validation(tmp_path: Path, call: Call) -> None:
    folders = [make_detector(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    shown = call("evaluate", *folders, "--out", tmp_path / "scores.json").out
    assert all(f"\n{method} " in shown for method in METHODS)
    scores = json.loads((tmp_path / "scores.json").read_text())
    on_val = [best_score(run(folder).boxes.of_split("val")) for folder in folders]
    assert scores["fused"][WBF]["weights"] == pytest.approx(
        [score / sum(on_val) for score in on_val]
    )
    assert scores["fused"][WBF]["confidence"] != scores["members"][0]["confidence"]


def test_what_cannot_be_scored_is_refused_and_fusing_needs_validation_images(
    tmp_path: Path, call: Call, refused: Refused
) -> None:
    detector = make_detector(tmp_path / "run")
    for option, *value in (
        ("--data", "elsewhere"),
        ("--checkpoint", "last"),
        ("--prevalence", "0.1"),
        ("--allow-overlap",),
    ):
        refused(f"error: {option} needs classifiers", "evaluate", detector, option, *value)
    other = make_detector(tmp_path / "classifier", task="classification")
    refused("runs must be of one task", "evaluate", detector, other)
    untested = make_detector(tmp_path / "untested", parts=("train", "val"))
    message = f"a run must have test images to be scored on; {untested} has none."
    refused(message, "evaluate", untested)
    parts = ("train", "test")
    pair = [make_detector(tmp_path / name, seed=n, parts=parts) for n, name in enumerate("ab")]
    text = call("evaluate", *pair).text
    assert "no weighted box fusion: no image of the val splits is shared" in text
