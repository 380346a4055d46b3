import json
from pathlib import Path

import pytest

from pneumo.evaluation.detection import challenge_score, fit_confidence, kept
from pneumo.runs.run import Run
from tests.conftest import Call, Refused
from tests.detection_runs import make_detector


def test_a_detector_is_scored_on_its_test_split(tmp_path: Path, call: Call) -> None:
    folder = make_detector(tmp_path / "run", confidence=0.4)
    shown = call("evaluate", folder, "--out", tmp_path / "scores.json").out
    assert max(map(len, shown.splitlines())) <= 80
    scores = json.loads((tmp_path / "scores.json").read_text())
    test = Run.open(folder, name="run").boxes.of_split("test")
    expected = challenge_score(test.truth, *kept(test.predicted, test.scores, confidence=0.4))
    (member,) = scores["members"]
    challenge = member["scores"]["challenge"]
    assert challenge["value"] == pytest.approx(expected)
    assert challenge["low"] < expected < challenge["high"]
    assert scores["scored_on"]["images"] == len(test.images)
    assert scores["scored_on"]["patients"] == test.images["patient"].nunique()
    assert f"{expected:.3f}" in shown
    assert "0.4000" in shown
    assert scores["fused"] == []


def test_two_detectors_are_fused_with_weights_of_validation(tmp_path: Path, call: Call) -> None:
    folders = [make_detector(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    shown = call("evaluate", *folders, "--out", tmp_path / "scores.json").out
    assert "\nnon-max suppression " in shown
    scores = json.loads((tmp_path / "scores.json").read_text())
    fused = {entry["method"]: entry for entry in scores["fused"]}
    weights = fused["nms"]["weights"]
    on_val = [_best_on_val(folder) for folder in folders]
    assert weights == pytest.approx([score / sum(on_val) for score in on_val])
    assert fused["nms"]["confidence"] != scores["members"][0]["confidence"]


def _best_on_val(folder: Path) -> float:
    part = Run.open(folder, name="run").boxes.of_split("val")
    confidence = fit_confidence(part.truth, part.predicted, part.scores)
    return challenge_score(part.truth, *kept(part.predicted, part.scores, confidence=confidence))


def test_what_cannot_be_scored_is_refused_and_fusing_needs_validation_images(
    tmp_path: Path, call: Call, refused: Refused
) -> None:
    run = make_detector(tmp_path / "run")
    for option, *value in (
        ("--data", "elsewhere"),
        ("--checkpoint", "last"),
        ("--prevalence", "0.1"),
        ("--allow-overlap",),
    ):
        refused(f"error: {option} needs classifiers", "evaluate", run, option, *value)
    other = make_detector(tmp_path / "classifier", task="classification")
    refused("runs must be of one task", "evaluate", run, other)
    untested = make_detector(tmp_path / "untested", parts=("train", "val"))
    message = f"a run must have test images to be scored on; {untested} has none."
    refused(message, "evaluate", untested)
    parts = ("train", "test")
    pair = [make_detector(tmp_path / name, seed=n, parts=parts) for n, name in enumerate("ab")]
    text = call("evaluate", *pair).text
    assert "no non-max suppression: no image of the val splits is shared" in text
