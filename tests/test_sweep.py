import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pneumo import fit, runs, sweep
from tests.conftest import SMALL, Command

SWEEP = ("--multirun", "hydra.sweep.dir=sweep", "hydra.sweep.subdir='${model.name},seed=${seed}'")
FEW = ("trainer.max_epochs=2", *SMALL)


def statuses(folder: Path) -> dict[str, str]:
    return {name: status["status"] for name, status in sweep.states(folder)}


def test_runs_lie_in_folders_named_by_their_overrides(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("-m", "model=tiny,small", "seed=0,1", "hydra.sweep.dir=sweep", *FEW) == 0
    names = statuses(tmp_path / "sweep")
    assert len(names) == 4
    assert all("model=tiny" in name or "model=small" in name for name in names)
    assert set(names.values()) == {"done"}
    shown = capsys.readouterr().err
    assert "4 of 4 runs done" in shown
    report = tmp_path / "sweep" / "report"
    assert {"runs.csv", "summary.md", "report.html"} <= {p.name for p in report.iterdir()}


def test_failing_run_does_not_stop_the_others_and_is_mended_by_starting_again(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    build = fit.build_network

    def bug(model: Any) -> Any:
        if model["name"] == "tiny":
            raise RuntimeError("a bug of tiny")
        return build(model)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "build_network", bug)
        assert train(*SWEEP, "model=tiny,small", *FEW) == 1
    folder = tmp_path / "sweep"
    assert statuses(folder) == {"small,seed=0": "done", "tiny,seed=0": "failed"}
    shown = capsys.readouterr().err
    assert "tiny,seed=0: RuntimeError: a bug of tiny" in shown
    assert "1 of 2 runs are not done" in shown
    assert "Traceback" in (folder / "tiny,seed=0" / "train.log").read_text()
    before = (folder / "small,seed=0" / "metrics.json").read_bytes()
    assert train("sweep=sweep") == 0
    assert set(statuses(folder).values()) == {"done"}
    assert (folder / "small,seed=0" / "metrics.json").read_bytes() == before


def test_changed_settings_are_noticed_and_change_no_finished_run(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*SWEEP, "seed=0,1", *FEW) == 0
    before = (tmp_path / "sweep" / "tiny,seed=0" / "metrics.json").read_bytes()
    capsys.readouterr()
    assert train(*SWEEP, "seed=0,1,2", "optimizer.lr=0.5", *FEW) == 1
    shown = capsys.readouterr().err
    assert "This sweep began with" in shown
    assert "optimizer.lr was 0.004, now 0.5" in shown
    assert (tmp_path / "sweep" / "tiny,seed=0" / "metrics.json").read_bytes() == before
    assert statuses(tmp_path / "sweep")["tiny,seed=2"] == "done"
    capsys.readouterr()
    assert train("sweep=sweep") == 0
    assert statuses(tmp_path / "sweep")["tiny,seed=0"] == "done"


def test_wrong_value_in_one_run_is_that_runs_failure(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("-m", "seed=0,-1", "hydra.sweep.dir=sweep", *FEW) == 1
    found = dict(sweep.states(tmp_path / "sweep"))
    (failed,) = [status for name, status in found.items() if "seed=-1" in name]
    assert "seed must be a whole number" in failed["error"]
    assert sorted(statuses(tmp_path / "sweep").values()) == ["done", "failed"]


@pytest.mark.slow
def test_killed_sweep_goes_on(
    train: Command, tmp_path: Path, phantoms: Path, cache_dir: Path
) -> None:
    arguments = (*SWEEP, "seed=0,1,2", "trainer.max_epochs=8", *SMALL)
    process = subprocess.Popen(
        [sys.executable, "-m", "pneumo.train", *arguments],
        env={**os.environ, "PNEUMO_DATA": str(phantoms), "PNEUMO_CACHE": str(cache_dir)},
    )
    second = tmp_path / "sweep" / "tiny,seed=1" / "checkpoints" / "last.ckpt"
    while not second.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = (tmp_path / "sweep" / "tiny,seed=0" / "metrics.json").read_bytes()
    assert statuses(tmp_path / "sweep")["tiny,seed=1"] == "running"
    assert train("sweep=sweep") == 0
    assert list(statuses(tmp_path / "sweep").values()) == ["done"] * 3
    assert (tmp_path / "sweep" / "tiny,seed=0" / "metrics.json").read_bytes() == first
    log = (tmp_path / "sweep" / "tiny,seed=1" / "train.log").read_text()
    assert "Going on from" in log


@pytest.mark.slow
def test_joblib_runs_several_at_once(train: Command, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    arguments = (*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1,2,-1")
    assert train(*arguments, *FEW) == 1
    assert sorted(statuses(tmp_path / "sweep").values()) == ["done"] * 3 + ["failed"]


@pytest.mark.slow
def test_submitit_runs_jobs_of_its_own(train: Command, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert train(*SWEEP, "hydra/launcher=submitit_local", "seed=0,1", *FEW) == 0
    assert list(statuses(tmp_path / "sweep").values()) == ["done"] * 2


def test_missing_sweep_is_named(train: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("sweep=nowhere") == 2
    assert "sweep must name the folder of a sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["model=tiny,small", "seed=0,1,2"], 6),
        (["model=tiny", "seed=range(5)"], 5),
        (["model=tiny"], 1),
        (["hydra/sweeper=optuna", "seed=0,1"], None),
    ],
)
def test_number_of_runs(arguments: list[str], count: int | None) -> None:
    assert sweep.num_runs(arguments, {}) == count


def test_number_of_runs_of_the_papers_grid() -> None:
    params = {"model": "tiny,small,medium,large", "seed": "0,1,2,3,4"}
    assert sweep.num_runs(["experiment=paper"], params) == 20
    assert sweep.num_runs(["experiment=paper", "seed=0,1"], params) == 8


def test_progress_counts_epochs_and_estimates_the_rest(tmp_path: Path) -> None:
    for name, state, epoch in (("a", "done", 10), ("b", "running", 5), ("c", "failed", 2)):
        (tmp_path / name).mkdir()
        runs.write_status(tmp_path / name, state, epoch=epoch, max_epochs=10)
    line = sweep.progress(tmp_path, 4, began=time.monotonic() - 300, done_before=0)
    assert line == "1 of 4 runs done, 1 running, 1 failed, 3 min left (epoch 5/10)"


def test_times_read_well() -> None:
    assert [sweep.duration(s) for s in (40, 720, 7500)] == ["40 s", "12 min", "2 h 05 min"]


def test_watching_ends_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()
    stop.set()
    sweep.watch(tmp_path, 3, stop)
    assert capsys.readouterr().err == "0 of 3 runs done\n"


def test_arguments_are_kept_as_they_began(tmp_path: Path) -> None:
    sweep.begin(tmp_path, ["seed=0,1", f"hydra.sweep.dir={tmp_path}", "model=tiny"])
    assert json.loads((tmp_path / "sweep.json").read_text())["arguments"] == [
        "model=tiny",
        "seed=0,1",
    ]
    assert sweep.arguments_of(tmp_path)[0] == "--multirun"
