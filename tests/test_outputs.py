"""A command's folder is written whole or not at all: full disks, kills, folders of others."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo import audit, cli, export, heatmap, predict
from pneumo.report import documents
from pneumo.runs import output
from tests.conftest import Capture, Patch, digests, full_disk
from tests.data.test_dicom import dataset, encode

UIDS: dict[str, Any] = {"StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.10"}
FULL = "[Errno 28] No space left on device: "
PACK = ["pretrained:compact-robust", "--to", "run", "--out"]


@pytest.fixture
def radiograph(tmp_path: Path) -> str:
    """A DICOM file."""
    pytest.importorskip("pydicom")
    pixels = np.random.default_rng(0).integers(0, 4096, (96, 80), dtype=np.uint16)
    path = tmp_path / "a.dcm"
    path.write_bytes(encode(dataset(pixels, **UIDS)))
    return str(path)


def commands(place: Path, radiograph: str, images: Path) -> dict[str, Callable[[], int]]:
    """Calls that write to ``place``, by name."""
    run = "pretrained:compact-robust"
    out = str(place / "out")
    tables = ["--out", f"{place}/table.csv", "--heatmap", out, "--dicom-sr", f"{place}/reports"]
    return {
        "package": lambda: export.main([*PACK, out]),
        "ONNX": lambda: cli.run(lambda: write_model(place)),
        "heatmap": lambda: heatmap.main([run, radiograph, "--score", "--out", out]),
        "predict": lambda: predict.main([run, radiograph, *tables]),
        "audit": lambda: audit.main([str(images), "--out", out]),
    }


def write_model(place: Path) -> int:
    """Writes what export does; the ONNX file itself takes seconds."""
    documents.write_files(documents.onnx_paths(place), [os.urandom(9), b"card", b"lists"])
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["package", "ONNX", "heatmap", "predict", "audit"])
def test_a_full_disk(
    name: str, radiograph: str, rsna_set: Path, tmp_path: Path, capsys: Capture
) -> None:
    pytest.importorskip("highdicom")
    place = tmp_path / "place"
    place.mkdir()
    call = commands(place, radiograph, rsna_set)[name]

    def refuse(at: int) -> None:
        """Calls with a disk that is full at the ``at``-th file."""
        before = digests(place)
        with full_disk(place, at=at):
            assert call() == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"error: {FULL}'{place}/")
        assert ".tmp" not in error  # but the user's own path
        assert digests(place) == before

    refuse(2)
    assert call() == 0
    number = len(digests(place))
    assert number > 1
    for report in place.glob("reports/*"):
        report.unlink()  # that folder must be empty
    for at in (1, number):
        refuse(at)
    with full_disk(place, at=number + 1):
        assert call() == 0
    assert not [path for path in place.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.slow
def test_a_killed_export_leaves_the_earlier_package(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export.main([*PACK, str(out)]) == 0
    (out / "model-card.md").write_text("the earlier card")
    before = digests(out)
    kill = "import os; from tests.conftest import full_disk; from pneumo import export\n"
    kill += f"os.strerror = lambda _: os.kill(os.getpid(), {signal.SIGKILL:d})\n"
    kill += f"with full_disk({str(tmp_path)!r}, at=5): export.main({[*PACK, str(out)]!r})"
    done = subprocess.run([sys.executable, "-c", kill], check=False)
    assert done.returncode == -signal.SIGKILL
    assert digests(out) == before
    assert len(list(tmp_path.iterdir())) == 2
    assert export.main([*PACK, str(out)]) == 0
    assert digests(out) != before


def test_a_folder_that_cannot_be_replaced_is_refused(tmp_path: Path, monkeypatch: Patch) -> None:
    output.check_folder(tmp_path / "new" / "maps")
    (tmp_path / "file").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    for out, message in (
        (tmp_path / "file", "must name a folder; .*file is a file"),
        (tmp_path / "file" / "maps", "must lie where it can be written; .*file cannot"),
        (tmp_path / "mine", r"must be new or empty; .*mine holds thesis\.txt\. Name another"),
        (Path("/proc"), "is a mount point, the working directory"),
    ):
        with pytest.raises(ValueError, match=message):
            output.check_folder(out)
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "below")
    for out in (Path(), Path("..")):
        with pytest.raises(ValueError, match="the working directory or above it"):
            output.check_folder(out)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(ValueError, match="must lie where it can be written"):
        output.check_folder(tmp_path / "new" / "maps")
