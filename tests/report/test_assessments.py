"""The report's section on what the scores are worth, over made-up run folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumo import atomic
from pneumo.data import split
from pneumo.evaluation.assessment import assess_run
from pneumo.evaluation.intervals import METHOD
from pneumo.report import assessments
from pneumo.report.reading import read_run
from pneumo.report.report_folder import write_report
from pneumo.report.trials import Trial
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from tests.report.test_report import make_run


def table(seed: int, *, val: bool) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sick = rng.random(260) < 0.7
    label = np.where(sick, "PNEUMONIA", "NORMAL")
    part = np.where(np.arange(260) < 60, "val" if val else "train", "test")
    subtype = np.where(sick, np.where(rng.random(260) < 0.5, "virus", "bacteria"), "normal")
    score = rng.normal(sick * 3 - 1, 1.2)
    return pd.DataFrame(
        {
            "path": [f"a/{number}.jpeg" for number in range(260)],
            "patient": [f"p{number // 2}" for number in range(260)],
            "group": [f"p{number // 2}" for number in range(260)],
            "label": label,
            "subtype": subtype,
            "source": "train",
            "split": part,
            "p_pneumonia": 1 / (1 + np.exp(-score)),
        }
    )


def run(sweep: Path, *, protocol: str = "holdout", seed: int = 0, written: bool = True) -> Path:
    """A run folder whose assessment is in metrics.json, or only to be had from its tables."""
    rows = table(seed, val=protocol != "paper")
    folder = make_run(sweep, protocol=protocol, seed=seed)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["data"]["split_sha256"] = split.digest(rows)
    if written:
        metrics["assessment"] = assess_run(rows, protocol=protocol)
    atomic.write_json(folder / "metrics.json", metrics)
    if not written:
        rows.drop(columns="p_pneumonia").to_csv(folder / "split.csv", index=False)
        rows[rows["split"] != "train"].to_csv(folder / "predictions.csv", index=False)
    return folder


def trial(folder: Path) -> Trial:
    found = read_run(folder, name="run")
    assert isinstance(found, Trial)
    return found


def page(folder: Path) -> str:
    return " ".join((write_report([folder]) / "report.html").read_text().split())


def test_the_page_has_the_numbers_of_metrics_json(tmp_path: Path) -> None:
    found = json.loads((run(tmp_path) / "metrics.json").read_text())["assessment"]
    text = page(tmp_path)
    point, calibration = found["operating_point"], found["calibration"]
    for name in assessments.SCORES:
        low, high = (f"{point[name][end]:.3f}" for end in ("low", "high"))
        assert f"<td>{point[name]['value']:.3f}<small>{low} to {high}</small></td>" in text
    assert f"<td>{point['threshold']:.3f}</td>" in text
    for state in ("before", "after"):
        assert f"<td>{calibration[state]['brier']:.3f}</td>" in text
    assert "PPV at 5%" in text
    assert f"<td>{point['at_prevalence'][0]['ppv']:.3f}</td>" in text
    assert "subtype virus" in text
    assert "No operating point" not in text


def test_several_trials_are_a_median_and_a_range(tmp_path: Path) -> None:
    folders = [run(tmp_path, seed=seed) for seed in range(3)]
    values = [
        json.loads((one / "metrics.json").read_text())["assessment"]["operating_point"][
            "specificity"
        ]["value"]
        for one in folders
    ]
    told = f"{np.median(values):.3f}<small>{min(values):.3f} to {max(values):.3f}</small>"
    assert told in page(tmp_path)


def _earlier(folder: Path) -> None:
    """Makes the assessment an earlier version's: other intervals, no word of the method."""
    metrics = json.loads((folder / "metrics.json").read_text())
    found = metrics["assessment"]
    del found["interval"], found["net_benefit"]["at_prevalence"]
    for name in assessments.SCORES:
        found["operating_point"][name] |= {"low": 0.111, "high": 0.999}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def test_intervals_of_an_earlier_method_are_computed_again(tmp_path: Path) -> None:
    folder, tables = run(tmp_path / "a"), run(tmp_path / "b", written=False)
    wanted = trial(folder).metrics["assessed"]
    for name in ("split.csv", "predictions.csv"):
        (folder / name).write_bytes((tables / name).read_bytes())
    _earlier(folder)
    assessed = trial(folder).metrics["assessed"]
    for name, value in wanted.numbers.items():
        np.testing.assert_allclose(assessed.numbers[name], value, atol=1e-9, equal_nan=True)
    assert assessed.subgroups.keys() == wanted.subgroups.keys()
    for share, curve in wanted.benefit.items():
        np.testing.assert_allclose(assessed.benefit[share], curve)
    (folder / "split.csv").unlink()
    assert trial(folder).metrics["assessed"] is None


def test_few_patients_ece_and_prevalence_are_told(tmp_path: Path) -> None:
    folder = run(tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["assessment"]["interval"] == {
        "method": METHOD, "level": 0.95, "warning": None
    }  # fmt: skip
    rows = table(0, val=True).iloc[:100]
    metrics["assessment"] = assess_run(rows, protocol="holdout")
    assert "among all images" in metrics["assessment"]["interval"]["warning"]
    atomic.write_json(folder / "metrics.json", metrics)
    text = page(tmp_path)
    assert "fewer than 20 patients of a class among all images" in text
    assert "ECE of PNEUMONIA&#39;s probability" in text
    curve = metrics["assessment"]["net_benefit"]["at_prevalence"][0]
    assert curve["prevalence"] == 0.05
    assert curve["at"][0]["treat_all"] == pytest.approx(0)  # treated at their own prevalence
    assert f"<td>{curve['at'][0]['network']:.3f}<small>everyone 0.000</small></td>" in text


def _drop(metrics: dict[str, Any]) -> None:
    del metrics["assessment"]["operating_point"]["ppv"]


def _text(metrics: dict[str, Any]) -> None:
    metrics["assessment"]["subgroups"] = "x"


@pytest.mark.parametrize("spoil", [_drop, _text])
def test_a_foreign_assessment_is_left_out(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    folder = run(tmp_path)
    (folder / "predictions.csv").unlink()  # or it would be assessed anew
    metrics = json.loads((folder / "metrics.json").read_text())
    spoil(metrics)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert trial(folder).metrics["assessed"] is None
    assert "What the scores are worth" not in page(tmp_path)


def test_heat_maps_are_told(tmp_path: Path) -> None:
    folder = run(tmp_path)
    mean = dict.fromkeys(run_folder.MAP_NUMBERS, 0.125) | {"images": 30, "gap": None}
    about = {"method": "gradcam", "class": "<NORMAL>", "checkpoint": "best"}
    RunWriter(folder).write_maps(about | {"mean": mean})
    text = page(tmp_path)
    assert "What the heat maps are worth" in text
    assert "&lt;NORMAL&gt;" in text
    assert "<td>30</td><td>0.125</td><td>0.125</td><td>\N{EN DASH}</td>" in text


def test_pooled_bins_count_every_image() -> None:
    one = np.array([[10.0, 0.5, 0.4], [30.0, 1.0, 0.9]])
    other = np.array([[30.0, 0.5, 0.8]])
    bins = assessments.pooled([one, other])
    np.testing.assert_allclose(bins, [[40, 0.5, 0.7], [30, 1.0, 0.9]])
    assert assessments.pooled([]).shape == (0, 3)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["paper", "holdout"])
def test_pictures_are_drawn(tmp_path: Path, protocol: str) -> None:
    run(tmp_path, protocol=protocol)
    report = write_report([tmp_path])
    for name in ("reliability", "decision-curve"):
        svg = (report / f"kermany-{protocol}-{name}.svg").read_text()
        assert ("calibrated" in svg) == (name == "reliability" and protocol == "holdout")
