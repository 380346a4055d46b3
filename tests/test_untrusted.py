"""Files from elsewhere are read within bounds, or refused at once."""

import gzip
from pathlib import Path

import pytest

from pneumo import untrusted


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"a": ', "must be JSON; it is broken"),
        ("a.json", '{"a":' * 100_000, "must be JSON; it is broken"),
        ("a.json", "[1]", "it must hold values by name"),
        ("a.json", " " * (untrusted.MAX_JSON + 1), "must have at most 16 MB; it has more"),
        (
            "a.yaml",
            "a: !!python/object/apply:os.system [true]",
            "could not determine a constructor",
        ),
        ("a.yaml", "a: 2001-13-77", "must be YAML; it is broken"),
        ("a.yaml", "1: x", "it must hold values by name"),
    ],
)
def test_settings_beyond_bounds(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    read = untrusted.read_json if name == "a.json" else untrusted.read_yaml
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


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


def test_paths_that_lead_out_of_their_folder() -> None:
    paths = ("train/NORMAL/a.png", "a..b/..c.png", "/etc/passwd", "train/../../a.png", "train/..")
    out = [untrusted.leads_out(path) for path in (*paths, "", "a\0.png")]
    assert out == [False] * 2 + [True] * 5
