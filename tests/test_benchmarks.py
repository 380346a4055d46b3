import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import adapt, local_use, plain, run, stages, time_to_score, work
from benchmarks.run import processes
from pneumo import __main__
from pneumo.data import cache, kermany
from tests.conftest import ROOT, Capture, Patch

RUNS = ROOT / "docs" / "runs"


def test_plain_files_are_the_prepared_images(phantoms: Path, cache_dir: Path) -> None:
    paths = kermany.list_images(phantoms)[0][:6]
    files = plain.Files(phantoms, paths, np.arange(6), image_size=64, augment=None)
    prepared = cache.load(phantoms, paths, cache_dir=cache_dir, image_size=64).images
    for number in range(6):
        image, target = files[number]
        assert target == number
        assert torch.equal(image[0], torch.from_numpy(np.array(prepared[number])).float())


def command(module: str, *words: str, cwd: Path) -> float:
    """Stands for stages.command, in this process: another takes seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", sys.argv)
        here = [word for word in words if "launcher" not in word]
        with suppress(SystemExit):  # of --help
            assert __main__.run(module.removeprefix("pneumo."), here) == 0
    return 1.0


def measured(form: str, overrides: list[str], seconds: float, *counts: int) -> list[dict[str, Any]]:
    """Stands for run.processes; only the plain form has a process."""
    if form == "plain":
        return processes(form, overrides, seconds, *counts)
    return [work.measure(form, work.config(*overrides), seconds, torch.device("cpu"))] * counts[1]


@pytest.mark.slow
def test_a_table_is_printed_and_saved(tmp_path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.run", "--quick", "--out", str(tmp_path)])
    monkeypatch.setenv("PNEUMO_CACHE", "")  # put back afterwards
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # other tests are on the other cores
    monkeypatch.setattr(stages, "command", command)
    monkeypatch.setattr(run, "processes", measured)
    monkeypatch.setattr(work, "wait_for_others", lambda: None)
    run.main()
    text = (tmp_path / "benchmark.txt").read_text()
    assert capsys.readouterr().out.endswith(text)
    assert max(map(len, text.splitlines())) <= 80
    results = json.loads((tmp_path / "benchmark.json").read_text())
    for form in ("plain", "fast", "two"):
        assert results["networks"]["tiny"][form]["training"] > 0
    assert results["sweep"] > 0


def test_minutes_to_a_score_are_those_of_the_first_epoch_with_it(tmp_path: Path) -> None:
    curve = time_to_score.Curve("fast", "measured", [30, 60, 90], [0.9, 0.93, 0.91])
    text = time_to_score.table([curve])
    assert curve.reached(0.92) == 60
    assert text[1].split()[1:] == ["1.5", "1.0", "never", "0.910"]
    assert max(map(len, text)) <= 80
    time_to_score.draw([curve], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000


def test_parts_of_the_pool_are_nested_have_both_labels_and_no_patient_of_the_test_set() -> None:
    rng = np.random.default_rng(0)
    patient = np.sort(rng.integers(0, 300, 600)).astype(str)
    label = rng.choice(["NORMAL", "PNEUMONIA"], 600)
    table = pd.DataFrame({"path": np.arange(600), "patient": patient, "label": label})
    for draw in range(3):
        pool, test = adapt.split(table, draw=draw)
        assert len(pool) >= adapt.SIZES[-1]
        assert not set(pool["patient"]) & set(test["patient"])
        assert len(pool) + len(test) == len(table)
        assert set(pool[: adapt.SIZES[0]]["label"]) == {"NORMAL", "PNEUMONIA"}


def test_no_patient_fixes_a_threshold_and_is_scored_by_it(monkeypatch: Patch) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=90)
    test = pd.DataFrame(
        {
            "label": np.where(label == 1, "PNEUMONIA", "NORMAL"),
            "group": [f"p{number // 3}" for number in range(90)],
            "p_pneumonia": np.clip(label * 0.3 + rng.random(90) * 0.7, 0, 1),
        }
    )
    seen = []

    def scored(
        used: pd.DataFrame, left: pd.DataFrame, *_: object, **__: object
    ) -> dict[str, float]:
        seen.append((set(used["group"]), set(left["group"]), len(used)))
        return {}

    monkeypatch.setattr(local_use, "_scored", scored)
    assert len(list(local_use.local_draws(test, size=25, draws=8, coverage=0.9))) == 8
    for used, left, images in seen:
        assert not used & left
        assert images == 24  # whole patients of three images, at most 25
    assert len({frozenset(used) for used, _, _ in seen}) > 1


def test_the_kept_runs_have_the_coverage_that_the_docs_say() -> None:
    page = (RUNS.parent / "notes" / "test-folder.md").read_text()
    rows = local_use.coverage_table(RUNS, coverage=0.9)
    for start in ("| official, tiny 1 |", "| holdout, tiny 1 |"):
        (row,) = (line for line in rows if line.startswith(start))
        assert row.partition(" |")[2] in page
