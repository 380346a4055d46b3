import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from pneumo import atomic
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from tests.conftest import Patch


def test_json_is_whole_and_has_no_nan(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("inf"), 1.5], 3: (1,)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [None, 1.5], "3": [1]}


def test_status_of_broken_and_missing_files_is_new(tmp_path: Path) -> None:
    assert run_folder.read_status(tmp_path) == {"status": "new"}
    (tmp_path / "status.json").write_text('{"status": "runn')
    assert run_folder.read_status(tmp_path) == {"status": "new"}
    RunWriter(tmp_path).write_status("failed", epoch=3, max_epochs=9, error="why")
    assert run_folder.read_status(tmp_path)["error"] == "why"
    with RunWriter(tmp_path).claim():  # a run that a sweep could not begin is tried again
        pass


def _hold(run_dir: Path, held: object, done: object) -> None:
    with RunWriter(run_dir).claim():
        held.set()  # type: ignore[attr-defined]
        done.wait()  # type: ignore[attr-defined]


def test_folder_belongs_to_one_process_until_it_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, done))
    process.start()
    held.wait()
    with pytest.raises(ValueError, match="another one is training in"), RunWriter(tmp_path).claim():
        pass
    process.kill()
    process.join()
    with RunWriter(tmp_path).claim():
        pass


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match=r"the run folder must be writable.*hydra\.run\.dir=DIR"),
        RunWriter(tmp_path / "file" / "run").claim(),
    ):
        pass


def test_settings_of_a_run_do_not_change(tmp_path: Path) -> None:
    before = {"seed": 0, "optimizer": {"lr": 1.0}, "trainer": {"max_epochs": 5}}
    RunWriter(tmp_path).write_config(before, ["seed=0"])
    assert run_folder.read_config(tmp_path) == before
    longer: dict[str, Any] = {
        **before,
        "data": {"csv": "moved.csv"},
        "callbacks": {"pictures": {"_target_": "X"}},
        "trainer": {"max_epochs": 5, "accelerator": "cpu"},
    }
    RunWriter(tmp_path).write_config(longer, ["data.csv=moved.csv"])
    assert run_folder.overrides_of(tmp_path) == ["seed=0", "data.csv=moved.csv"]
    for section, key, value in (
        ("optimizer", "lr", 2.0),
        ("callbacks", "averaging", {"decay": 0.9}),
        ("callbacks", "checkpoint", {"monitor": "loss/val"}),  # best.ckpt is of the first one
    ):
        changed = {**longer, section: {**longer[section], key: value}}
        with pytest.raises(ValueError, match=rf"{section}\.{key}[\w.]* was (1\.0|None), now "):
            RunWriter(tmp_path).write_config(changed, [])
        assert run_folder.read_config(tmp_path) == longer
    for ensembles in ({"two": ["tiny", "small"]}, None):  # those that a report is to have
        named = longer | {"ensembles": ensembles}
        RunWriter(tmp_path).write_config(named, [])
        assert run_folder.read_config(tmp_path) == named


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_broken_configurations_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"a run folder holds \.hydra/config\.yaml"):
        run_folder.read_config(tmp_path)
    (tmp_path / ".hydra").mkdir()
    (tmp_path / run_folder.CONFIG).write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml must"):
        run_folder.read_config(tmp_path)


def test_runs_that_a_sweep_plans_are_known_by_their_overrides(tmp_path: Path) -> None:
    planned = [["model=mobilenet", f"protocol.fold={fold}"] for fold in (0, 1)]
    atomic.write_json(tmp_path / run_folder.SWEEP, {"arguments": [], "planned": planned})
    run = RunWriter(tmp_path / "model=mobilenet_v3_small,seed=0")
    own = {"model": {"name": "mobilenet_v3_small"}, "seed": 0}
    run.write_overrides(["protocol=kfold", *planned[1]])
    assert len(run_folder.not_started(tmp_path)) == 2  # no status yet
    run.write_config({**own, "protocol": {"name": "kfold", "fold": 1}}, ["x=1", *planned[1]])
    run.write_status("running")
    left = {"model": "mobilenet", "seed": 0, "protocol": "kfold", "fold": 0}
    assert run_folder.not_started(tmp_path) == [left]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    left = (".metrics.json.7-8.tmp", "checkpoints/.last.ckpt.7-8.tmp")
    kept = (".mine.tmp", "a.1.tmp")
    for name in (*left, *kept):
        (tmp_path / name).write_text("")
    with RunWriter(tmp_path).claim():
        assert [name for name in (*left, *kept) if (tmp_path / name).exists()] == [*kept]


def test_a_folder_of_the_users_is_not_removed(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "multirun/day/time/run"):
        (tmp_path / name).mkdir(parents=True)
        run_folder.remove_empty(Path(name), levels=3)
    assert [path.name for path in tmp_path.iterdir()] == ["multirun"]
    (tmp_path / "theirs" / "run").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run_folder.remove_empty(tmp_path / "theirs" / "run", levels=3)
    assert (tmp_path / "theirs").is_dir()
