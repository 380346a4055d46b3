"""Files and folders appear whole or not at all; what a killed process left is cleared."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumo import atomic


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


def test_the_left_of_dead_processes_is_cleared_and_no_other(tmp_path: Path) -> None:
    path, dead = tmp_path / "a.json", dead_process()
    stay = [left_by(path, os.getppid()), tmp_path / ".a.json"]
    gone = [left_by(path, dead), left_by(tmp_path / "b.json", dead)]
    for file in (*stay, *gone):
        file.write_text("x")
    atomic.write_json(path, {"a": 1})
    assert sorted(tmp_path.iterdir()) == sorted([*stay, path])


def test_the_left_of_another_machine_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_folder_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    left = left_by(folder, dead_process())
    left.mkdir()
    (left / "half").write_text("x")
    for text in ("one", "two"):
        replace(folder, text)
        assert [path.name for path in tmp_path.iterdir()] == ["report"]
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    replace(folder, "three")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert (folder / "page").read_text() == "three"


def test_folder_keeps_its_mode_and_on_request_its_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "album"
    (folder / "more").mkdir(parents=True)
    folder.chmod(0o700)
    for name in ("page", "old", "more/old"):
        (folder / name).write_text("one")
    (tmp_path / "link").symlink_to(folder)

    def no_links(*_: object, **__: object) -> None:
        raise OSError("not on this disk")

    for text in ("two", "three"):
        with atomic.replacing_folder(tmp_path / "link", keep=True) as new:
            (new / "page").write_text(text)
        read = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}
        assert read == {"page": text, "old": "one", "more/old": "one"}
        monkeypatch.setattr("os.link", no_links)  # from now on, copies
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "link").is_symlink()
    replace(folder, "four")
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


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2")
def test_folder_is_there_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "report"
    replace(folder, "one")
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("a reader would find none"))
    replace(folder, "two")
    assert (folder / "page").read_text() == "two"


def test_folder_comes_back_after_a_kill_between_two_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    replace(folder, "one")
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    rename, count = Path.rename, iter(range(9))

    def killed(path: Path, target: Path) -> Path:
        if next(count) == 1:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            replace(folder, "two")
    assert not folder.exists()
    with pytest.raises(OSError, match="disk full"), atomic.replacing_folder(folder):
        raise OSError("disk full")
    assert (folder / "page").read_text() == "one"
