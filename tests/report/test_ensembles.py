"""Rows of ensembles in the report of made-up runs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumo.evaluation import scores
from pneumo.evaluation.operating_point import fit_weights
from pneumo.report.report_folder import write_report
from tests.report.test_report import configure, edit, found, make_run, said, table

MEMBERS = ["tiny", "small", "medium"]


def make_member(root: Path, model: str, *, seed: int = 0, val: int = 60, **changed: Any) -> Path:
    """A run that names the ensemble three, on one split a seed, with a validation split."""
    run = make_run(root, model=model, seed=seed, protocol="holdout", **changed)
    configure(run, ensembles={"three": MEMBERS})
    rng = np.random.default_rng([seed, len(model)])
    label = np.arange(val) % 2
    score = rng.normal((label - 0.5) * 2, 1)
    with (run / "predictions.csv").open("a") as file:
        for i in range(val):
            p = 1 / (1 + np.exp(-score[i]))
            name = ("NORMAL", "PNEUMONIA")[label[i]]
            file.write(f"v{i}.jpeg,v{i},{name},val,{1 - p:.4f},{p:.4f}\n")
    return run


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three members, two seeds."""
    root = tmp_path / "sweep"
    for model in MEMBERS:
        for seed in range(2):
            make_member(root, model, seed=seed)
    return root


def probabilities(sweep: Path, seed: int, part: str) -> tuple[Any, Any]:
    """Labels (N,), and (M, N) probabilities of the members."""
    runs = [sweep / f"model={m},protocol=holdout,seed={seed}" for m in MEMBERS]
    tables = [pd.read_csv(run / "predictions.csv").sort_values("path") for run in runs]
    tables = [one[one["split"] == part] for one in tables]
    label = (tables[0]["label"] == "PNEUMONIA").to_numpy(int)
    return label, np.stack([one["p_pneumonia"] for one in tables])


def test_mean_weights_and_vote_are_rows_of_each_seed(sweep: Path) -> None:
    rows = table(write_report([sweep]) / "summary.csv")
    expected: dict[str, list[float]] = {"mean": [], "weighted mean": [], "vote": []}
    for seed in range(2):
        label, p = probabilities(sweep, seed, "test")
        weights = fit_weights(*probabilities(sweep, seed, "val"))
        ways = {"mean": p.mean(0), "weighted mean": weights @ p, "vote": (p >= 0.5).mean(0)}
        for way, combined in ways.items():
            expected[way].append(scores.auroc(label, combined))
    for way, values in expected.items():
        row = found(rows, network=f"three, {way} of 3", epoch="best", split="test", score="auroc")
        assert row["n"] == "2"
        assert float(row["median"]) == pytest.approx(np.median(values), abs=1e-5)
        size = found(rows, network=f"three, {way} of 3", score="parameters")
        assert float(size["median"]) == 115_062 + 281_000 + 1_020_000
        size = found(rows, network=f"three, {way} of 3", score="multiply_adds")
        assert float(size["median"]) == 83_304_648 + 120_000_000 + 210_000_000


def test_the_page_shows_them_beside_the_networks_with_interval_and_weights(sweep: Path) -> None:
    report = write_report([sweep])
    page = (report / "report.html").read_text()
    scores = page[page.index('aria-label="Scores by network"') : page.index('-size"')]
    places = [scores.index(f">{name}<") for name in ("tiny", "small", "three, vote of 3")]
    assert places == sorted(places)
    assert "Weights, fitted on the validation split: seed 0: tiny 0." in page
    assert "report of 6 runs" in page  # an ensemble is no run
    assert {row["state"] for row in table(report / "runs.csv")} == {"done"}
    assert len(table(report / "runs.csv")) == 6
    assert "three, weighted mean of 3" in said(report)


def test_one_seed_has_its_interval_in_the_table(tmp_path: Path) -> None:
    for model in MEMBERS:
        make_member(tmp_path, model)
    text = said(write_report([tmp_path]))
    assert re.search(r"\| three, mean of 3 \(1 seed\) \| \d\.\d{3} \(\d\.\d{3} to ", text)


def test_missing_members_are_said_and_the_others_scored(sweep: Path) -> None:
    (sweep / "model=medium,protocol=holdout,seed=1" / "metrics.json").unlink()

    def moved(content: dict[str, Any]) -> None:
        content["data"]["split_sha256"] = "another"

    edit(sweep / "model=small,protocol=holdout,seed=0", moved)
    report = write_report([sweep])
    text = said(report)
    assert "Ensemble three: without medium, which has no finished run (seed 1)." in text
    assert "Ensemble three: without small, which has another split (seed 0)." in text
    rows = table(report / "summary.csv")
    row = found(rows, network="three, mean of 2 of 3", epoch="best", split="test", score="auroc")
    assert row["n"] == "2"


def test_no_validation_split_leaves_no_weights(tmp_path: Path) -> None:
    for model in MEMBERS:
        make_member(tmp_path, model, val=0)
    text = said(write_report([tmp_path]))
    assert "three, mean of 3" in text
    assert "weighted mean" not in text
    assert "three: no weights, since its members have no common validation split (seed 0)" in text


def test_other_classes_and_several_settings_are_left_out(sweep: Path) -> None:
    def three(content: dict[str, Any]) -> None:
        content["num_classes"] = 3

    edit(sweep / "model=medium,protocol=holdout,seed=0", three)
    make_member(sweep / "again", "small", seed=1)
    other = sweep / "again" / "model=small,protocol=holdout,seed=1" / ".hydra" / "config.yaml"
    other.write_text(other.read_text() + "optimizer: {lr: 0.5}\n")
    text = said(write_report([sweep]))
    assert "without medium, which has other classes (seed 0)" in text
    assert "without small, which was trained by several settings (seed 1)" in text


def test_a_lone_member_is_no_ensemble(tmp_path: Path) -> None:
    make_member(tmp_path, "tiny")
    text = said(write_report([tmp_path]))
    assert "Ensemble three: not scored, fewer than two members (seed 0)." in text
    assert "mean of" not in text


@pytest.mark.parametrize("value", [["tiny"], {"a": "tiny"}, {"a": [1]}, "text", {"a": None}])
def test_what_names_no_ensemble_stops_no_report(tmp_path: Path, value: Any) -> None:
    run = make_run(tmp_path)
    configure(run, ensembles=value)
    edit(run, lambda content: content.update(ensemble=True, members="all"))
    assert "Ensemble" not in said(write_report([tmp_path]))


def test_the_first_sentence_is_of_a_network(sweep: Path) -> None:
    assert said(write_report([sweep])).splitlines()[2].startswith("Tiny reached")
