import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from pneumo.training import whole_files


def content(epochs: int) -> dict[str, Any]:
    history = [{"epoch": number} for number in range(epochs)]
    return {"history": history, "state_dict": {"weight": torch.full((500,), float(epochs))}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder after three epochs, cut off."""
    for epochs in (1, 2):
        whole_files.WholeFiles().save_checkpoint(content(epochs), tmp_path / run_folder.BEST)
    for epochs in (1, 2, 3):
        whole_files.WholeFiles().save_checkpoint(content(epochs), tmp_path / run_folder.LAST)
    RunWriter(tmp_path).write_status("running", epoch=3, max_epochs=9)
    return tmp_path


def epochs(path: Path) -> int:
    found = whole_files.read(path)
    assert isinstance(found, dict), found
    return len(found["history"])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_writing_uses_no_other_disk_and_fails_without_harm(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(run / "missing"))
    whole_files.WholeFiles().save_checkpoint(content(3), run / run_folder.LAST)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    with pytest.raises(OSError, match="No space left"):
        whole_files.WholeFiles().save_checkpoint(content(2), run / run_folder.LAST)
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before


@pytest.mark.parametrize("damage", [Path.unlink, cut, change])
def test_the_newest_whole_one_takes_the_place_of_a_broken_last(
    run: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    names = (run_folder.LAST, run_folder.PREVIOUS, run_folder.BEST)
    assert [epochs(run / name) for name in names] == [3, 2, 2]
    (run / "hpc_ckpt_1.ckpt").write_text("")  # of the middle of an epoch
    assert whole_files.resume_from(run) == run / run_folder.LAST
    assert len(list(run.rglob("*.ckpt"))) == 3
    damage(run / run_folder.LAST)
    assert whole_files.resume_from(run) == run / run_folder.PREVIOUS
    assert "resuming from checkpoints/last-previous.ckpt, after epoch 2" in caplog.text
    damage(run / run_folder.PREVIOUS)
    whole_files.WholeFiles().save_checkpoint(content(1), run / run_folder.BEST)
    assert whole_files.resume_from(run) == run / run_folder.BEST


@pytest.mark.parametrize("damage", [Path.unlink, cut, change])
def test_without_a_whole_one_the_run_is_refused(run: Path, damage: Any) -> None:
    for path in (run / "checkpoints").iterdir():
        damage(path)
    with pytest.raises(ValueError, match=r"trained for 3 epochs.*Restore checkpoints/last\.ckpt"):
        whole_files.resume_from(run)


def test_a_run_killed_in_its_first_epochs_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert whole_files.resume_from(tmp_path) is None
    assert caplog.text == ""
    RunWriter(tmp_path).write_status("running", epoch=1, max_epochs=9)  # killed before last.ckpt
    assert whole_files.resume_from(tmp_path) is None
    assert "starting at epoch 1 again" in caplog.text


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_a_run_whose_best_epoch_is_lost_is_refused(run: Path, damage: Any) -> None:
    damage(run / run_folder.BEST)
    with pytest.raises(ValueError, match=r"best epoch so far; .*best\.ckpt is (missing|broken)"):
        whole_files.resume_from(run)


@pytest.mark.parametrize("value", [[], None, torch.zeros(3), {"history": []}, {"history": [1]}])
def test_other_content_is_no_checkpoint(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "a.ckpt")
    assert whole_files.read(tmp_path / "a.ckpt") == "broken (it is not a checkpoint of a run)"
