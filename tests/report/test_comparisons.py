"""comparisons.csv: networks with each other, with baselines, on the same images, and optimism."""

from pathlib import Path

import numpy as np
import pytest

from pneumo.report.comparisons import compare, overlap_ratio
from pneumo.report.report_folder import write_report
from pneumo.report.trials import Trial
from tests.report.made_runs import (
    edit,
    groups_of,
    make_baseline,
    make_run,
    page,
    read_metrics,
    rescore,
    row_of,
    rows_of,
)


def run_of(sweep: Path, model: str = "tiny", seed: int = 0) -> Path:
    return sweep / f"model={model},protocol=paper,seed={seed}"


def scores_at(sweep: Path, when: str, score: str, model: str = "tiny") -> np.ndarray:
    metrics = (read_metrics(run_of(sweep, model, seed)) for seed in range(3))
    return np.array([each[when]["test"][score] for each in metrics])


def test_optimism_is_best_minus_last_and_paper_minus_holdout(finished: Path) -> None:
    path = finished / "report" / "comparisons.csv"
    gain = scores_at(finished, "best", "accuracy") - scores_at(finished, "last", "accuracy")
    row = row_of(path, what="tiny: best minus last epoch", score="accuracy")
    assert float(row["difference"]) == pytest.approx(gain.mean(), abs=1e-6)
    across = row_of(path, what="tiny: paper minus holdout protocol", score="accuracy")
    assert float(across["difference"]) == 0  # the made-up runs share their predictions
    within = row_of(path, what="tiny: best on test minus chosen on validation", score="f1_normal")
    assert float(within["difference"]) >= 0
    after = row_of(path, what="tiny: last epoch minus chosen on validation", score="accuracy")
    runs = [read_metrics(run) for run in finished.glob("model=tiny,protocol=holdout,*")]
    late = [run["last"]["test"]["accuracy"] - run["best"]["test"]["accuracy"] for run in runs]
    assert float(after["difference"]) == pytest.approx(np.mean(late), abs=1e-6)


def test_differences_pair_the_same_splits_only(sweep: Path) -> None:
    edit(run_of(sweep, "small", 2), lambda c: c["data"].update(split_sha256="another"))
    path = write_report([sweep]) / "comparisons.csv"
    row = row_of(path, what="tiny minus small", score="f1_normal", over="2 trials")
    assert (row["low"], row["p"], row["p_holm"]) == ("", "", "")
    assert -1 <= float(row["difference"]) <= 1
    whole = row_of(path, what="tiny: best minus last epoch", score="f1_normal")
    assert whole["trials"] == "3"
    assert float(whole["low"]) <= float(whole["difference"]) <= float(whole["high"])


def test_margins_and_networks_are_paired_over_trials_and_within_each(finished: Path) -> None:
    path = finished / "report" / "comparisons.csv"
    for other in ("thumbnail_svm", "small"):
        wanted = {"group": "kermany-paper", "what": f"tiny minus {other}", "score": "accuracy"}
        others = scores_at(finished, "best", "accuracy", other)
        gaps = scores_at(finished, "best", "accuracy") - others
        whole = row_of(path, over="3 trials", **wanted)
        assert float(whole["difference"]) == pytest.approx(gaps.mean(), abs=1e-6)
        for seed, gap in enumerate(gaps):
            row = row_of(path, over=f"patients of seed {seed}", **wanted)
            assert float(row["difference"]) == pytest.approx(gap, abs=1e-6)
            assert float(row["low"]) < gap < float(row["high"])
        assert f"tiny minus {other}" in page(finished / "report")
    assert not [row for row in rows_of(path) if "thumbnail_svm: " in row["what"]]  # no epochs
    assert "patients of seed" not in page(finished / "report")  # of several trials only their mean


def test_every_network_has_its_margin_however_few_are_compared(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.report.comparisons.MOST_COMPARED", 1)
    table = compare(groups_of(finished))
    assert set(table.loc[table["kind"] == "margin", "first"]) == {"tiny", "small"}
    assert "networks" not in set(table["kind"])


@pytest.mark.parametrize("other", ["small", "thumbnail_svm"])
def test_equal_predictions_have_a_difference_of_0_and_no_interval(
    tmp_path: Path, other: str
) -> None:
    first = make_run(tmp_path)
    second = make_run(tmp_path, model=other) if other == "small" else make_baseline(tmp_path)
    (second / "predictions.csv").write_text((first / "predictions.csv").read_text())
    best = read_metrics(first)["best"]
    edit(second, lambda content: content.update(best=best))
    report = write_report([tmp_path])
    rows = [r for r in rows_of(report / "comparisons.csv") if r["what"] == f"tiny minus {other}"]
    assert {(row["difference"], row["low"], row["high"]) for row in rows} == {("0", "", "")}


def test_networks_with_other_groups_of_patients_are_paired_by_those_of_the_first(
    tmp_path: Path,
) -> None:
    first, second = make_run(tmp_path), make_run(tmp_path, model="small")
    text = (first / "predictions.csv").read_text()
    (second / "predictions.csv").write_text(text.replace(",p0,", ",p1,"))
    (a, b) = (cell.trials[0] for cell in groups_of(tmp_path)[0].networks)
    assert (a.test["patient"] != b.test["patient"]).any()
    for score, drawn in b.resampled_as(a).items():
        np.testing.assert_array_equal(drawn, a.resampled[score])  # of equal predictions


def test_an_epoch_chosen_on_the_train_split_is_named_so(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path, seed=seed, protocol="holdout", selection={"monitor": "x", "on": "train"})
    rows = rows_of(write_report([tmp_path]) / "comparisons.csv")
    assert "tiny: best on test minus chosen on train" in {row["what"] for row in rows}


def test_a_wide_interval_is_withheld_and_other_images_make_no_pair(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.1, 0.9, 0.1)):
        make_run(tmp_path, seed=seed)
        rescore(make_run(tmp_path, seed=seed, model="small"), accuracy=accuracy)
    make_run(tmp_path, seed=4, model="medium")
    report = write_report([tmp_path])
    wanted = {"what": "tiny minus small", "score": "accuracy", "over": "3 trials"}
    row = row_of(report / "comparisons.csv", **wanted)
    assert (row["low"], row["high"]) == ("", "")
    assert "withheld: wider than 1" in page(report)
    for row in rows_of(report / "comparisons.csv"):
        assert all(-1 <= float(row[end]) <= 1 for end in ("low", "high") if row[end])
        assert "minus medium" not in row["what"]


@pytest.mark.parametrize(
    ("protocol", "hashes", "ratio"),
    [
        ("paper", ("a", "b"), 3 / 7),
        ("paper", ("a", "a"), 0.0),
        ("paper", (None, None), 3 / 7),
        ("official", ("a", "b"), 0.0),
    ],
)
def test_trials_of_one_test_split_do_not_overlap(
    protocol: str, hashes: tuple[str | None, ...], ratio: float
) -> None:
    parts = {"test": {"images": 300}, "train": {"images": 700}}
    trials = [
        Trial(str(h), {"protocol": protocol, "data": {"split_sha256": h, "splits": parts}})
        for h in hashes
    ]
    assert overlap_ratio(trials) == pytest.approx(ratio)
