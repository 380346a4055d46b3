"""What the tests share: generated images, a place for caches, the command in this process."""

import builtins
import csv
import errno
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest -n has a process for each core

from pneumo import cli
from pneumo.data import phantom, split
from pneumo.runs import pretrained

# A shell starts what runs in the background without Ctrl-C, which tests send to processes
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
NAMES = Path(__file__).with_name("kermany_names.txt")  # of all 5,856 images, train/NORMAL/…
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SMALL = ("data.image_size=64", "num_threads=1", "trainer=cpu")


@pytest.fixture(scope="session")
def kermany_names() -> list[str]:
    return NAMES.read_text().split()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this test session, the same for all processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def phantoms(shared: Path) -> Path:
    """A folder of 120 generated images; only for reading."""
    return phantom.generate(shared / "phantoms" / "set", num_images=120, seed=1, progress=False)


@pytest.fixture(scope="session")
def rsna_set(shared: Path) -> Path:
    """A folder of 32 generated images in the RSNA challenge's layout; only for reading."""
    folder = shared / "rsna"
    with FileLock(shared / "rsna.lock"):
        return folder if folder.exists() else phantom.write_rsna(folder, num_images=32, seed=0)


@pytest.fixture(scope="session")
def nih_set(phantoms: Path, shared: Path) -> Path:
    """48 generated images of 24 patients in the layout of ChestX-ray8/14; only for reading.

    Patient 1 has a follow-up with the other label, patient 99 one image with another finding.
    """
    folder = shared / "nih"
    findings = {"NORMAL": "No Finding", "PNEUMONIA": "Infiltration|Pneumonia"}
    with FileLock(shared / "nih.lock"):
        if folder.exists():
            return folder
        rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,View Position"]
        drawn = {path.read_bytes(): path for path in sorted(phantoms.rglob("*.jpeg"))}
        for part, label in enumerate(findings):
            place = folder / f"images_{part + 1:03}" / "images"
            place.mkdir(parents=True)
            paths = [path for path in drawn.values() if path.parent.name == label][:24]
            for number, path in enumerate(paths, 24 * part):
                patient = 1 if number == 24 else 1 + number // 2
                name = f"{patient:08}_{number:03}.png"
                Image.open(path).convert("L").resize((128, 128)).save(place / name)
                rows.append(f"{name},{findings[label]},{number},{patient},58,PA")
        rows.append("00000099_000.png,Effusion,0,99,58,AP")
        Image.new("L", (128, 128)).save(place / "00000099_000.png")
        (folder / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def validated(shared: Path) -> Path:
    """The packaged network with every second test patient as validation; only for reading.

    Its threshold is that of decision=sensitivity.
    """
    folder = shared / "validated"
    with FileLock(shared / "validated.lock"):
        if not folder.exists():
            new = Path(shutil.copytree(pretrained.find(pretrained.DEFAULT), shared / "half"))
            metrics = json.loads((new / "metrics.json").read_text())
            metrics |= {"decision": "sensitivity", "assessment": None}
            for name, patient in (("predictions.csv", "patient"), ("split.csv.gz", "group")):
                table = pd.read_csv(new / name, keep_default_na=False)
                is_val = (table["split"] == "test") & table[patient].map(_is_even)
                table["split"] = table["split"].mask(is_val, "val")
                table.to_csv(new / name, index=False)
            metrics["data"]["split_sha256"] = split.digest(table)
            (new / "metrics.json").write_text(json.dumps(metrics))
            new.rename(folder)
    return folder


def _is_even(patient: str) -> bool:
    return zlib.crc32(patient.encode()) % 2 == 0


@pytest.fixture(scope="session")
def cache_dir(shared: Path) -> Path:
    return shared / "cache"


@pytest.fixture(scope="session")
def finished_run(phantoms: Path, cache_dir: Path, shared: Path) -> Path:
    """A run of tiny with a threshold of its validation split, on ``phantoms``; only for reading.

    Its images are found where PNEUMO_DATA names ``phantoms``. What training showed on the terminal
    is in screen.txt beside it.
    """
    from pneumo.train import main

    folder, screen = shared / "finished" / "run", io.StringIO()
    few = ("trainer.max_epochs=5", "optimizer.lr=0.005")
    settings = ("protocol=holdout", "decision=sensitivity", *few)
    arguments = [f"hydra.run.dir={folder}", *SMALL, *settings]
    with FileLock(shared / "finished.lock"), pytest.MonkeyPatch.context() as patch:
        if not folder.exists():
            folder.parent.mkdir()
            patch.chdir(folder.parent)
            patch.setenv("PNEUMO_DATA", str(phantoms))
            patch.setenv("PNEUMO_CACHE", str(cache_dir))
            patch.setattr(sys, "argv", ["pneumo.train", *arguments])
            with redirect_stderr(screen):
                main()
            (folder.parent / "screen.txt").write_text(screen.getvalue())
    return folder


@pytest.fixture(scope="module")
def environment(phantoms: Path, cache_dir: Path) -> Iterator[None]:
    """Names the images and the cache of ``finished_run``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PNEUMO_DATA", str(phantoms))
        patch.setenv("PNEUMO_CACHE", str(cache_dir))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = os.environ.get("PNEUMO_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PNEUMO_DATA does not name the folder of the real images")
    return Path(folder).resolve()


Capture = pytest.CaptureFixture[str]
Command = Callable[..., int]
Patch = pytest.MonkeyPatch


class Called(NamedTuple):
    """What a command printed."""

    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, str]]:
        """The CSV table on standard output."""
        return list(csv.DictReader(io.StringIO(self.out)))

    @property
    def text(self) -> str:
        """Standard output, as if it had not been wrapped."""
        return " ".join(self.out.split())


class Call(Protocol):
    def __call__(self, verb: str, *words: Any, code: int = 0) -> Called: ...


class Refused(Protocol):
    def __call__(self, message: str, verb: str, *words: Any, keeps: Path | None = None) -> None: ...


@pytest.fixture
def call(capsys: Capture) -> Call:
    """Runs a command in this process, checks its exit code and returns what it printed."""

    def run(verb: str, *words: Any, code: int = 0) -> Called:
        main = import_module(cli.MODULES.get(verb, f"pneumo.{verb}")).main
        capsys.readouterr()
        ended = main([*map(str, words)])
        done = Called(*capsys.readouterr())
        assert ended == code, done.err
        return done

    return run


@pytest.fixture
def refused(call: Call) -> Refused:
    """Runs a command that must end with 2 and one line of error, after notes; ``keeps`` stays."""

    def run(message: str, verb: str, *words: Any, keeps: Path | None = None) -> None:
        before = digests(keeps) if keeps else {}
        out, err = call(verb, *words, code=cli.MISTAKE)
        assert out == ""
        *notes, last = err.splitlines()
        assert last.startswith("error: "), err
        assert message in last
        assert all(note.startswith("note: ") for note in notes), err
        assert not keeps or digests(keeps) == before

    return run


@contextmanager
def full_disk(folder: Path, *, at: int) -> Iterator[None]:
    """The disk of ``folder`` is full when the ``at``-th file below it is opened to be written."""
    opened, count = io.open, itertools.count(1)

    def open_file(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        here = isinstance(file, str | os.PathLike) and Path(file).is_relative_to(folder)
        if here and mode[0] in "wxa" and next(count) >= at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        return opened(file, mode, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for module in (io, builtins):
            patch.setattr(module, "open", open_file)
        yield


def compose(*overrides: str, **options: Any) -> Any:
    """Returns the configuration that Hydra composes for training."""
    import hydra

    from pneumo.arguments.train import CONF
    from pneumo.training import hydra_cli  # noqa: F401  (resolvers of conf/)

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", list(overrides), **options)


def composed(*overrides: str) -> dict[str, Any]:
    """Returns the plain configuration of a run in /run on the CPU."""
    from omegaconf import OmegaConf

    config = compose("run_dir=/run", "trainer.accelerator=cpu", *overrides)
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return plain


def classifier(network: Any, *overrides: str) -> Any:
    """Returns the task of a classifier on the CPU, and eight small images to train it on."""
    from pneumo.data.cache import Cache
    from pneumo.training.classification import Classification
    from pneumo.training.config import read

    config = read(composed("data.image_size=32", "data.root=/images", *overrides))
    table = pd.DataFrame({"label": ["NORMAL", "PNEUMONIA"] * 4, "split": "train"})
    images = Cache(np.zeros((8, 32, 32), np.uint8), [""] * 8, np.zeros(8), np.ones(8))
    return Classification(config, network, Classification.batches(config, network, table, images))


def digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file below ``folder``, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def start(
    *words: str | Path, cwd: Path | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Runs a program that finds the package; returns its exit code and what it printed."""
    known = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(words, cwd=cwd, env=known, capture_output=True, text=True, check=False)


@pytest.fixture
def train(phantoms: Path, cache_dir: Path, tmp_path: Path, monkeypatch: Patch) -> Command:
    """Runs python -m pneumo.train in this process, in tmp_path; returns its exit code."""
    from pneumo.train import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PNEUMO_DATA", str(phantoms))
    monkeypatch.setenv("PNEUMO_CACHE", str(cache_dir))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of processes that a test or a launcher starts

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["pneumo.train", *arguments])
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 2
        return 0

    return run


@pytest.fixture
def no_report(monkeypatch: Patch) -> None:
    """Sweeps end without their report, which takes seconds."""
    from pneumo.training import sweep

    monkeypatch.setattr(sweep, "report", lambda _: True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    no_gpu = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)
