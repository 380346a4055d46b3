"""Seconds of the stages of a run: index, cache, start, epoch, report."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from torch.nn import functional

from pneumo.data import cache, image, kermany, labelled, split
from pneumo.data.datamodule import XrayDataModule
from pneumo.models import fused_cpu
from pneumo.runs import run_folder
from pneumo.training import fit, objects
from pneumo.training.classification import Classification, joined, score
from pneumo.training.config import Config


def seconds(work: Callable[[], object]) -> float:
    """Returns how long ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def index_and_split(count: int) -> float:
    """Seconds for the table and the split of ``count`` file names."""
    names = [f"train/NORMAL/IM-{n:07d}-0001.jpeg" for n in range(0, count, 2)]
    names += [f"train/PNEUMONIA/person{n}_virus_{n}.jpeg" for n in range(1, count, 2)]

    def work() -> None:
        table = kermany.index_names(names)
        table = table.assign(group=labelled.join_duplicates(table, table["path"].tolist()))
        split.split(
            table, partial(split.by_fraction, fractions={"train": 0.7, "test": 0.3}), seed=0
        )

    return seconds(work)


def build_cache(root: Path, folder: Path, limit: int, image_size: int) -> tuple[int, float, float]:
    """Returns images, images/s of building the cache, and of decoding alone with all cores."""
    paths = kermany.list_images(root)[0][:limit]
    built = seconds(lambda: cache.load(root, paths, cache_dir=folder, image_size=image_size))
    files = [(root / path).read_bytes() for path in paths]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = seconds(lambda: list(pool.map(image.decode, files)))
    return len(paths), len(paths) / built, len(paths) / decoded


def command(*arguments: str, cwd: Path) -> float:
    """Seconds of python -m ARGUMENTS."""
    where = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    run: list[str] = [sys.executable, "-m", *arguments]
    environment = {**os.environ, "PYTHONPATH": where}
    start = time.perf_counter()
    ended = subprocess.run(run, cwd=cwd, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(run[1:])} failed:\n{ended.stderr}")
    return time.perf_counter() - start


class FirstStep(pl.Callback):
    """Writes when the first training step ended, and the memory at the end, to a JSON file.

    Args:
        path: of the file.
    """

    def __init__(self, path: str):
        self.path, self.found = Path(path), dict[str, float]()

    def on_train_batch_end(self, *_: object) -> None:
        """Notes the time, once."""
        self.found.setdefault("first_step", time.time())

    def on_train_end(self, *_: object) -> None:
        """Notes the memory in MB that is the process's own, not mapped from files, and writes."""
        self.found["own_mb"] = own_memory()
        self.path.write_text(json.dumps(self.found))


def own_memory() -> float:
    """Returns MB of this process's resident set that no file holds; NaN where not on Linux."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith("RssAnon")), math.nan)


def training(*overrides: str, cwd: Path) -> dict[str, float]:
    """Returns seconds to the first step and to the end of a run, and MB that are its own."""
    path, began = cwd / "first-step.json", time.time()
    clock = [
        "+callbacks.clock._target_=benchmarks.stages.FirstStep",
        f"+callbacks.clock.path={path}",
    ]
    total = command("pneumo.train", *overrides, *clock, cwd=cwd)
    found = json.loads(path.read_text())
    return {**found, "first_step": found["first_step"] - began, "total": total}


def whole_run(*overrides: str, cwd: Path) -> tuple[float, float]:
    """Returns seconds of a run from command to end, and of those the seconds of its epochs."""
    total = command("pneumo.train", *overrides, "hydra.run.dir=whole", cwd=cwd)
    metrics = json.loads((cwd / "whole" / "metrics.json").read_text())
    shutil.rmtree(cwd / "whole")
    return total, metrics["seconds"]["train"]


def two_trials(*overrides: str, batches: int, cwd: Path) -> float:
    """Images/s of two trials at a time through the sweep, added up.

    Of whole epochs of ``batches`` training steps, scores and checkpoints included: the second of
    three, in which both are at work.
    """
    short = [f"+trainer.limit_train_batches={batches}", "+trainer.limit_val_batches=1"]
    pair = ["seed=0,1", "launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep"]
    command("pneumo.train", "-m", *overrides, *pair, *short, "trainer.max_epochs=3", cwd=cwd)
    rate = 0.0
    for run in (cwd / "sweep").glob("*/history.csv"):
        settings = run_folder.read_config(run.parent)
        images = int((pd.read_csv(run.parent / "split.csv")["split"] == "train").sum())
        images = min(images, batches * settings["data"]["batch_size"])
        rate += images / pd.read_csv(run)["seconds"][1]
    return rate


PER_SPLIT = {"train": 320, "test": 80}  # images of an epoch here: its fixed costs weigh more


class Clock(pl.Callback):
    """Notes when epochs begin."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, *_: object) -> None:
        """Notes the time."""
        self.times.append(time.perf_counter())


def epochs(settings: dict[str, Any]) -> tuple[float, float]:
    """Returns seconds of an epoch: of Lightning with all callbacks, and of a bare loop.

    Both have the same network, loaders, optimizer, evaluation and scores; the bare loop has no
    checkpoint, log or TensorBoard. The faster of two epochs each, after one that warms up.
    """
    config = Config.model_validate(settings)
    table, images = fit.read_data(config, fit.open_data_set(config))
    table = pd.concat([table[table["split"] == name][:count] for name, count in PER_SPLIT.items()])
    fused_cpu.keep_memory()

    def built() -> tuple[Classification, XrayDataModule]:
        network = Classification.build_network(config)
        data = Classification.batches(config, network, table, images)
        return Classification(config, network, data), data

    module, data = built()
    longer = settings | {"trainer": {**settings["trainer"], "max_epochs": 4}}
    trainer = objects.build_trainer(Config.model_validate(longer))
    clock = Clock()
    trainer.callbacks.append(clock)  # type: ignore[attr-defined]
    fit.train(trainer, module, data)
    module, data = built()
    optimizer = module.optimizer(module.parameters())
    bare = [seconds(lambda: bare_epoch(module, data, optimizer)) for _ in range(3)]
    full = [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)]
    return min(full[1:]), min(bare[1:])


def bare_epoch(
    module: Classification, data: XrayDataModule, optimizer: torch.optim.Optimizer
) -> None:
    """Trains and evaluates once, as short as it can be written."""
    module.train()
    seen = []
    for batch in data.loader("train", augment=data.augment, shuffle=True):
        logit = module(batch)
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(logit, batch.target))
        optimizer.step()
        seen.append((logit.detach(), batch.target))
    score(*joined(seen))
    module.eval()
    with torch.inference_mode():
        for name in data.eval_splits:
            score(*joined([(module(b), b.target) for b in data.loader(name)]))


def best_arithmetic(threads: int) -> float:
    """Multiply-adds a second of a large product of matrices: what the cores can do at most."""
    torch.set_num_threads(threads)
    one = torch.rand(1536, 1536)
    return len(one) ** 3 / min(seconds(lambda: one @ one) for _ in range(8))
