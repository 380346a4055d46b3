"""Runs that are interrupted or disturbed: what they resume from, and how they end."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import get_worker_info

from pneumo.data.datamodule import Batch, Images
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from tests.conftest import SMALL, Capture, Command, Patch, digests, start
from tests.test_train import metrics, scores, status

TINY = ("data=phantom", "data.num_images=60", "data.image_size=32", *SMALL[1:])
STOP = (
    "+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping",
    "+callbacks.stop.monitor=loss/train",
    "+callbacks.stop.patience=1",
    "+callbacks.stop.min_delta=100",  # so that no epoch is better than the first
)


RECIPE = (  # whose state is in more places than the optimizer's moments
    *("model=compact", "augment=crop", "optimizer=adamw", "loss=focal"),
    *("schedule=onecycle", "schedule.max_lr=0.005", "loss.class_weights=balanced"),
    *("callbacks=[default,averaged]", "data.progressive={side:32,share:0.5}"),
    *("logger=[tensorboard,csv]", "data.image_size=64"),
)


class Cut(pl.Callback):
    """Breaks a run off at the start of an epoch, counted from 0, after a signal to its process."""

    def __init__(self, epoch: int, signum: int = 0):
        self.epoch, self.signum = epoch, signum

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), self.signum)
            raise RuntimeError("interrupted")


def cut(epoch: int, signum: int = 0) -> str:
    place = "++callbacks.pictures"  # a callback that may change when a run is resumed
    return f"{place}={{_target_: {__name__}.Cut, epoch: {epoch}, signum: {int(signum)}}}"


def whole_and_resumed(train: Command, *arguments: str, epoch: int) -> list[dict[str, Any]]:
    """Scores of the run whole/, and of parts/, broken off at the start of ``epoch`` and resumed."""
    assert train("hydra.run.dir=whole", *arguments) == 0
    assert train("hydra.run.dir=parts", *arguments, cut(epoch)) == 1
    assert status(Path("parts")) == "failed"
    assert train("resume=parts", "~callbacks.pictures") == 0
    return [scores(Path(name)) for name in ("whole", "parts")]


@pytest.mark.slow
def test_a_run_killed_queued_again_stopped_moved_and_damaged_ends_as_an_uninterrupted_one(
    train: Command, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    never = ("+schedule.threshold=9", "+schedule.threshold_mode=abs")  # better by so much
    plateau = ("schedule=plateau", "schedule.patience=0", *never)
    few = (*TINY, *plateau, "callbacks.checkpoint.monitor=loss/test", "trainer.max_epochs=6")
    assert train("hydra.run.dir=whole", *few) == 0
    parts = ("hydra.run.dir=parts", *few)

    done = start(sys.executable, "-m", "pneumo.train", *parts, cut(1, signal.SIGKILL))
    assert done.returncode == -signal.SIGKILL
    assert status(tmp_path / "parts") == "running"

    with monkeypatch.context() as patch:
        for name, value in {"NTASKS": "1", "JOB_NAME": "x", "JOB_ID": "7"}.items():
            patch.setenv(f"SLURM_{name}", value)
        assert train(*parts, cut(2, signal.SIGUSR1)) == 1  # SLURM queues it again
        assert list(tmp_path.rglob("hpc_ckpt*.ckpt")) == [tmp_path / "parts" / "hpc_ckpt_1.ckpt"]
        capsys.readouterr()
        assert train(*parts, cut(3, signal.SIGINT)) == 130
    shown = capsys.readouterr().err
    assert "Resume with: python -m pneumo.train resume=" in shown
    assert "Traceback" not in shown
    assert status(tmp_path / "parts") == "stopped"
    assert "resume=" in (tmp_path / "parts" / "train.log").read_text()
    assert not list(tmp_path.rglob("hpc_ckpt*"))

    moved = (tmp_path / "parts").rename(tmp_path / "moved")
    last, previous = moved / run_folder.LAST, moved / run_folder.PREVIOUS
    last.write_bytes(last.read_bytes()[:5000])  # which costs an epoch
    assert previous.exists()
    # a loading process asks for the order of an epoch ahead
    assert train("resume=moved", "~callbacks.pictures", "data.num_workers=1") == 0
    assert "is broken (" in capsys.readouterr().err
    assert not previous.exists()
    whole = scores(tmp_path / "whole")
    assert whole == scores(moved)
    assert whole["history"][-1]["lr"] < whole["history"][0]["lr"]
    assert whole["best"]["test"]["loss"] == min(row["test"]["loss"] for row in whole["history"])
    assert 0 < metrics(moved)["seconds"]["earlier"] < metrics(moved)["seconds"]["train"]
    predictions = (tmp_path / "whole" / "predictions.csv").read_text()
    assert predictions == (moved / "predictions.csv").read_text()


@pytest.mark.slow
def test_averaged_weights_and_a_schedule_by_steps_resume_exactly(
    train: Command, tmp_path: Path
) -> None:
    # as if killed in its third epoch: the checkpoint after the second is the last one
    whole, resumed = whole_and_resumed(train, *TINY, *RECIPE, "trainer.max_epochs=3", epoch=2)
    assert whole == resumed
    assert (tmp_path / "whole" / "csv" / "version_0" / "metrics.csv").is_file()


@pytest.mark.slow
def test_early_stopping_is_not_trained_past(train: Command, tmp_path: Path) -> None:
    assert train("hydra.run.dir=run", *TINY, *STOP, "trainer.max_epochs=9") == 0
    before = scores(tmp_path / "run")
    assert len(before["history"]) == 2
    assert (
        "Stopped early: Monitored metric loss/train did not"
        in (tmp_path / "run" / "train.log").read_text()
    )
    RunWriter(tmp_path / "run").write_status("running", epoch=2, max_epochs=9)  # killed at its end
    assert train("resume=run") == 0
    assert scores(tmp_path / "run") == before
    assert status(tmp_path / "run") == "done"


def test_a_last_batch_of_one_image_trains_and_phantoms_are_named_at_both_ends(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    size = ("data.batch_size=8", "trainer.max_epochs=1", "trainer.enable_progress_bar=true")
    assert train("hydra.run.dir=run", *TINY, *size) == 0
    data = metrics(tmp_path / "run")["data"]
    assert data["splits"]["train"]["images"] % 8 == 1
    shown = capsys.readouterr().err
    assert shown.count("GENERATED IMAGES") == 2
    assert re.search(r"epoch 1/1: +\d+%", shown)  # the bar, which leaves the line free
    assert re.search(r"\r +\repoch 1/1 loss/F1", shown)
    assert "GENERATED IMAGES" in data["note"]
    assert data["kind"] == "phantom"


@pytest.mark.parametrize("death", ["killed", "no room"])
def test_a_loading_process_that_dies_ends_the_run_with_a_message(
    train: Command,
    monkeypatch: Patch,
    capsys: Capture,
    death: str,
) -> None:
    load = Images.__getitems__

    def die(self: Images, items: list[tuple[int, int]]) -> Batch:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, items)

    def full(_: torch.Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    if death == "killed":
        monkeypatch.setattr(Images, "__getitems__", die)
    else:
        monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    workers = ("data.num_workers=1", "trainer.max_epochs=1")
    assert train("hydra.run.dir=run", *TINY, *workers) == 2
    shown = capsys.readouterr().err
    assert "processes that load images must stay alive" in shown
    assert "data.num_workers=0" in shown
    assert "Traceback" not in shown
    monkeypatch.undo()


def test_a_folder_with_files_of_others_is_refused(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    names = (run_folder.LAST, "predictions.csv", "status.json")
    for name in names:
        (tmp_path / "other" / name).write_text("mine")
    before = digests(tmp_path)
    assert train("hydra.run.dir=other", *TINY) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert f"holds {', '.join(names)}, which would be overwritten" in shown
    assert digests(tmp_path) == before
