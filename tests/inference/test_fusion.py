import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo.evaluation.detection import challenge_score, fit_confidence, kept
from pneumo.inference.fusion import (
    METHODS,
    common,
    fit,
    fuse,
    non_maximum_suppression,
    weighted_box_fusion,
)
from pneumo.runs.run import Run
from pneumo.runs.tables import ImageBoxes
from tests.detection_runs import make_detector

needs_wbf = pytest.mark.skipif(
    find_spec("ensemble_boxes") is None, reason="the extra detection is not installed"
)
A, NEAR, FAR = [0.0, 0.0, 100.0, 100.0], [10.0, 0.0, 110.0, 100.0], [300.0, 300.0, 350.0, 350.0]


def run(folder: Path) -> Run:
    return Run.open(folder, name=folder.name)


@needs_wbf
def test_boxes_that_overlap_become_their_weighted_mean() -> None:
    for weights, expected in (([1, 1], [5, 0, 105, 100]), ([3, 1], [2.5, 0, 102.5, 100])):
        boxes, scores = weighted_box_fusion([[A], [NEAR]], [[0.6], [0.6]], weights=weights)
        np.testing.assert_allclose(boxes, [expected], atol=1e-3)
        np.testing.assert_allclose(scores, [0.6], atol=1e-6)


@needs_wbf
@pytest.mark.parametrize(
    ("boxes", "scores", "fused_boxes", "fused_scores"),
    [
        ([[A, FAR], [A]], [[0.8, 0.8], [0.8]], [A, FAR], [0.8, 0.4]),  # of one member alone
        ([[A, FAR], [NEAR]], [[0.0, 0.8], [0.0]], [FAR], [0.4]),  # those of score 0 are left out
        ([[A], [NEAR]], [[0.0], [0.0]], np.zeros((0, 4)), []),
    ],
)
def test_a_box_of_one_member_loses_score_and_one_of_score_0_does_not_count(
    boxes: Any, scores: Any, fused_boxes: Any, fused_scores: Any
) -> None:
    found = weighted_box_fusion(boxes, scores, weights=[1, 1])
    np.testing.assert_allclose(found[0], fused_boxes, atol=1e-3)
    np.testing.assert_allclose(found[1], fused_scores, atol=1e-6)


def test_suppression_keeps_the_box_of_the_highest_score() -> None:
    boxes, scores = non_maximum_suppression([[A, FAR], [NEAR]], [[0.7, 0.2], [0.9]], weights=[1, 1])
    np.testing.assert_array_equal(boxes, [NEAR, FAR])
    np.testing.assert_allclose(scores, [0.9, 0.2])
    boxes, _ = non_maximum_suppression([[A, FAR], [NEAR]], [[0.7, 0.2], [0.9]], weights=[2, 1])
    np.testing.assert_array_equal(boxes[0], A)  # 0.9 counts as 0.45


@pytest.mark.parametrize("method", [pytest.param("wbf", marks=needs_wbf), "nms"])
def test_no_boxes_fuse_to_none_and_those_without_area_are_left_out(method: str) -> None:
    line, point = [5.0, 0.0, 5.0, 9.0], [7.0, 7.0, 7.0, 7.0]
    for given, of in (([[], []], [[], []]), ([[line, point], [line]], [[0.9, 0.8], [0.7]])):
        boxes, scores = METHODS[method](given, of, weights=[1, 1])
        assert (boxes.shape, scores.shape) == ((0, 4), (0,))
    boxes, scores = METHODS[method]([[A, line], [A]], [[0.8, 0.9], [0.8]], weights=[1, 1])
    np.testing.assert_allclose(boxes, [A], atol=1e-3)
    np.testing.assert_allclose(scores, [0.8], atol=1e-6)


@needs_wbf
def test_fused_boxes_of_two_runs_score_better_than_both(tmp_path: Path) -> None:
    runs = [
        run(make_detector(tmp_path / str(seed), seed=seed, skill=9, images=600)) for seed in (1, 2)
    ]
    about = fit(runs, method="wbf")
    score = best_score(fuse(common(runs, "test"), weights=about["weights"], method="wbf"))
    assert all(score > best_score(one.boxes.of_split("test")) for one in runs)
    assert about["val_images"] == len(runs[0].boxes.of_split("val").images)


def best_score(boxes: ImageBoxes) -> float:
    confidence = fit_confidence(boxes.truth, boxes.predicted, boxes.scores)
    found = kept(boxes.predicted, boxes.scores, confidence=confidence)
    return challenge_score(boxes.truth, *found)


def test_a_member_of_weight_0_is_left_out(tmp_path: Path) -> None:
    runs = [run(make_detector(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    test = common(runs, "test")
    alone = fuse(test, weights=[1, 0], method="nms")
    with_none = fuse(test[:1], weights=[1], method="nms")
    for a, b in zip(alone.predicted, with_none.predicted, strict=True):
        np.testing.assert_array_equal(a, b)


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
