import json
from pathlib import Path

import pytest

from pneumo.report.comparisons import compare
from pneumo.report.recipe_figures import stress_curves
from pneumo.report.report_folder import write_report
from pneumo.report.tables import tables
from pneumo.runs.metrics import read_stress
from tests.report.made_runs import groups_of, make_run, page, summary

CHANGES = ("centre crop", "JPEG")


def write_stress(run: Path, *, clean: float, drops: list[float], split: str = "val") -> None:
    """Writes stress.json in which the AUROC falls by each of ``drops`` at all severities."""
    others = {"sensitivity": 0.9, "specificity": 0.8, "ece": 0.1}
    content = {
        **{"schema": 1, "split": split, "images": 50, "of": 60, "seed": 0, "threshold": 0.5},
        "clean": {"auroc": clean, **others},
        "stressed": {"auroc": clean - sum(drops) / len(drops), **others},
        "drop": sum(drops) / len(drops),
        "rows": [
            {"corruption": name, "unit": "", "severity": severity, "value": severity}
            | {"auroc": clean - drop, **others}
            for name, drop in zip(CHANGES, drops, strict=True)
            for severity in range(1, 6)
        ],
    }
    (run / "stress.json").write_text(json.dumps(content))


@pytest.fixture
def stressed(tmp_path: Path) -> Path:
    """Tiny with two stressed seeds and one without, small with one on validation, one on test."""
    sweep = tmp_path / "sweep"
    runs = [make_run(sweep, seed=seed, protocol="holdout") for seed in range(3)]
    write_stress(runs[0], clean=0.98, drops=[0.01, 0.03])
    write_stress(runs[1], clean=0.96, drops=[0.03, 0.05])
    small = [make_run(sweep, seed=s, model="small", protocol="holdout") for s in range(2)]
    write_stress(small[0], clean=0.9, drops=[0.0, 0.01])
    write_stress(small[1], clean=0.8, drops=[0.0, 0.02], split="test")
    return sweep


def test_the_table_has_means_over_the_runs_of_a_recipe_and_split(stressed: Path) -> None:
    (group,) = groups_of(stressed)
    tiny, val, test = tables(group, compare([group]))["stress"].rows
    assert (tiny["network"], tiny["split"]) == (("tiny", "2 runs"), "val")
    # drops of 0.02 and 0.04: their sd is 0.0141, the standard error half of the distance
    assert tiny["drop"] == "0.0300 ± 0.0100"
    assert tiny["auroc"] == ("0.970", "to 0.940")
    assert (val["drop"], test["drop"]) == ("0.0050", "0.0100")
    assert val["network"] == test["network"] == ("small", "1 run")
    assert (val["split"], test["split"]) == ("val", "test")


def test_a_broken_file_counts_as_none(stressed: Path) -> None:
    run = next(stressed.glob("model=tiny,*seed=0"))
    assert read_stress(run) is not None
    content = json.loads((run / "stress.json").read_text())
    for broken in (content | {"schema": 2}, content | {"rows": [{"auroc": 1}]}):
        (run / "stress.json").write_text(json.dumps(broken))
        assert read_stress(run) is None


def test_page_and_summary_have_a_section_and_a_picture(stressed: Path) -> None:
    report = write_report([stressed])
    assert "0.0300 ± 0.0100" in page(report)
    assert 'id="kermany-holdout-stress"' in page(report)
    figure = stress_curves(*groups_of(stressed))
    assert figure is not None
    assert [ax.get_title() for ax in figure.axes] == [*CHANGES, "mean"]
    assert "small, test" in figure.axes[0].get_legend_handles_labels()[1]
    for run in stressed.glob("*/stress.json"):
        run.unlink()
    report = write_report([stressed])
    assert "Stress test" not in summary(report) + page(report)
    assert stress_curves(*groups_of(stressed)) is None
