"""Seconds of the stages of a run: index, cache, start, epoch, report."""

import os
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
from hydra.utils import instantiate
from torch.nn import functional

from pneumo import cache, cpu, fit, image, index, split
from pneumo.data import XrayDataModule
from pneumo.module import Classifier


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
        table, _ = index.index_names(names)
        table = table.assign(group=index.join_duplicates(table, table["path"].tolist()))
        split.split(
            table, partial(split.by_fraction, fractions={"train": 0.7, "test": 0.3}), seed=0
        )

    return seconds(work)


def build_cache(root: Path, folder: Path, limit: int, image_size: int) -> tuple[int, float, float]:
    """Returns images, images/s of building the cache, and of decoding alone with all cores."""
    paths = index.list_images(root)[:limit]
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
    return seconds(
        lambda: subprocess.run(run, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)
    )


PER_PART = {"train": 320, "test": 80}  # images of an epoch here: its fixed costs weigh more


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
    table, images = fit.read_data(settings, Path(settings["data"]["root"]))
    table = pd.concat([table[table["split"] == part][:count] for part, count in PER_PART.items()])
    cpu.keep_memory()

    def parts() -> tuple[Classifier, XrayDataModule]:
        torch.manual_seed(0)
        data = XrayDataModule(
            table,
            images,
            batch_size=settings["data"]["batch_size"],
            augment=instantiate(settings["augment"]),
            seed=0,
        )
        module = Classifier(
            fit.build_network(settings["model"]),
            optimizer=instantiate(settings["optimizer"]),
            schedule=instantiate(settings["schedule"]),
            eval_parts=data.eval_parts,
            seed=0,
        )
        module.network.mean.fill_(120.0)  # type: ignore[operator]
        module.network.std.fill_(60.0)  # type: ignore[operator]
        return module, data

    module, data = parts()
    trainer = fit.build_trainer({**settings["trainer"], "max_epochs": 4})
    clock = Clock()
    trainer.callbacks.append(clock)  # type: ignore[attr-defined]
    fit.train(trainer, module, data, Path(settings["run_dir"]))
    module, data = parts()
    bare = [seconds(lambda: bare_epoch(module, data)) for _ in range(3)]
    full = [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)]
    return min(full[1:]), min(bare[1:])


def bare_epoch(module: Classifier, data: XrayDataModule) -> None:
    """Trains and evaluates once, as short as it can be written."""
    optimizer = instantiate_once(module)
    module.train()
    seen = []
    for batch in data.loader("train", augment=data.augment, shuffle=True):
        logit = module(batch.image)
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(logit, batch.target))
        optimizer.step()
        seen.append((logit.detach(), batch.target))
    module._score(seen)
    module.eval()
    with torch.inference_mode():
        for part in data.eval_parts:
            module._score([(module(b.image), b.target) for b in data.loader(part)])


def instantiate_once(module: Classifier) -> torch.optim.Optimizer:
    """Returns the module's optimizer."""
    return module.optimizer(module.parameters())


def best_arithmetic(threads: int) -> float:
    """Multiply-adds a second of a large product of matrices: what the cores can do at most."""
    torch.set_num_threads(threads)
    one = torch.rand(1536, 1536)
    return len(one) ** 3 / min(seconds(lambda: one @ one) for _ in range(8))
