from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional

from benchmarks import work
from pneumo import captured, fit
from pneumo.captured import CapturedStep
from pneumo.module import Classifier
from pneumo.nets import Encoder
from tests.conftest import DEVICES, SMALL, Command

BATCH = 8


def repeated(work: captured.Work) -> captured.Work:
    """Stands in for a graph where there is no GPU: as a graph, nothing is done until it is run."""
    return work


def network(device: str, **options: Any) -> Encoder:
    torch.manual_seed(0)
    return Encoder(f=8, d=4, c=100, image_size=32, **options).to(device)


def batches(count: int, device: str) -> list[tuple[Tensor, Tensor]]:
    """Of BATCH images, but for every fourth, which is smaller."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for number in range(count):
        size = BATCH - 3 if number % 4 == 3 else BATCH
        image = torch.randint(0, 256, (size, 1, 32, 32), dtype=torch.uint8, generator=generator)
        found.append((image.to(device), (torch.arange(size) % 2).to(device)))
    return found


def forward_of(net: Encoder) -> Any:
    def forward(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        logit = net(image.to(net.head.weight.dtype))
        return logit, functional.cross_entropy(logit, target)

    return forward


def capturing(device: str) -> Any:
    return captured.cuda_graph if device == "cuda" else repeated


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_captured_step_is_the_plain_one(device: str, batch_norm: bool) -> None:
    options = {"level_dropout": [0.0] * 5, "dense_dropout": 0.0, "batch_norm": batch_norm}
    plain, other = (network(device, **options).double() for _ in range(2))
    by_plain = torch.optim.Adamax(plain.parameters(), lr=0.004)
    by_step = torch.optim.Adamax(other.parameters(), lr=0.004)
    step = CapturedStep(forward_of(other), by_step, capture=capturing(device))
    for number, (image, target) in enumerate(batches(12, device)):
        by_plain.param_groups[0]["lr"] = by_step.param_groups[0]["lr"] = 0.004 / (1 + number)
        by_plain.zero_grad()
        logit, loss = forward_of(plain)(image, target)
        loss.backward()
        by_plain.step()
        torch.testing.assert_close(step(image, target), logit.detach(), rtol=1e-4, atol=1e-5)
    state = other.state_dict()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-6)
    assert type(by_step.param_groups[0]["lr"]) is float
    assert by_step.param_groups[0]["capturable"] is False


@pytest.mark.parametrize("device", DEVICES)
def test_what_a_step_returned_is_not_overwritten(device: str) -> None:
    net = network(device)
    optimizer = torch.optim.Adamax(net.parameters())
    step = CapturedStep(forward_of(net), optimizer, capture=capturing(device))
    kept = []
    for image, target in batches(12, device):
        logit = step(image, target)
        kept.append((logit, logit.clone()))
    assert all(torch.equal(logit, then) for logit, then in kept)


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_differs_at_every_step_and_repeats_with_the_seed(device: str) -> None:
    net = network(device, batch_norm=False, dense_dropout=0.5)
    optimizer = torch.optim.Adamax(net.parameters(), lr=0.0)
    step = CapturedStep(forward_of(net), optimizer, capture=capturing(device))
    image, target = batches(1, device)[0]
    looks = []
    for _ in range(2):  # the second time all steps are repeats of the graph
        for _ in range(captured.WARM_UP + 1):
            step(image, target)
        torch.manual_seed(7)
        looks.append([step(image, target) for _ in range(6)])
    for one, other in zip(*looks, strict=True):
        assert torch.equal(one, other)
    assert len({tuple(logit.flatten().tolist()) for logit in looks[0]}) == 6


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_step_asks_a_gpu_for_no_number(monkeypatch: pytest.MonkeyPatch, batch_norm: bool) -> None:
    """Such a question would end a capture. Tensors without content stand in for those of a GPU."""
    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    with FakeTensorMode(), torch.device("cuda"):
        net = Encoder(f=8, d=4, c=100, image_size=32, batch_norm=batch_norm)
        optimizer = torch.optim.Adamax(net.parameters())
        step = CapturedStep(forward_of(net), optimizer)
        image = torch.zeros(BATCH, 1, 32, 32, dtype=torch.uint8)
        _, loss = forward_of(net)(image, torch.zeros(BATCH, dtype=torch.long))
        assert loss.device.type == "cuda"
        for weight in net.parameters():  # the engine of backward wants a real GPU
            weight.grad = torch.zeros_like(weight)
        step.update()
        assert optimizer.state[weight]["step"].device.type == "cuda"
        with pytest.raises(DataDependentOutputException):
            loss.item()


def exact(*given: Any) -> CapturedStep:
    """A step whose rates are not rounded to 32 bits, so that it computes what Lightning does."""
    step = CapturedStep(*given, capture=repeated)
    step.rates = [rate.double() for rate in step.rates]
    return step


def trained(folder: Path, *overrides: str, capture: bool) -> tuple[Classifier, pl.Trainer]:
    settings = work.config("data=phantom", *SMALL, *overrides, run_dir=folder)
    settings["capture"] = capture
    folder.mkdir()
    source = instantiate(settings["data"]["source"])
    table, images = fit.read_data(settings, source.root)
    _, module, data = fit.build(settings, table, images, resident=torch.device("cpu"))
    trainer = fit.build_trainer(settings["trainer"])
    fit.train(trainer, module, data, folder)
    return module, trainer


@pytest.mark.slow
def test_lightning_trains_by_captured_steps_as_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pneumo.module.CapturedStep", exact)
    few = ["data.num_images=60", "trainer.max_epochs=3", "data.batch_size=8"]
    plain, by_plain = trained(tmp_path / "plain", *few, capture=False)
    other, by_step = trained(tmp_path / "step", *few, capture=True)
    for name, value in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    assert by_step.global_step == by_plain.global_step > 3 * captured.WARM_UP
    for one, two in zip(plain.history, other.history, strict=True):
        assert one | {"seconds": 0} == two | {"seconds": 0}
    assert other.captured is None
    saved = torch.load(tmp_path / "step" / "checkpoints" / "last.ckpt", weights_only=True)
    group = saved["optimizer_states"][0]["param_groups"][0]
    assert (type(group["lr"]), group["capturable"]) == (float, False)


def test_on_the_cpu_nothing_can_be_captured(
    train: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert train("hydra.run.dir=run", "capture=true", *SMALL) == 2
    assert "a captured step trains on a GPU by CUDA" in capsys.readouterr().err


class Peeks(pl.Callback):
    def on_after_backward(self, *_: object) -> None:
        pass


@pytest.mark.filterwarnings("ignore:GPU available but not used")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_clip_val": 1.0}, "gradient clipping"),
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches=1"),
        ({"callbacks": [Peeks()]}, "calls no Peeks.on_after_backward"),
    ],
)
def test_what_a_captured_step_cannot_do_is_refused(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)
    monkeypatch.setattr(type(trainer.strategy), "root_device", torch.device("cuda"))
    with pytest.raises(ValueError, match=message):
        captured.check(trainer)


def test_an_optimizer_that_cannot_be_captured_is_refused() -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="such as Adamax; got SGD"):
        CapturedStep(lambda image, target: (image, target), optimizer)
