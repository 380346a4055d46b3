"""Rows of ensembles in the report of made-up runs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumo.evaluation.operating_point import fit_weights
from pneumo.evaluation.scores import auroc
from pneumo.report.ensembles import NO_MEMBER
from pneumo.report.report_folder import write_report
from tests.report.made_runs import (
    configure,
    edit,
    make_run,
    page,
    row_of,
    rows_of,
    score_of,
    summary,
)

MEMBERS = ["tiny", "small", "medium"]


def make_member(root: Path, model: str, *, seed: int = 0, val: int = 60, **changed: Any) -> Path:
    """A run that names the ensemble three, with a validation split of its own seed's images."""
    run = make_run(root, model=model, seed=seed, protocol="holdout", **changed)
    configure(run, ensembles={"three": MEMBERS})
    rng = np.random.default_rng([seed, len(model)])
    with (run / "predictions.csv").open("a") as file:
        for i in range(val):
            p = 1 / (1 + np.exp(-rng.normal(2 * (i % 2) - 1, 1)))
            label = ("NORMAL", "PNEUMONIA")[i % 2]
            file.write(f"v{i}.jpeg,v{i},{label},val,{1 - p:.4f},{p:.4f}\n")
    return run


def member(sweep: Path, model: str, seed: int) -> Path:
    return sweep / f"model={model},protocol=holdout,seed={seed}"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three members, two seeds."""
    root = tmp_path / "sweep"
    for model in MEMBERS:
        for seed in range(2):
            make_member(root, model, seed=seed)
    return root


def probabilities(sweep: Path, seed: int, split: str) -> tuple[Any, Any]:
    """Labels (N,), and (M, N) probabilities of the members."""
    tables = [pd.read_csv(member(sweep, m, seed) / "predictions.csv") for m in MEMBERS]
    tables = [table[table["split"] == split].sort_values("path") for table in tables]
    label = (tables[0]["label"] == "PNEUMONIA").to_numpy(int)
    return label, np.stack([table["p_pneumonia"] for table in tables])


def test_mean_weights_and_vote_are_rows_of_each_seed(sweep: Path) -> None:
    report = write_report([sweep])
    expected: dict[str, list[float]] = {"mean": [], "weighted mean": [], "vote": []}
    for seed in range(2):
        label, p = probabilities(sweep, seed, "test")
        weights = fit_weights(*probabilities(sweep, seed, "val"))
        ways = {"mean": p.mean(0), "weighted mean": weights @ p, "vote": (p >= 0.5).mean(0)}
        for way, combined in ways.items():
            expected[way].append(auroc(label, combined))
    sizes = {"parameters": 115_062 + 281_000 + 1_020_000,
             "multiply_adds": 83_304_648 + 120_000_000 + 210_000_000}  # fmt: skip
    for way, values in expected.items():
        network = f"three, {way} of 3"
        row = score_of(report, "auroc", network=network)
        assert row["n"] == "2"
        assert float(row["median"]) == pytest.approx(np.median(values), abs=1e-5)
        for score, size in sizes.items():
            row = row_of(report / "summary.csv", network=network, score=score)
            assert float(row["median"]) == size
    text = page(report)
    scores = text[text.index('aria-label="Scores by network"') : text.index('-sizes"')]
    places = [scores.index(f">{name}<") for name in ("tiny", "small", "three, vote of 3")]
    assert places == sorted(places)
    assert "report of 6 runs" in text  # an ensemble is not a run
    assert [row["state"] for row in rows_of(report / "runs.csv")] == ["done"] * 6
    assert summary(report).splitlines()[2].startswith(("Tiny", "Small", "Medium"))


def test_one_seed_has_its_interval_and_without_validation_no_weights(tmp_path: Path) -> None:
    for model in MEMBERS:
        make_member(tmp_path, model, val=0)
    text = summary(write_report([tmp_path]))
    row = r"\| three, mean of 3 \| 1\.4 M \| \d\.\d{3} \(\d\.\d{3} to "
    assert re.search(row, text)
    assert "weighted mean" not in text
    assert "three: no weights, since its members have no common validation split (seed 0)" in text


def test_missing_members_are_named_and_the_others_scored(sweep: Path, tmp_path: Path) -> None:
    (member(sweep, "medium", 1) / "metrics.json").unlink()
    edit(member(sweep, "small", 0), lambda content: content["data"].update(split_sha256="another"))
    edit(make_member(sweep, "medium", seed=2), lambda content: content.update(num_classes=3))
    for model in ("tiny", "small"):
        make_member(sweep, model, seed=2)
    make_member(tmp_path / "alone", "tiny", seed=5)
    report = write_report([sweep])
    text = summary(report)
    assert f"Ensemble three: without medium: {NO_MEMBER} (seed 1, seed 2)." in text
    assert f"Ensemble three: without small: {NO_MEMBER} (seed 0)." in text
    assert score_of(report, "auroc", network="three, mean of 2 of 3")["n"] == "3"
    alone = summary(write_report([tmp_path / "alone"]))
    assert "Ensemble three: not scored, fewer than two members:" in alone
    assert "mean of" not in alone


def test_ensembles_of_other_networks_under_one_name_are_not_averaged(tmp_path: Path) -> None:
    for seed, other in enumerate(["small", "medium"]):
        for model in ("tiny", other):
            configure(make_member(tmp_path, model, seed=seed), ensembles={"two": ["tiny", other]})
    report = write_report([tmp_path])
    for other in ("small", "medium"):
        assert score_of(report, "auroc", network=f"two, mean of 2 (tiny, {other})")["n"] == "1"
