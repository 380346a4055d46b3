"""Two networks within a trial: the same test images, over their patients."""

import json
from pathlib import Path

from pneumo.report.report_folder import write_report
from tests.report.test_report import edit, make_baseline, make_run, table

SCORES = {"auroc", "sensitivity", "specificity"}


def of_patients(report: Path) -> list[dict[str, str]]:
    return [row for row in table(report / "comparisons.csv") if row.get("over", "") != ""]


def test_networks_are_paired_within_each_trial(tmp_path: Path) -> None:
    for model in ("tiny", "small"):
        for seed in (0, 1):
            make_run(tmp_path, model=model, seed=seed)
    report = write_report([tmp_path])
    rows = of_patients(report)
    assert {row["what"] for row in rows} == {"tiny minus small"}
    assert {row["over"] for row in rows} == {"patients of seed 0", "patients of seed 1"}
    assert {row["score"] for row in rows} == SCORES
    assert len(rows) == 6
    for row in rows:
        assert float(row["low"]) <= float(row["difference"]) <= float(row["high"])
    page = (report / "report.html").read_text()
    assert "Networks on the same test images" in page
    assert page.count("patients of seed 0") == 1  # of each pair the first trial


def test_equal_networks_differ_by_nothing(tmp_path: Path) -> None:
    first, second = (make_run(tmp_path, model=model) for model in ("tiny", "small"))
    (second / "predictions.csv").write_text((first / "predictions.csv").read_text())
    scored = json.loads((first / "metrics.json").read_text())["best"]
    edit(second, lambda content: content.update(best=scored))
    report = write_report([tmp_path])
    assert {(r["difference"], r["low"], r["high"]) for r in of_patients(report)} == {("0", "", "")}
    assert "0 images" in (report / "report.html").read_text()


def test_other_images_and_baselines_make_no_pair(tmp_path: Path) -> None:
    make_run(tmp_path, model="tiny", seed=0)
    make_run(tmp_path, model="small", seed=1)
    make_baseline(tmp_path, seed=0)
    rows = [row for row in of_patients(write_report([tmp_path])) if "small" in row["what"]]
    assert rows == []
