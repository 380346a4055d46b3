import json
from pathlib import Path

import pytest

from pneumo import evaluate
from pneumo.evaluation.detection import challenge_score, fit_confidence, kept
from pneumo.runs.run import Run
from tests.detection_runs import make_detector

Capture = pytest.CaptureFixture[str]


def call(*arguments: str | Path) -> int:
    return evaluate.main(list(map(str, arguments)))


def test_a_detector_is_scored_on_its_test_split(tmp_path: Path, capsys: Capture) -> None:
    folder = make_detector(tmp_path / "run", confidence=0.4)
    assert call(folder, "--out", tmp_path / "scores.json") == 0
    shown = capsys.readouterr().out
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


def test_two_detectors_are_fused_with_weights_of_validation(
    tmp_path: Path, capsys: Capture
) -> None:
    folders = [make_detector(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    assert call(*folders, "--out", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    fused = {entry["method"]: entry for entry in scores["fused"]}
    weights = fused["nms"]["weights"]
    on_val = [_best_on_val(folder) for folder in folders]
    assert weights == pytest.approx([score / sum(on_val) for score in on_val])
    assert fused["nms"]["confidence"] != scores["members"][0]["confidence"]
    assert "\nnon-max suppression " in capsys.readouterr().out


def _best_on_val(folder: Path) -> float:
    part = Run.open(folder, name="run").boxes.of_split("val")
    confidence = fit_confidence(part.truth, part.predicted, part.scores)
    return challenge_score(part.truth, *kept(part.predicted, part.scores, confidence=confidence))


@pytest.mark.parametrize(
    "option",
    [
        ("--data", "elsewhere"),
        ("--checkpoint", "last"),
        ("--prevalence", "0.1"),
        ("--allow-overlap",),
    ],
)
def test_options_of_classifiers_are_refused(
    tmp_path: Path, option: tuple[str, ...], capsys: Capture
) -> None:
    assert call(make_detector(tmp_path / "run"), *option) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {option[0]} needs classifiers. Leave it out; a detector is")
    assert shown.count("\n") == 1


def test_detectors_and_classifiers_do_not_mix(tmp_path: Path, capsys: Capture) -> None:
    other = make_detector(tmp_path / "classifier", task="classification")
    assert call(make_detector(tmp_path / "run"), other) == 2
    assert "runs must be of one task" in capsys.readouterr().err


def test_without_test_images_nothing_is_scored(tmp_path: Path, capsys: Capture) -> None:
    folder = make_detector(tmp_path / "run", parts=("train", "val"))
    assert call(folder) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"error: a run must have test images to be scored on; {folder} has none.")


def test_without_validation_images_nothing_is_fused(tmp_path: Path, capsys: Capture) -> None:
    folders = [
        make_detector(tmp_path / name, seed=seed, parts=("train", "test"))
        for seed, name in enumerate("ab")
    ]
    assert call(*folders) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "no non-max suppression: no image of the val splits is shared" in shown
