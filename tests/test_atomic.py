"""Files and folders appear whole or not at all; what a killed process left is cleared."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumo import atomic
from tests.conftest import Patch


@pytest.fixture(autouse=True)
def nothing_cleared_yet() -> None:
    atomic._clear_once.cache_clear()


def left_by(path: Path, process: int) -> Path:
    name = atomic.temporary(path).name
    atomic._clear_once.cache_clear()  # as in another process
    return path.with_name(name.replace(f"-{os.getpid()}-", f"-{process}-"))


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_files_of_dead_processes_are_cleared_and_no_others(tmp_path: Path) -> None:
    path, dead = tmp_path / "a.json", dead_process()
    stay = [left_by(path, os.getppid()), tmp_path / ".a.json"]
    gone = [left_by(path, dead), left_by(tmp_path / "b.json", dead)]
    for file in (*stay, *gone):
        file.write_text("x")
    atomic.write_json(path, {"a": 1})
    assert sorted(tmp_path.iterdir()) == sorted([*stay, path])


def test_files_of_another_machine_stay(tmp_path: Path, monkeypatch: Patch) -> None:
    path = tmp_path / "a.json"
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "elsewhere.example.org")
        other = left_by(path, dead_process())
    other.write_text("x")
    atomic.write_json(path, {})
    assert other.exists()


def replace(folder: Path, text: str) -> None:
    with atomic.replacing_folder(folder) as new:
        (new / "page").write_text(text)


def test_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    left = left_by(folder, dead_process())
    left.mkdir()
    (left / "part").write_text("x")
    for text in ("one", "two"):
        replace(folder, text)
        assert [path.name for path in tmp_path.iterdir()] == ["report"]
        assert (folder / "page").read_text() == text


def test_folder_keeps_its_mode_and_on_request_its_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "album"
    (folder / "more").mkdir(parents=True)
    folder.chmod(0o700)
    for name in ("page", "old", "more/old"):
        (folder / name).write_text("one")
    (tmp_path / "link").symlink_to(folder)
    with atomic.replacing_folder(tmp_path / "link", keep=True) as new:
        (new / "page").write_text("two")
    read = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}
    assert read == {"page": "two", "old": "one", "more/old": "one"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "link").is_symlink()
    replace(folder, "three")
    assert [path.name for path in folder.iterdir()] == ["page"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_killed_process_leaves_the_old_folder(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "report"
    if exists:
        replace(folder, "one")
    code = "import os, pathlib; from pneumo import atomic\n"
    code += f"with atomic.replacing_folder(pathlib.Path({str(folder)!r})) as new:\n"
    code += "    (new / 'page').write_text('two'); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert folder.exists() is exists
    assert len(list(tmp_path.iterdir())) == 1 + exists
    atomic._clear_once.cache_clear()  # as in another process
    with pytest.raises(OSError, match="disk full"), atomic.replacing_folder(folder):
        raise OSError("disk full")
    assert [path.name for path in tmp_path.iterdir()] == ["report"] * exists
    assert not exists or (folder / "page").read_text() == "one"


def test_folder_comes_back_after_a_kill_between_two_renames(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    replace(folder, "one")
    folder.rename(tmp_path / ".report.old.tmp")
    with pytest.raises(OSError, match="disk full"), atomic.replacing_folder(folder):
        raise OSError("disk full")
    assert (folder / "page").read_text() == "one"
