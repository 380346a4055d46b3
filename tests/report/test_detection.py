"""Detectors in a report: rows, choice on validation, examples, and no mixing with classifiers."""

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumo.report import detection, terminal
from pneumo.report.report_folder import write_report
from pneumo.runs.run import Run
from tests.detection_runs import make_detector
from tests.report.made_runs import make_run, page, rows_of, summary


def test_detectors_have_a_row_each_beside_the_papers_and_are_in_no_table_of_classifiers(
    tmp_path: Path,
) -> None:
    make_run(tmp_path)
    report = write_report([tmp_path])
    alone = page(report)
    assert "etection" not in re.sub(r"<style>.*?</style>", "", alone, flags=re.DOTALL)
    assert not (report / detection.FILE).exists()
    make_detector(tmp_path / "poor", seed=2, skill=30, model="maskrcnn")
    make_detector(tmp_path / "good", seed=1, skill=3)
    make_detector(tmp_path / "tried", debug=True)
    (make_detector(tmp_path / "broken") / "boxes.csv").write_text("path\n")
    report = write_report([tmp_path])
    both = page(report)
    section = re.compile(r'id="kermany-paper">.*?id="kermany-paper-sizes"', re.DOTALL)
    assert section.findall(alone) == section.findall(both) != []
    assert "report of 4 runs" in both
    assert "boxes.csv must be a table with the columns path, patient" in html.unescape(both)
    text = both[both.index('<h2 id="detection-1">') : both.index('<h2 id="detection-2">')]
    rows = re.findall(r'<tr[^>]*><th scope="row">(.*?)</tr>', text)
    assert [row.split("<")[0] for row in rows] == ["good", "poor", detection.PAPER]
    assert all(figure in rows[2] for figure in ("0.775", "0.758", "0.793"))
    assert detection.NOT_COMPARABLE in html.unescape(text)
    assert "DEBUG RUNS, whose scores are meaningless" in both
    good, poor, _ = rows_of(report / detection.FILE)
    low, value, high = (float(good[f"challenge{end}"]) for end in ("_low", "", "_high"))
    assert value > float(poor["challenge"])
    assert f"{value:.3f}" in rows[0]
    assert low < value < high
    assert "## Detection: phantom" in summary(report)
    assert "retinanet" not in "".join(str(row) for row in rows_of(report / "summary.csv"))


def test_the_terminal_says_which_detector_is_best(tmp_path: Path) -> None:
    for seed in range(2):
        make_detector(tmp_path / str(seed), seed=seed)
    text = terminal.summary(write_report([tmp_path]))
    assert text.startswith("Detection: phantom, holdout protocol: of 2 detectors")


def perfect_on(folder: Path, split: str) -> None:
    """Makes a detector that predicts exactly the true boxes of one split, and none elsewhere."""
    make_detector(folder, model=folder.name)
    table = pd.read_csv(folder / "boxes.csv")
    predictions = pd.read_csv(folder / "predictions.csv").set_index("path")
    table = table[(table["kind"] == "truth") | (table["split"] != split)]
    boxes = table[(table["kind"] == "truth") & (table["split"] == split)]
    boxes = boxes.assign(kind="predicted", score=0.9)
    pd.concat([table, boxes]).to_csv(folder / "boxes.csv", index=False)
    highest = predictions.index.isin(boxes["path"]) * 0.9
    of_split = predictions["split"] == split
    predictions["p_pneumonia"] = np.where(of_split, highest, predictions["p_pneumonia"])
    predictions["p_normal"] = 1 - predictions["p_pneumonia"]
    predictions.to_csv(folder / "predictions.csv")


def test_the_best_is_chosen_on_validation_not_on_test(tmp_path: Path) -> None:
    perfect_on(tmp_path / "a", "val")
    perfect_on(tmp_path / "b", "test")
    runs = [Run.open(tmp_path / name, name=name) for name in "ba"]
    (group,) = detection.group_detectors(runs)
    assert [run.name for run in group.runs] == ["a", "b"]
    first, second = (each["scores"]["challenge"]["value"] for each in group.assessments)
    assert first < second
    assert "a has the best challenge score on the validation split" in group.finding


@pytest.mark.slow
def test_curves_are_drawn_unless_no_box_is_predicted(tmp_path: Path) -> None:
    make_detector(tmp_path / "run")
    names = {path.name for path in write_report([tmp_path]).iterdir()}
    assert {"detection-1-froc.png", "detection-1-precision-recall.svg"} <= names
    run = Run.open(tmp_path / "run", name="run")
    number = len(run.boxes.images)
    none, no_score = [np.zeros((0, 4))] * number, [np.zeros(0)] * number
    run.__dict__["boxes"] = replace(run.boxes, predicted=none, scores=no_score)
    (group,) = detection.group_detectors([run])
    assert [p.draw(group) for p in detection.PICTURES.values()] == [None, None]
