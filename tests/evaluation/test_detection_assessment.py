from typing import Any

import numpy as np
import pytest

from pneumo.evaluation import detection
from pneumo.evaluation.detection_assessment import SCORES, assess
from tests.evaluation.test_detection import random_images


def assessed(*, patient: Any) -> dict[str, Any]:
    truth, predicted, scores = random_images(3, 40)
    return assess(truth, predicted, scores, patient=patient, confidence=0.5)


def test_values_are_those_of_the_scores_at_the_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "find_spec", lambda _: None)  # seconds of importing torch
    truth, predicted, scores = random_images(3, 40)
    found = assessed(patient=np.arange(40))
    expected = detection.precision_recall_f1(truth, predicted, scores, confidence=0.5)
    expected["auroc"] = detection.image_auroc(truth, scores)
    expected["challenge"] = detection.challenge_score(
        truth, *detection.kept(predicted, scores, confidence=0.5)
    )
    for name, value in expected.items():
        one = found["scores"][name]
        assert one["value"] == pytest.approx(value)
        assert one["low"] < value < one["high"]
    assert found["true_boxes"] == sum(map(len, truth))


def test_without_pycocotools_there_is_no_map_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detection, "find_spec", lambda _: None)
    found = assessed(patient=np.arange(40))
    assert np.isnan(found["scores"]["map"]["value"])
    assert "pip install 'pneumo[detection]'" in found["why_no_map"]
    assert set(found["scores"]) == set(SCORES)


def test_intervals_are_over_patients_and_not_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "find_spec", lambda _: None)
    found = assessed(patient=np.zeros(40))["scores"]["f1"]
    assert found["low"] == pytest.approx(found["value"]) == pytest.approx(found["high"])
    by_image, by_pair = (
        assessed(patient=np.arange(40) // size)["scores"]["f1"] for size in (1, 10)
    )
    assert by_pair["low"] != by_image["low"]
