"""A run on several devices: the images of one device's run, one writer, and no process left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl

from pneumo.data.datamodule import Batches, batch_sizes
from tests.conftest import SMALL, Capture, Command
from tests.test_train import metrics, scores, status

TINY = ("data=phantom", "data.num_images=60", "data.image_size=32", *SMALL[1:])
TWO = (*TINY, "trainer.devices=2")
# Batch statistics, averaged weights, a schedule by steps, a last batch of a few images, and dropout
RECIPE = (
    *("model=compact", "augment=crop", "schedule=onecycle", "schedule.max_lr=0.005"),
    *("callbacks=[default,averaged]", "data.batch_size=6", "trainer.max_epochs=4"),
)


class Kill(pl.Callback):
    """Sends a signal to the process of one device, or to all, at the start of an epoch, from 0."""

    def __init__(self, epoch: int, signum: int, device: int | None, pids: str):
        self.epoch, self.signum, self.device = epoch, signum, device
        self.pids = Path(pids)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            (self.pids / f"pid-{trainer.global_rank}").write_text(str(os.getpid()))
            trainer.strategy.barrier()
            if self.device in (None, trainer.global_rank):
                os.kill(os.getpid(), self.signum)


def kill(epoch: int, signum: int, *, device: int | str) -> list[str]:
    values = {"epoch": epoch, "signum": int(signum), "device": device}
    # in place of a callback that may change when a run is resumed
    return [f"++callbacks.pictures.{name}={value}" for name, value in values.items()]


def wait_for_end(folder: Path) -> None:
    """Waits until the processes of the devices have ended, except this one."""
    pids = {int(path.read_text()) for path in folder.glob("pid-*")}
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    for command in (Path(f"/proc/{pid}/cmdline") for pid in pids - {os.getpid()}):
        while command.exists() and command.read_bytes():  # that of a zombie is empty
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("number", [2, 3])
def test_the_shares_of_a_batch_are_the_batch_of_one_device(train: bool, number: int) -> None:
    for size in (2 * number, 7, 16):
        for images in range(2 * number, 60):
            one = batch_sizes(images, batch_size=size, train=train)
            sizes = batch_sizes(images, batch_size=size, train=train, num_devices=number)
            # but for a rest that is too small for all devices
            assert sizes[:-1] == one[: len(sizes) - 1]
            assert sum(sizes) == images

            def batches(share: slice, sizes: Any = sizes, images: int = images) -> Any:
                rows = np.arange(images)
                return list(Batches(rows, sizes, seed=1, shuffle=train, epoch=3, share=share))

            shares = zip(*(batches(slice(n, None, number)) for n in range(number)), strict=True)
            for whole, parts in zip(batches(slice(None)), shares, strict=True):
                assert sorted(whole) == sorted(item for part in parts for item in part)
                lengths = [len(part) for part in parts]
                assert min(lengths) >= (2 if train else 1)
                assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (["trainer.devices=1000", "data.batch_size=2000"], "trainer.devices must be at most "),
        (["trainer.devices=9"], "data.batch_size must be at least two images for each of 9 device"),
        (["trainer.devices=auto"], "trainer.devices must be a valid integer"),
        (["trainer.devices=2", "data.num_workers=1"], "data.num_workers must be 0 with several"),
    ],
)
def test_devices_that_cannot_be_used_are_refused_in_one_line(
    train: Command, tmp_path: Path, capsys: Capture, devices: list[str], message: str
) -> None:
    assert train("hydra.run.dir=run", *TINY, *devices) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_devices_train_as_one_does(train: Command, tmp_path: Path) -> None:
    # without batch statistics and dropout, and with equal shares, all but rounding is the same
    plain = ("model.batch_norm=false", "model.level_dropout=[0,0,0,0,0]", "model.dense_dropout=0")
    same = (*plain, "optimizer=sgd", "trainer.max_epochs=2", "trainer.limit_train_batches=2")
    assert train("hydra.run.dir=one", *TINY, *same) == 0
    assert train("hydra.run.dir=two", *TWO, *same) == 0
    one, two = (metrics(tmp_path / name) for name in ("one", "two"))
    for before, after in zip(one["history"], two["history"], strict=True):
        for split in ("train", "test"):
            assert after[split]["loss"] == pytest.approx(before[split]["loss"], rel=1e-4)
    split, other = ((tmp_path / name / "split.csv").read_text() for name in ("one", "two"))
    assert split == other
    assert two["machine"]["arithmetic"] == [
        {"from_epoch": 0, "device": "cpu", "threads": 1, "devices": 2}
    ]
    names = [{path.name for path in (tmp_path / name).rglob("*")} for name in ("one", "two")]
    events = [{name for name in folder if name.startswith("events.out")} for folder in names]
    assert names[0] - events[0] == names[1] - events[1]
    assert len(events[0]) == len(events[1])


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_process_and_resumes_exactly(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    assert train("hydra.run.dir=whole", *TWO, *RECIPE) == 0
    whole = metrics(tmp_path / "whole")
    assert status(tmp_path / "whole") == "done"
    for row in whole["history"]:
        for split in ("train", "test"):
            images = whole["data"]["splits"][split]["images"]
            assert sum(map(sum, row[split]["confusion"])) == images
    last = whole["history"][whole["best"]["epoch"]]["test"]
    assert whole["best"]["test"]["loss"] == pytest.approx(last["loss"], rel=1e-5)

    place = "++callbacks.pictures"
    callback = (f"{place}._target_={__name__}.Kill", f"{place}.pids={tmp_path}")
    first = ("hydra.run.dir=parts", *TWO, *RECIPE, *callback, *kill(1, signal.SIGKILL, device=0))
    done = subprocess.run([sys.executable, "-m", "pneumo.train", *first], check=False)
    assert done.returncode == -signal.SIGKILL
    wait_for_end(tmp_path)
    resume = ("resume=parts", "--trust", "tests")
    capsys.readouterr()
    assert train(*resume, *kill(2, signal.SIGKILL, device=1)) == 2
    shown = capsys.readouterr().err
    assert "that of device 1 was killed by SIGKILL. Resume with: python -m pneumo" in shown
    assert "Traceback" not in shown
    assert train(*resume, *kill(3, signal.SIGINT, device="null")) == 130
    assert "Resume with: python -m pneumo.train resume=" in capsys.readouterr().err
    wait_for_end(tmp_path)
    assert train("resume=parts", "~callbacks.pictures") == 0
    assert scores(tmp_path / "parts") == scores(tmp_path / "whole")
