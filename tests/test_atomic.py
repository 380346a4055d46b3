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


def test_old_temporary_files_and_folders_are_cleared_and_no_others(tmp_path: Path) -> None:
    left = [tmp_path / f".{name}.123-45.tmp" for name in ("a.json", "b.json", "report", "new")]
    kept = [tmp_path / ".mine.tmp", left[3]]
    left[2].mkdir()
    for file in (left[0], left[1], left[3], kept[0]):
        file.write_text("x")
    for path in (*left[:3], kept[0]):
        os.utime(path, (0, 0))
    atomic.write_json(tmp_path / "a.json", {"a": 1})
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "a.json"])


def replace(folder: Path, text: str) -> None:
    with atomic.replacing_folder(folder) as new:
        (new / "page").write_text(text)


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
    if exists:  # killed between two renames
        folder.rename(tmp_path / ".report.old.tmp")
    with pytest.raises(OSError, match="disk full"), atomic.replacing_folder(folder):
        raise OSError("disk full")
    assert not exists or (folder / "page").read_text() == "one"
