"""The report's section on what the scores are worth, over made-up run folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo.data import split
from pneumo.evaluation.assessment import assess_run
from pneumo.report.figures import pooled, reliability
from pneumo.report.reading import AT_POINT, read_run
from pneumo.report.report_folder import write_report
from pneumo.report.trials import Trial
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from tests.report.made_runs import edit, groups_of, make_run, page, read_metrics


def table(seed: int, *, val: bool) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sick = rng.random(260) < 0.7
    patient = [f"p{number // 2}" for number in range(260)]
    score = rng.normal(sick * 3 - 1, 1.2)
    return pd.DataFrame(
        {
            "path": [f"a/{number}.jpeg" for number in range(260)],
            "patient": patient,
            "group": patient,
            "label": np.where(sick, "PNEUMONIA", "NORMAL"),
            "subtype": np.where(
                sick, np.where(rng.random(260) < 0.5, "virus", "bacteria"), "normal"
            ),
            "source": "train",
            "split": np.where(np.arange(260) < 60, "val" if val else "train", "test"),
            "p_pneumonia": 1 / (1 + np.exp(-score)),
        }
    )


def run(sweep: Path, *, protocol: str = "holdout", seed: int = 0, written: bool = True) -> Path:
    """A run folder with its assessment in metrics.json, or only in its tables."""
    rows = table(seed, val=protocol != "paper")
    folder = make_run(sweep, protocol=protocol, seed=seed)
    edit(folder, lambda m: m["data"].update(split_sha256=split.digest(rows)))
    if written:
        rule = {"protocol": protocol, "decision": read_metrics(folder)["decision"]}
        edit(folder, lambda m: m.update(assessment=assess_run(rows, **rule, trained_at=0.7)))
    else:
        rows.drop(columns="p_pneumonia").to_csv(folder / "split.csv", index=False)
        rows[rows["split"] != "train"].to_csv(folder / "predictions.csv", index=False)
    return folder


def trial(folder: Path) -> Trial:
    result = read_run(folder, name="run")
    assert isinstance(result, Trial)
    return result


def test_the_page_has_the_numbers_of_metrics_json_and_of_heat_maps(tmp_path: Path) -> None:
    folder = run(tmp_path)
    assessment = read_metrics(folder)["assessment"]
    mean = dict.fromkeys(run_folder.MAP_NUMBERS, 0.125) | {"images": 30, "gap": None}
    about = {"method": "gradcam", "class": "<NORMAL>", "checkpoint": "best"}
    RunWriter(folder).write_maps(about | {"mean": mean})
    text = " ".join(page(write_report([tmp_path])).split())
    point, calibration = assessment["operating_point"], assessment["calibration"]
    for name in AT_POINT:
        low, high = (f"{point[name][end]:.3f}" for end in ("low", "high"))
        assert f"<td>{point[name]['value']:.3f}<small>{low} to {high}</small></td>" in text
    assert f"<td>{point['threshold']:.3f}</td>" in text
    for state in ("before", "after"):
        assert f"<td>{calibration[state]['brier']:.3f}</td>" in text
    assert "Subtype virus" in text
    assert "no validation split" not in text
    assert "Scores of heat maps" in text
    assert "&lt;NORMAL&gt;" in text
    assert "<td>30</td><td>0.125</td><td>0.125</td><td>\N{EN DASH}</td>" in text
    rule: Any = {"protocol": "holdout", "decision": "sensitivity", "trained_at": 0.7}
    few = assess_run(table(0, val=True).iloc[:100], **rule)
    edit(folder, lambda metrics: metrics.update(assessment=few))
    few_text = page(write_report([tmp_path]))
    assert "ewer than 20 patients of a class among all images" in few_text


def test_intervals_of_an_earlier_method_are_computed_again(tmp_path: Path) -> None:
    folder, tables = run(tmp_path / "a"), run(tmp_path / "b", written=False)
    wanted = trial(folder)
    for name in ("split.csv", "predictions.csv"):
        (folder / name).write_bytes((tables / name).read_bytes())

    def earlier(metrics: dict[str, Any]) -> None:
        """Other intervals, and no name of their method."""
        del metrics["assessment"]["interval"]
        for name in AT_POINT:
            metrics["assessment"]["operating_point"][name] |= {"low": 0.111, "high": 0.999}

    edit(folder, earlier)
    again = trial(folder)
    assert [number[:3] for number in again.more] == [number[:3] for number in wanted.more]
    ours, theirs = ([number[3:] for number in each.more] for each in (again, wanted))
    np.testing.assert_allclose(ours, theirs, atol=1e-9, equal_nan=True)
    (folder / "split.csv").unlink()
    assert trial(folder).assessment == {}


def test_a_malformed_assessment_is_left_out(tmp_path: Path) -> None:
    folder = run(tmp_path)
    (folder / "predictions.csv").unlink()  # or it would be assessed again
    calibration = trial(folder).assessment["calibration"]
    spoilt: tuple[dict[str, Any], ...] = (
        *({"subgroups": "x"}, {"operating_point": {}}, {"interval": {}}),
        {"calibration": calibration | {"before": {"reliability": "x"}}},
    )
    whole = (folder / "metrics.json").read_text()
    for change in spoilt:
        (folder / "metrics.json").write_text(whole)
        edit(folder, lambda metrics, change=change: metrics["assessment"].update(change))  # type: ignore[misc]
        assert trial(folder).assessment == {}
    assert "Operating point" not in page(write_report([tmp_path]))


def test_pooled_bins_count_every_image() -> None:
    names = ("images", "probability", "observed")
    bins = ([[10, 0.5, 0.4], [30, 1, 0.9]], [[30, 0.5, 0.8]])
    both = [[dict(zip(names, row, strict=True)) for row in rows] for rows in bins]
    assessments = [{"calibration": {"before": {"reliability": rows}}} for rows in both]
    np.testing.assert_allclose(pooled(assessments, "before"), [[40, 0.5, 0.7], [30, 1.0, 0.9]])


def test_only_runs_with_a_temperature_have_calibrated_probabilities_in_the_picture(
    tmp_path: Path,
) -> None:
    for protocol in ("paper", "holdout"):
        run(tmp_path, protocol=protocol)
    for group in groups_of(tmp_path):
        figure = reliability(group)
        assert figure is not None
        titles = [ax.get_title() for ax in figure.axes]
        assert titles == ["as predicted", *(["calibrated"] if group.protocol == "holdout" else [])]
