import json
import multiprocessing
from pathlib import Path

import pandas as pd
import pytest

from pneumo import runs


def test_json_is_whole_and_has_no_nan(tmp_path: Path) -> None:
    runs.write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("inf"), 1.5], 3: (1,)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [None, 1.5], "3": [1]}


def test_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    runs.write_json(path, 1)
    with pytest.raises(TypeError):
        runs.write_json(path, {"x": object()})
    assert json.loads(path.read_text()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_tables_come_back(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a,b", "c"], "p": [0.1, 2 / 3]})
    runs.write_table(tmp_path / "t.csv", table)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table)


def test_status_of_broken_and_missing_files_is_new(tmp_path: Path) -> None:
    assert runs.read_status(tmp_path) == {"status": "new"}
    (tmp_path / "status.json").write_text('{"status": "runn')
    assert runs.read_status(tmp_path) == {"status": "new"}
    runs.write_status(tmp_path, "failed", epoch=3, max_epochs=9, error="why")
    assert runs.read_status(tmp_path)["error"] == "why"


def _hold(run_dir: Path, held: object, done: object) -> None:
    with runs.claim(run_dir):
        held.set()  # type: ignore[attr-defined]
        done.wait()  # type: ignore[attr-defined]


def test_folder_belongs_to_one_process_until_it_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, done))
    process.start()
    held.wait()
    with (
        pytest.raises(ValueError, match="another one is training in"),
        runs.claim(tmp_path),
    ):
        pass
    process.kill()
    process.join()
    with runs.claim(tmp_path):
        pass


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match=r"the run folder must be writable.*hydra\.run\.dir=DIR"),
        runs.claim(tmp_path / "file" / "run"),
    ):
        pass


def test_settings_of_a_run_do_not_change(tmp_path: Path) -> None:
    before = {"seed": 0, "optimizer": {"lr": 1.0}, "trainer": {"max_epochs": 5}}
    runs.write_config(tmp_path, before, ["seed=0"])
    assert runs.read_config(tmp_path) == before
    longer = {**before, "trainer": {"max_epochs": 5, "accelerator": "cpu"}}
    runs.write_config(tmp_path, longer, [])
    with pytest.raises(ValueError, match=r"optimizer\.lr was 1\.0, now 2\.0"):
        runs.write_config(tmp_path, {**longer, "optimizer": {"lr": 2.0}}, [])
    assert runs.read_config(tmp_path) == longer


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_broken_configurations_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"a run folder holds \.hydra/config\.yaml"):
        runs.read_config(tmp_path)
    (tmp_path / ".hydra").mkdir()
    (tmp_path / runs.CONFIG).write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml must"):
        runs.read_config(tmp_path)


def test_a_run_is_begun_whatever_its_model_calls_itself(tmp_path: Path) -> None:
    asked = {"model": "mobilenet", "seed": 0, "protocol": "paper", "fold": None}
    runs.write_json(tmp_path / runs.SWEEP, {"arguments": [], "planned": [asked]})
    run = tmp_path / "model=mobilenet_v3_small,seed=0"
    run.mkdir()
    own = {"model": {"name": "mobilenet_v3_small"}, "seed": 0}
    own["protocol"] = {"name": "paper", "fold": None}
    runs.write_config(run, own, ["model=mobilenet", "seed=0"])
    assert runs.not_begun(tmp_path) == [asked]  # no status yet
    runs.write_status(run, "running")
    assert runs.not_begun(tmp_path) == []
