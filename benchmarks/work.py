"""One process of the benchmark: trains and evaluates for some seconds, prints what it measured."""

import argparse
import itertools
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks import plain
from pneumo.arguments.train import CONF
from pneumo.data.augment import Warp
from pneumo.data.datamodule import XrayDataModule
from pneumo.data.kermany import targets
from pneumo.models import fused_cpu, views
from pneumo.models.base import Network
from pneumo.training import fit
from pneumo.training.classification import Classification
from pneumo.training.config import Config

Batches = Iterator[tuple[Tensor, Tensor]]  # float images and classes, without end
WARM_UP = 5  # steps that are not timed


def config(*overrides: str, run_dir: Path | None = None) -> dict[str, Any]:
    """Returns the training's configuration, as the command composes it."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose("train", [*overrides, f"run_dir='{run_dir}'"])
    found: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    return found


def measure(
    form: str, settings: dict[str, Any], seconds: float, device: torch.device
) -> dict[str, float]:
    """Returns images/s of training and evaluation, CPU ms of an image, and peak MB of memory.

    Args:
        form: plain or fast.
        settings: of the training.
        seconds: how long to train; evaluation takes a third of it.
        device: where to train.
    """
    typed = Config.model_validate(settings)
    table, images = fit.read_data(typed, fit.open_data_set(typed))
    network = Classification.build_network(typed)
    data = Classification.batches(typed, network, table, images)
    Classification(typed, network, data)  # the network gets the statistics of the images
    if form == "plain":
        state = network.state_dict()
        arguments = {key: value for key, value in settings["model"].items() if key != "name"}
        network = instantiate(arguments)  # its layers were never channels-last
        network.log_prior = state["log_prior"].clone()
        network.load_state_dict(state)
    network.to(device)
    forward: Callable[[Tensor], Tensor] = network
    batches: Callable[[str], Batches] = lambda split: fast_batches(data, split)  # noqa: E731
    if form == "plain":
        forward = lambda image: plain.forward(network, image)  # noqa: E731
        batches = lambda split: plain_batches(settings, data, table, split)  # noqa: E731
    else:
        fused_cpu.keep_memory()
    optimizer = instantiate(settings["optimizer"])(network.parameters())

    def train_step(image: Tensor, target: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(functional.cross_entropy(forward(image), target))
        optimizer.step()

    training = timed(train_step, moved(batches("train"), device), seconds)
    network.eval()
    with torch.inference_mode():
        test = moved(batches("test"), device)
        evaluation = timed(lambda image, _: forward(image), test, seconds / 3)
    return {
        "training": training[0],
        "cpu_ms": training[1],
        "evaluation": evaluation[0],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "training_multiply_adds": training_multiply_adds(network, settings["data"]["image_size"]),
    }


def training_multiply_adds(network: Network, image_size: int) -> int:
    """Multiply-adds of a training step for one image: three times the network's, less one.

    Forward, gradient of inputs, gradient of weights; but the image itself needs no gradient.
    """
    first = next(weight for weight in network.parameters() if weight.dim() == 4)
    return 3 * views.multiply_adds(network, image_size=image_size) - first.numel() * image_size**2


def fast_batches(data: XrayDataModule, split: str) -> Batches:
    """Batches as training gets them."""
    for number in itertools.count():
        augment = data.augment if split == "train" else None
        loader = data.loader(split, augment=augment, shuffle=True, epoch=number)
        for batch in loader:
            image = batch.image.float()
            yield image.contiguous(memory_format=torch.channels_last), batch.target


def plain_batches(
    settings: dict[str, Any], data: XrayDataModule, table: Any, split: str
) -> Batches:
    """Batches of decoded and augmented files."""
    rows = table[table["split"] == split]
    assert not isinstance(data.augment, Warp)  # the paper's
    files = plain.Files(
        Path(settings["data"]["root"]),
        rows["path"].tolist(),
        targets(rows, num_classes=2),
        image_size=settings["data"]["image_size"],
        augment=data.augment if split == "train" else None,
    )
    while True:
        yield from DataLoader(
            files,
            batch_size=data.batch_size,
            shuffle=True,
            num_workers=settings["data"]["num_workers"],
        )


def moved(batches: Batches, device: torch.device) -> Batches:
    """The same batches on a device."""
    for image, target in batches:
        yield image.to(device), target.to(device)


def wait_for_gpu() -> None:
    """Returns when a GPU, if there is one in use, has done what it was asked."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def timed(
    step: Callable[[Tensor, Tensor], object], batches: Batches, seconds: float
) -> tuple[float, float]:
    """Returns images/s and CPU milliseconds of an image, of steps with their batches."""
    for image, target in itertools.islice(batches, WARM_UP):
        step(image, target)
    wait_for_gpu()
    wait_for_others()
    count, start, start_cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds or not count:
        image, target = next(batches)
        step(image, target)
        count += len(image)
    wait_for_gpu()
    spent, spent_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    return count / spent, 1e3 * spent_cpu / count


def wait_for_others() -> None:
    """Prints a line when warm, then waits for one: all processes of a measurement start at once."""
    print(flush=True)  # noqa: T201
    sys.stdin.readline()


def main() -> None:
    """Prints the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=("plain", "fast"))
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("overrides", nargs="*", help="settings of the training")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    settings = config(*arguments.overrides)
    device = torch.device("cuda" if arguments.gpu else "cpu")
    print(json.dumps(measure(arguments.form, settings, arguments.seconds, device)))  # noqa: T201


if __name__ == "__main__":
    main()
