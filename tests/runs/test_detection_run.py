from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumo.runs import detection_run
from tests.detection_runs import make_detector


def test_boxes_are_those_of_the_file_image_by_image(tmp_path: Path) -> None:
    folder = make_detector(tmp_path / "run")
    boxes = detection_run.read(folder, name="run").boxes
    table = pd.read_csv(folder / "boxes.csv")
    assert boxes.images["path"].is_monotonic_increasing
    assert set(boxes.images["split"]) == {"val", "test"}
    assert sum(map(len, boxes.truth)) == (table["kind"] == "truth").sum()
    for path, predicted, scores in zip(
        boxes.images["path"], boxes.predicted, boxes.scores, strict=True
    ):
        own = table[(table["path"] == path) & (table["kind"] == "predicted")]
        np.testing.assert_array_equal(predicted, own[detection_run.CORNERS].to_numpy())
        np.testing.assert_array_equal(scores, own["score"])
        assert predicted.shape == (len(scores), 4)


def test_only_a_finished_detector_is_one(tmp_path: Path) -> None:
    assert detection_run.is_detection(make_detector(tmp_path / "run"))
    assert not detection_run.is_detection(make_detector(tmp_path / "other", task=None))
    assert not detection_run.is_detection(tmp_path)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("path,", "file,", "must have a row for each box; it lacks path"),
        (",predicted,", ",guessed,", "must hold kind truth or predicted; line"),
        (",truth,,", ",truth,,9", "must hold numbers with x_min < x_max and y_min < y_max"),
        (",predicted,0", ",predicted,7", "must hold a score from 0 to 1 of each predicted box"),
        ("p001,val", "p001,test", "must be of the images in predictions.csv, split by split"),
    ],
)
def test_broken_tables_are_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    folder = make_detector(tmp_path / "run")
    edit(folder / "boxes.csv", old, new)
    with pytest.raises(ValueError, match=said):
        detection_run.read(folder, name="run")


def test_a_table_without_its_last_boxes_is_told(tmp_path: Path) -> None:
    folder = make_detector(tmp_path / "run")
    lines = (folder / "boxes.csv").read_text().splitlines(keepends=True)
    (folder / "boxes.csv").write_text("".join(lines[:-6]))
    with pytest.raises(ValueError, match="must be the highest score of the image's boxes"):
        detection_run.read(folder, name="run")
    (folder / "boxes.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"a finished detector has boxes\.csv"):
        detection_run.read(folder, name="run")


@pytest.mark.parametrize("confidence", [None, True, "0.5", -0.1, 1.5, float("nan")])
def test_the_confidence_must_be_there(tmp_path: Path, confidence: object) -> None:
    with pytest.raises(ValueError, match="must say the confidence fixed on validation, from 0 to"):
        detection_run.confidence_of({"confidence": confidence}, tmp_path)


@pytest.mark.parametrize("confidence", [0, 0.25, 1.0])
def test_a_confidence_is_from_0_to_1(tmp_path: Path, confidence: float) -> None:
    run = detection_run.read(make_detector(tmp_path / "run", confidence=confidence), name="run")
    assert run.confidence == confidence
