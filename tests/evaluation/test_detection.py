"""Scores of boxes by hand, by brute force and against torchvision; intervals by their coverage."""

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou as torchvision_iou

from benchmarks.coverage import draw_boxes
from pneumo.evaluation import detection
from pneumo.evaluation.detection import (
    IOU_THRESHOLDS,
    NO_BOX,
    SCORES,
    assess,
    box_scores,
    challenge_score,
    fit_confidence,
    froc,
    hits,
    image_counts,
    image_scores,
    kept,
    mean_average_precision,
    precision_recall_curve,
    share_intervals,
)
from pneumo.evaluation.metrics import Array

Boxes = list[list[float]]  # of one image
A, B = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0]
NONE: Boxes = []


def of_iou(share: float) -> list[float]:
    """A box whose IoU with A is this."""
    return [0.0, 0.0, 10.0, 10.0 * share]


def random_images(seed: int, number: int = 12) -> tuple[list[Array], list[Array], list[Array]]:
    """True boxes, predicted ones near some of them, and their scores, some of them equal."""
    rng = np.random.default_rng(seed)
    truth, predicted, scores = [], [], []
    for _ in range(number):
        corner = rng.uniform(0, 60, (rng.integers(0, 3), 2))
        truth.append(np.hstack([corner, corner + rng.uniform(10, 30, corner.shape)]))
        near = np.repeat(truth[-1], 2, 0) + rng.normal(0, 2, (2 * len(corner), 4))
        far = rng.uniform(0, 40, (rng.integers(0, 3), 2))
        predicted.append(np.vstack([near, np.hstack([far, far + 20])]))
        scores.append(rng.integers(1, 8, len(predicted[-1])) / 8)
    return truth, predicted, scores


def precision_recall_f1(
    truth: Any, predicted: Any, scores: Any, *, confidence: float
) -> dict[str, float]:
    counts = image_counts(truth, predicted, scores, confidence=confidence)
    return {name: float(value) for name, value in box_scores(*map(np.sum, counts)).items()}


def test_iou_is_that_of_torchvision() -> None:
    truth, predicted, _ = random_images(0)
    for a, b in zip(truth, predicted, strict=True):
        expected = torchvision_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
        np.testing.assert_allclose(detection.box_iou(a, b), expected)
    assert detection.box_iou([[5, 5, 5, 5]], [[5, 5, 5, 5]]) == 0  # without area


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([A], [A], 1.0),
        ([A], NONE, 0.0),
        (NONE, [A], 0.0),
        ([A, B], [A], 1 / 2),  # one hit, one miss
        ([A], [A, B], 1 / 2),  # one hit, one false positive
        ([A, B], [A, [60, 60, 70, 70]], 1 / 3),  # one of each
        ([A], [A, A], 1 / 2),  # a true box is hit once
        ([A], [of_iou(0.41)], 1 / 8),
        ([A], [of_iou(0.5)], 2 / 8),  # above 0.40 and 0.45; 0.50 is not above 0.50
        ([A], [of_iou(0.4)], 0.0),
        ([A], [of_iou(0.76)], 1.0),
        # 0.42 first takes the true box at 0.40, and is a false positive from 0.45 on
        ([A], [of_iou(0.42), of_iou(0.8)], 1 / 2),
    ],
)
def test_challenge_score_of_one_image(truth: Boxes, predicted: Boxes, expected: float) -> None:
    assert challenge_score([truth], [predicted]) == pytest.approx(expected)


def test_images_without_any_box_are_left_out_and_false_alarms_are_not() -> None:
    truth, predicted = [[A], NONE, NONE], [[A], NONE, [B]]
    np.testing.assert_array_equal(image_scores(truth, predicted), [1, np.nan, 0])
    assert challenge_score(truth, predicted) == 1 / 2
    assert np.isnan(challenge_score([NONE], [NONE]))
    assert tuple(np.arange(40, 80, 5) / 100) == IOU_THRESHOLDS  # the published ones


def test_matching_is_in_order_of_the_scores() -> None:
    # The surer box takes the better of two true boxes; the other is left with the worse or none
    two = [[0.0, 0, 10, 10], [0.0, 5, 10, 15]]
    between, low = [0.0, 1, 10, 11], [0.0, 0, 10, 10]
    assert hits(two, [low, between], thresholds=[0.4]).tolist() == [[True, True]]
    assert hits(two[:1], [between, low], thresholds=[0.4]).tolist() == [[True, False]]
    first = image_scores([two[:1]], [[low, of_iou(0.5)]], [[0.9, 0.1]])
    assert image_scores([two[:1]], [[of_iou(0.5), low]], [[0.1, 0.9]]) == first == 1 / 2


@pytest.mark.parametrize("seed", range(4))
def test_fitted_confidence_is_the_best_of_all(seed: int) -> None:
    truth, predicted, scores = random_images(seed)
    fitted = fit_confidence(truth, predicted, scores)

    def at(confidence: float) -> float:
        return challenge_score(truth, *kept(predicted, scores, confidence=confidence))

    candidates = sorted({float(s) for image in scores for s in image})
    best = max(candidates, key=lambda c: (round(at(c), 9), c))
    assert fitted == best


def test_no_confidence_where_no_box_hits() -> None:
    for truth, predicted, scores in (([A], [B], [0.9]), ([A], NONE, NONE), (NONE, [A], [0.5])):
        assert fit_confidence([truth], [predicted], [scores]) == NO_BOX
    assert froc([[A]], [NONE], [NONE]).x.size == 0


def test_precision_recall_f1_by_hand() -> None:
    truth: list[Boxes] = [[A, B], NONE, [A]]
    predicted: list[Boxes] = [[A, [60, 60, 70, 70]], [B], [of_iou(0.45)]]
    scores = [[0.9, 0.8], [0.3], [0.7]]
    for confidence, expected in ((0.5, (2 / 3, 2 / 3, 2 / 3)), (0.3, (2 / 4, 2 / 3, 4 / 7))):
        values = precision_recall_f1(truth, predicted, scores, confidence=confidence)
        assert tuple(values.values()) == pytest.approx(expected)
    values = precision_recall_f1(truth, predicted, scores, confidence=1)
    assert tuple(values.values()) == pytest.approx((np.nan, 0, 0), nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_curves_agree_with_the_scores_at_each_confidence(seed: int) -> None:
    truth, predicted, scores = random_images(seed)
    curve = precision_recall_curve(truth, predicted, scores)
    for recall, precision, confidence in zip(*curve, strict=True):
        values = precision_recall_f1(truth, predicted, scores, confidence=confidence)
        assert (values["recall"], values["precision"]) == pytest.approx((recall, precision))
    false, sensitivity, _ = froc(truth, predicted, scores)
    np.testing.assert_allclose(sensitivity, curve.x)
    number = np.array([sum((s >= c).sum() for s in scores) for c in curve.confidence])
    np.testing.assert_allclose(false, number * (1 - curve.y) / len(truth))


def test_mean_average_precision_is_another_number() -> None:
    pytest.importorskip("pycocotools")
    truth, predicted, scores = [[A], NONE], [[A], [B]], [[0.9], [0.1]]
    assert mean_average_precision(truth, predicted, scores) == pytest.approx(
        {"map": 1, "map_50": 1}
    )
    assert challenge_score(truth, predicted) == 1 / 2
    assert np.isnan(mean_average_precision([NONE], [NONE], [NONE])["map"])
    # three of five found: 61 of the 101 recalls 0, 0.01 ... 1 are not above 0.6
    values = mean_average_precision([[A]] * 5, [[A]] * 3 + [NONE] * 2, [[0.9]] * 3 + [NONE] * 2)
    assert values == pytest.approx({"map": 61 / 101, "map_50": 61 / 101})


def assessed(*images: Any, patient: Any) -> dict[str, Any]:
    """The assessment at a confidence of 0.5, without pycocotools, which imports torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "find_spec", lambda _: None)
        return assess(*images, patient=patient, confidence=0.5)


def test_values_are_those_of_the_scores_at_the_confidence() -> None:
    truth, predicted, scores = random_images(3, 40)
    assessment = assessed(truth, predicted, scores, patient=np.arange(40))
    expected = precision_recall_f1(truth, predicted, scores, confidence=0.5)
    expected["challenge"] = challenge_score(truth, *kept(predicted, scores, confidence=0.5))
    for name, value in expected.items():
        row = assessment["scores"][name]
        assert row["value"] == pytest.approx(value)
        assert row["low"] < value < row["high"]
    assert assessment["true_boxes"] == sum(map(len, truth))
    assert np.isnan(assessment["scores"]["map"]["value"])
    assert "pip install 'pneumo[detection]'" in assessment["why_no_map"]
    assert set(assessment["scores"]) == set(SCORES)
    of_one = assessed(truth, predicted, scores, patient=np.zeros(40))["scores"]["f1"]
    assert of_one["high"] - of_one["low"] > 0.8  # one patient


def test_where_all_boxes_are_found_there_is_a_width() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    assessment = assessed([box] * 15, [box] * 15, [[0.9]] * 15, patient=np.arange(15))
    # 15 of 15: Wilson's lower end 15 / (15 + t^2), t of 14 degrees 2.144787; F1 by 2 J / (1 + J)
    ends = dict.fromkeys(("challenge", "precision", "recall"), 0.765302) | {"f1": 0.867049}
    for name, low in ends.items():
        row = {"value": 1, "low": low, "high": 1}
        assert assessment["scores"][name] == pytest.approx(row, abs=1e-6)


def test_intervals_of_boxes_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hit, _, missed = draw_boxes(np.random.default_rng(1), 100_000)[1]
    truth = hit.sum() / (hit + missed).sum()
    recalls = [share_intervals(*draw_boxes(rng, 15))["recall"] for _ in range(300)]
    assert np.mean([low <= truth <= high for low, high in recalls]) >= 0.93  # was 0.59
