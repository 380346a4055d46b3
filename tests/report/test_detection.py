import csv
import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumo.report import detection, detection_examples, detection_figures
from pneumo.report.__main__ import main
from pneumo.report.report_folder import write_report
from pneumo.runs.run import Run
from tests.detection_runs import make_detector
from tests.report.test_report import make_run


def report(root: Path) -> str:
    return (write_report([root]) / "report.html").read_text()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(90):
        pixels = np.full((210, 230), number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def test_a_report_of_detectors_has_a_row_each_and_the_papers(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    make_detector(root / "poor", seed=2, skill=30, model="maskrcnn")
    make_detector(root / "good", seed=1, skill=3)
    assert main([str(root)]) == 0
    text = (root / "report" / "report.html").read_text()
    rows = re.findall(r'<tr[^>]*><th scope="row">(.*?)</tr>', text)
    assert [row.split("<")[0] for row in rows] == ["good", "poor", detection.PAPER]
    assert all(figure in rows[2] for figure in ("0.775", "0.758", "0.793"))
    assert detection.NOT_COMPARABLE in html.unescape(text)
    assert "report of 2 runs" in text
    assert "No finished run" not in text
    (good, poor) = csv.DictReader((root / "report" / "detection.csv").read_text().splitlines())
    assert float(good["challenge"]) > float(poor["challenge"])
    assert f"{float(good['challenge']):.3f}" in rows[0]
    assert float(good["challenge_low"]) < float(good["challenge"]) < float(good["challenge_high"])
    names = {path.name for path in (root / "report").iterdir()}
    assert {"detection-1-froc.png", "detection-1-precision-recall.svg"} <= names
    assert "## Detection: phantom" in (root / "report" / "summary.md").read_text()
    write_report([root])  # replaces its own


def test_the_best_is_chosen_on_validation_not_on_test(tmp_path: Path) -> None:
    for name, own in (("a", "val"), ("b", "test")):  # each perfect on one of the two splits
        folder = make_detector(tmp_path / name, model=name)
        table = pd.read_csv(folder / "boxes.csv")
        predictions = pd.read_csv(folder / "predictions.csv").set_index("path")
        table = table[(table["kind"] == "truth") | (table["split"] != own)]
        found = table[(table["kind"] == "truth") & (table["split"] == own)]
        found = found.assign(kind="predicted", score=0.9)
        pd.concat([table, found]).to_csv(folder / "boxes.csv", index=False)
        of_own = predictions["split"] == own
        highest = predictions.index.isin(found["path"]) * 0.9
        predictions["p_pneumonia"] = np.where(of_own, highest, predictions["p_pneumonia"])
        predictions["p_normal"] = 1 - predictions["p_pneumonia"]
        predictions.to_csv(folder / "predictions.csv")
    runs = [Run.open(tmp_path / name, name=name) for name in "ba"]
    (part,) = detection.sections(runs)
    assert [run.name for run in part.runs] == ["a", "b"]
    on_test = [one["scores"]["challenge"]["value"] for one in part.assessments]
    assert on_test[0] < on_test[1]
    assert "the best by the challenge score of its validation split, a, has one" in part.sentence


def test_detectors_are_in_no_table_of_classifiers(tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    alone = report(tmp_path / "runs")
    assert "etection" not in re.sub(r"<style>.*?</style>", "", alone, flags=re.DOTALL)
    assert not (tmp_path / "runs" / "report" / "detection.csv").exists()
    make_detector(tmp_path / "runs" / "retinanet")
    both = report(tmp_path / "runs")
    whole = (tmp_path / "runs" / "report" / "runs.csv").read_text()
    assert "retinanet" not in whole
    added = both.index('<h2 id="detection-1">')
    before = alone[: alone.index("<section>")].count("<tr>")
    assert both[: both.index("<section>")].count("<tr>") == before
    assert both[added:].count("0.775") == 1
    section = re.compile(r'<section>\n<h2 id="kermany-paper">.*?</section>', re.DOTALL)
    assert section.search(alone).group() == section.search(both).group()  # type: ignore[union-attr]


def test_a_broken_detector_is_named_and_left_out(tmp_path: Path) -> None:
    make_detector(tmp_path / "good")
    (make_detector(tmp_path / "broken") / "boxes.csv").write_text("path\n")
    text = report(tmp_path)
    assert "lacks patient" in text
    assert text.count('<th scope="row">good') == 1
    assert "of 1, the best by the challenge score of its validation split" in text


def test_examples_have_misses_first(tmp_path: Path, images: Path) -> None:
    source = {"_target_": "pneumo.data.folder.Folder.open", "root": str(images)}
    folder = make_detector(tmp_path / "run", source=source)
    run = Run.open(folder, name="run")
    found, said = detection_examples.examples(run)
    assert said == "Boxes of run that reach its confidence of 0.500."
    kinds = ["missed" in one.said for one in found]
    assert kinds == sorted(kinds, reverse=True)
    assert any(kinds)
    assert found[-1].said == "all boxes found"
    assert f"data:image/png;base64,{found[0].png}" in report(tmp_path / "run")


def test_without_images_it_says_why_there_are_no_examples(tmp_path: Path) -> None:
    make_detector(tmp_path / "run")
    assert "No examples: the images are not where the run found them." in report(tmp_path)


def test_debug_runs_stand_apart(tmp_path: Path) -> None:
    make_detector(tmp_path / "whole")
    make_detector(tmp_path / "tried", debug=True)
    text = report(tmp_path)
    assert text.index('id="detection-1"') < text.index('id="detection-2"')
    assert "DEBUG RUNS, whose scores mean nothing" in text


def test_without_a_predicted_box_there_are_no_curves(tmp_path: Path) -> None:
    run = Run.open(make_detector(tmp_path / "run"), name="run")
    number = len(run.boxes.images)
    none, no_score = [np.zeros((0, 4))] * number, [np.zeros(0)] * number
    run.__dict__["boxes"] = replace(run.boxes, predicted=none, scores=no_score)
    assert list(detection_figures.draw([run])) == []
