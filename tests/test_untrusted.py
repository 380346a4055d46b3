"""Files from elsewhere are read within bounds, or refused at once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo import untrusted

BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + last] * 9)}]\n"
    for last, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ', "must be JSON; it is broken"),
        ("[1]", "it must hold values by name"),
        ('{"a":' * 500 + "1" + "}" * 500, "it is nested too deep"),
        ('{"a": ' + "9" * 400 + "}", "more than 64 bits"),
        ("[" * 100_000, "it is nested too deep"),
        ('{"a": "' + "x" * untrusted.MAX_JSON + '"}', "must have at most 16 MB; it has more"),
    ],
)
def test_json_beyond_bounds_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        untrusted.read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "it has an alias, or is nested too deep"),
        ("a: &a\n  b: *a\n", "it has an alias, or is nested too deep"),
        ("[" * 100_000, "it has an alias, or is nested too deep"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: 2001-13-77", "it is broken"),
        ("a: 2001-01-01", "it holds a date"),
        ("a: {1: x}", "the name of a value is not text"),
        ("- 1", "it must hold values by name"),
        ("1: x", "the name of a value is not text"),
    ],
)
def test_yaml_beyond_bounds_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        untrusted.read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_folder_or_a_pipe_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json must be a regular file"):
        untrusted.read_json(tmp_path / "a.json")


def test_missing_files_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "a.json", tmp_path / "file" / "a.json"):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            untrusted.read_json(path)


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("train/NORMAL/a.png", False),
        ("a..b/..c.png", False),
        ("/etc/passwd", True),
        ("../a.png", True),
        ("train/../../a.png", True),
        ("train/..", True),
        ("", True),
        ("a\0.png", True),
    ],
)
def test_paths_that_lead_out_of_their_folder(path: str, out: bool) -> None:
    assert untrusted.leads_out(path) is out
