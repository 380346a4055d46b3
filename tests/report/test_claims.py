"""The paper's comparison table beside made-up runs, and the Pareto fronts of their sizes."""

import re
from pathlib import Path
from typing import Any

import pytest

from pneumo.evaluation import published
from pneumo.report import recipe_figures
from pneumo.report.report_folder import write_report
from pneumo.report.tables import claim_table, costs, front, fronts
from tests.report.made_runs import (
    configure,
    edit,
    groups_of,
    make_run,
    page,
    read_metrics,
    rescore,
)


def test_each_row_has_claim_our_runs_and_what_is_comparable(tmp_path: Path) -> None:
    for model in ("tiny", "resnet18", "vgg16", "densenet121"):
        for seed in range(2):
            run = make_run(tmp_path, model=model, seed=seed, protocol="official")
            members = {"two": ["resnet18", "densenet121"], "all": ["tiny", "resnet18"]}
            configure(run, model={"name": model, "pretrained": model == "resnet18"},
                      ensembles=members)  # fmt: skip
    make_run(tmp_path, model="resnet18", protocol="paper")
    make_run(tmp_path, model="file_header", protocol="paper", baseline=True, selection=None)
    report = write_report([tmp_path])
    names = [claim.name for claim in published.CLAIMS]
    lines = claim_table(groups_of(tmp_path)).markdown().splitlines()[2:]
    rows = {n: line for line in lines for n in names if line.startswith(f"| {n} (")}
    assert list(rows) == [claim.name for claim in published.CLAIMS]
    ours = r"official protocol: .*resnet18.*: 0\.\d{3} .*, 2 seeds, pretrained"
    assert re.search(ours, rows["Hashmi"])
    assert "paper protocol (optimistic: epoch chosen on the test split): resnet18" in rows["Rahman"]
    assert "vgg16" not in rows["Hashmi"]
    assert "vgg16" in rows["Ayan"]
    assert "random weights" in rows["Ayan"]
    assert "614 right are 98.40 %, 615 are 98.56 %" in rows["Hashmi"]
    assert "task=detection trains both" in rows["Sirazitdinov"]
    assert "not run" in rows["Hamoldi"]
    assert "paper protocol: file_header" in rows[published.OURS]  # which has no epoch to choose
    assert "two, mean of 2" in rows["Hashmi"]  # all its members are the claim's
    assert "all, mean of 2" not in rows["Hashmi"]
    assert "two, mean of 2" not in rows["Rahman"]
    assert 'id="comparison"' in page(report)


@pytest.mark.parametrize(
    "changed", [{}, {"model": "resnet18", "kind": "phantom"}, {"model": "resnet18", "debug": True}]
)
def test_it_is_left_out_without_comparable_runs(tmp_path: Path, changed: dict[str, Any]) -> None:
    make_run(tmp_path, **changed)
    assert not claim_table(groups_of(tmp_path))


def test_a_front_holds_what_nothing_beats() -> None:
    nan = float("nan")
    assert front([1, 2, 3, 4], [0.8, 0.9, 0.85, 0.9]) == [True, True, False, False]
    assert front([1, 1, 2], [0.9, 0.9, 0.8]) == [True, True, False]  # equals beat no one
    assert front([nan, 1, 2], [0.99, nan, 0.5]) == [False, False, True]


def test_fronts_of_runs_and_speed_of_one_device_only(tmp_path: Path) -> None:
    # medium's float32 0.95 is no better than small's
    for model, accuracy, rate in (
        ("tiny", 0.9, 30),
        ("small", 0.95, 20),
        ("medium", 0.9500000017, 5),
    ):
        run = make_run(tmp_path, model=model, protocol="official")
        rescore(run, accuracy=accuracy)
        history = [epoch | {"seconds": 466 / rate} for epoch in read_metrics(run)["history"]]
        edit(run, lambda content, history=history: content.update(history=history))  # type: ignore[misc]
    (group,) = groups_of(tmp_path)
    labels = {key: [cell.label for cell in cells] for key, cells in fronts(group).items()}
    both = ["tiny", "small"]  # medium is larger and slower than small, and as accurate
    assert labels == {"parameters": both, "multiply_adds": both, "images_per_second": both}
    row = r"tiny</th><td>115,062</td><td>83\.3 M</td><td>30\.0</td><td [^>]*>parameters, mul"
    assert re.search(row, page(write_report([tmp_path])))
    figure = recipe_figures.accuracy_by_size(group)
    assert figure is not None
    assert [ax.get_xlabel() for ax in figure.axes] == list(recipe_figures.LABEL.values())
    tiny = tmp_path / "model=tiny,protocol=official,seed=0"
    edit(tiny, lambda content: content["machine"].update(device="another"))
    assert costs(groups_of(tmp_path)[0]) == ["parameters", "multiply_adds"]


def test_an_ensemble_is_as_slow_as_its_members_in_turn(tmp_path: Path) -> None:
    for model in ("tiny", "small"):
        configure(make_run(tmp_path, model=model), ensembles={"two": ["tiny", "small"]})
    (group,) = groups_of(tmp_path)
    (mean, _) = group.ensembles
    rate = group.networks[0].trials[0].images_per_second
    assert rate == pytest.approx(466 / 6)
    assert mean.trials[0].images_per_second == pytest.approx(rate / 2)
