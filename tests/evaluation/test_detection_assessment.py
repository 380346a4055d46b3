"""The assessment of a detector: values, intervals and their coverage."""

from typing import Any

import numpy as np
import pytest

from pneumo.evaluation import detection
from pneumo.evaluation.detection import SCORES, assess, share_intervals
from tests.conftest import Patch
from tests.evaluation.test_detection import precision_recall_f1, random_images


@pytest.fixture(autouse=True)
def without_pycocotools(monkeypatch: Patch) -> None:
    monkeypatch.setattr(detection, "find_spec", lambda _: None)  # it would import torch: seconds


def assessed(*, patient: Any) -> dict[str, Any]:
    truth, predicted, scores = random_images(3, 40)
    return assess(truth, predicted, scores, patient=patient, confidence=0.5)


def test_values_are_those_of_the_scores_at_the_confidence() -> None:
    truth, predicted, scores = random_images(3, 40)
    assessment = assessed(patient=np.arange(40))
    expected = precision_recall_f1(truth, predicted, scores, confidence=0.5)
    expected["challenge"] = detection.challenge_score(
        truth, *detection.kept(predicted, scores, confidence=0.5)
    )
    for name, value in expected.items():
        row = assessment["scores"][name]
        assert row["value"] == pytest.approx(value)
        assert row["low"] < value < row["high"]
    assert assessment["true_boxes"] == sum(map(len, truth))
    assert np.isnan(assessment["scores"]["map"]["value"])
    assert "pip install 'pneumo[detection]'" in assessment["why_no_map"]
    assert set(assessment["scores"]) == set(SCORES)


def test_where_all_boxes_are_found_there_is_a_width() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    assessment = assess([box] * 15, [box] * 15, [[0.9]] * 15, patient=np.arange(15), confidence=0.5)
    # 15 of 15: Wilson's lower end 15 / (15 + t^2), t of 14 degrees 2.144787; F1 by 2 J / (1 + J)
    ends = dict.fromkeys(("challenge", "precision", "recall"), 0.765302) | {"f1": 0.867049}
    for name, low in ends.items():
        row = {"value": 1, "low": low, "high": 1}
        assert assessment["scores"][name] == pytest.approx(row, abs=1e-6)


def test_intervals_of_boxes_cover_as_often_as_they_say() -> None:
    from benchmarks.coverage import draw_boxes

    rng = np.random.default_rng(0)
    hit, _, missed = draw_boxes(np.random.default_rng(1), 100_000)[1]
    truth = hit.sum() / (hit + missed).sum()
    recalls = [share_intervals(*draw_boxes(rng, 15))["recall"] for _ in range(300)]
    assert np.mean([low <= truth <= high for low, high in recalls]) >= 0.93  # was 0.59


def test_intervals_are_over_patients_and_not_images() -> None:
    f1 = assessed(patient=np.zeros(40))["scores"]["f1"]
    assert f1["high"] - f1["low"] > 0.8  # one patient tells nothing
    by_image, by_pair = (
        assessed(patient=np.arange(40) // size)["scores"]["f1"] for size in (1, 10)
    )
    assert by_pair["low"] != by_image["low"]
