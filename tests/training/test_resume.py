"""Runs that are interrupted or disturbed: what they resume from, and how they end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import get_worker_info

from pneumo.data.datamodule import Batch, Images
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from tests.conftest import SMALL, Capture, Command, Patch, digests
from tests.test_train import metrics, scores, status

TINY = ("data=phantom", "data.num_images=60", "data.image_size=32", *SMALL[1:])
STOP = (
    "+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping",
    "+callbacks.stop.monitor=loss/test",
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
    """Breaks a run off at the start of an epoch, counted from 0."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("interrupted")


def whole_and_resumed(train: Command, *arguments: str, epoch: int) -> list[dict[str, Any]]:
    """Scores of the run whole/, and of parts/, broken off at the start of ``epoch`` and resumed."""
    cut = f"+callbacks.cut={{_target_: {__name__}.Cut, epoch: {epoch}}}"
    assert train("hydra.run.dir=whole", *arguments) == 0
    assert train("hydra.run.dir=parts", *arguments, cut) == 1
    assert status(Path("parts")) == "failed"
    assert train("resume=parts", "~callbacks.cut") == 0
    return [scores(Path(name)) for name in ("whole", "parts")]


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
        "Stopped early: Monitored metric loss/test did not"
        in (tmp_path / "run" / "train.log").read_text()
    )
    RunWriter(tmp_path / "run").write_status("running", epoch=2, max_epochs=9)  # killed at its end
    assert train("resume=run") == 0
    assert scores(tmp_path / "run") == before
    assert status(tmp_path / "run") == "done"


def test_a_last_batch_of_one_image_trains_and_phantoms_are_named_at_both_ends(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    size = ("data.batch_size=8", "trainer.max_epochs=1")
    assert train("hydra.run.dir=run", *TINY, *size) == 0
    data = metrics(tmp_path / "run")["data"]
    assert data["splits"]["train"]["images"] % 8 == 1
    assert capsys.readouterr().err.count("GENERATED IMAGES") == 2
    assert "GENERATED IMAGES" in data["note"]
    assert data["kind"] == "phantom"


@pytest.mark.slow
def test_a_truncated_last_checkpoint_costs_an_epoch(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    # a loading process asks for the order of an epoch ahead
    arguments = (*TINY, "trainer.max_epochs=4", "data.num_workers=1")
    assert train("hydra.run.dir=whole", *arguments) == 0
    cut = "+callbacks.cut={_target_: tests.training.test_resume.Cut, epoch: 2}"
    assert train("hydra.run.dir=parts", *arguments, cut) == 1
    previous = tmp_path / "parts" / run_folder.PREVIOUS
    assert previous.exists()
    last = tmp_path / "parts" / run_folder.LAST
    last.write_bytes(last.read_bytes()[:5000])
    assert train("resume=parts", "~callbacks.cut") == 0
    assert "is broken (" in capsys.readouterr().err
    assert scores(tmp_path / "whole") == scores(tmp_path / "parts")
    assert not previous.exists()


@pytest.mark.slow
def test_slurm_queues_a_run_again_from_its_own_weights(
    train: Command, tmp_path: Path, monkeypatch: Patch
) -> None:
    arguments = (*TINY, "trainer.max_epochs=4")
    slurm = {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "x", "SLURM_JOB_ID": "7"}
    command = [sys.executable, "-m", "pneumo.train", "hydra.run.dir=run", *arguments]
    first = subprocess.Popen(command, env={**os.environ, **slurm})
    while not (tmp_path / "run" / run_folder.LAST).exists() and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGUSR1)
    while not list(tmp_path.rglob("hpc_ckpt*")) and first.poll() is None:
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert list(tmp_path.rglob("hpc_ckpt*.ckpt")) == [tmp_path / "run" / "hpc_ckpt_1.ckpt"]
    with monkeypatch.context() as patch:
        for name, value in slurm.items():
            patch.setenv(name, value)
        assert train("hydra.run.dir=run", *arguments) == 0
    assert train("hydra.run.dir=plain", *arguments) == 0
    assert scores(tmp_path / "run") == scores(tmp_path / "plain")
    assert not list(tmp_path.rglob("hpc_ckpt*"))


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


@pytest.mark.parametrize("name", ["predictions.csv", "status.json", run_folder.LAST])
def test_a_folder_with_files_of_others_is_refused(
    train: Command, tmp_path: Path, capsys: Capture, name: str
) -> None:
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    (tmp_path / "other" / name).write_text("mine")
    before = digests(tmp_path)
    assert train("hydra.run.dir=other", *TINY) == 2
    assert f"holds {name}, which would be overwritten" in " ".join(capsys.readouterr().err.split())
    assert digests(tmp_path) == before
