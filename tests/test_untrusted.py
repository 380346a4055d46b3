"""Files from elsewhere are read within bounds, or refused at once."""

import gzip
from pathlib import Path

import pytest

from pneumo import untrusted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ', "must be JSON; it is broken"),
        ("[1]", "it must hold values by name"),
        ('{"a":' * 100_000, "must be JSON; it is broken"),
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
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: 2001-13-77", "it is broken"),
        ("- 1", "it must hold values by name"),
        ("1: x", "it must hold values by name"),
    ],
)
def test_yaml_beyond_bounds_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        untrusted.read_yaml(tmp_path / "a.yaml")


def test_missing_and_packed_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "a.json", tmp_path / "file" / "a.json"):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            untrusted.read_json(path)
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        untrusted.read_json(tmp_path)
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(b"x" * 100))
    assert untrusted.read_bytes(packed, limit=100) == b"x" * 100
    with pytest.raises(ValueError, match="it has more"):
        untrusted.read_bytes(packed, limit=99)
    packed.write_bytes(packed.read_bytes()[:20])
    with pytest.raises(ValueError, match="cannot be read: Compressed file ended"):
        untrusted.read_bytes(packed, limit=100)


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("train/NORMAL/a.png", False),
        ("a..b/..c.png", False),
        ("/etc/passwd", True),
        ("train/../../a.png", True),
        ("train/..", True),
        ("", True),
        ("a\0.png", True),
    ],
)
def test_paths_that_lead_out_of_their_folder(path: str, out: bool) -> None:
    assert untrusted.leads_out(path) is out
