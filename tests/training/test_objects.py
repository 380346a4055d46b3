from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from pneumo.arguments.train import CONF
from pneumo.runs import trust
from pneumo.runs.run import Run
from pneumo.training import objects
from pneumo.training.config import read
from pneumo.training.objects import Parts, build_parts
from tests.conftest import composed

CROP = ("augment=crop", "data.image_size=64")
STOP = "+callbacks.x._target_=pytorch_lightning.callbacks.EarlyStopping"


def parts(*overrides: str) -> Parts:
    return build_parts(read(composed("data.image_size=64", *overrides)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+optimizer.epss=1"], "optimizer cannot be used as it is set: .* argument 'epss'"),
        (["optimizer._target_=torch.optim.Nothing"], "optimizer cannot be .*Nothing"),
        (["trainer.accelerator=nothing"], "trainer cannot be used as it is set: .*'nothing'"),
        (["schedule._target_=torch.optim.lr_scheduler.StepLR", "~schedule.T_max"], "step_size"),
        (["schedule=onecycle", "schedule.total_steps=3"], "the 50 steps of the run; got 3"),
        (["loss.class_weights=[1,2,3]"], "loss cannot be used as it is set"),
        (["+callbacks.x._target_=torch.nn.Module"], r"x\._target_ must build a Callback"),
        (["+model.nothing=1"], "model cannot be used as it is set: .*'nothing'"),
        (["loss=focal", "+loss.label_smoothing=0.1"], r"label_smoothing'\. ~loss\.label_smoothing"),
        (
            ["schedule=plateau", "schedule.monitor=f1_normal/train", "schedule.mode=min"],
            "mode must be max",
        ),
        (
            [STOP, "+callbacks.x.monitor=f1_normal/train"],  # its mode is min, if it is not set
            r"callbacks\.x\.mode must be max, since f1_normal/train is best at its maximum",
        ),
        (
            [
                *CROP,
                "augment.transforms=[{_target_: albumentations.RandomCrop,height: 32,width: 16}]",
            ],
            r"augment must keep an image's size and type, 64 x 64 .* got 32 x 16",
        ),
        ([*CROP, "augment.transforms=[{_target_: albumentations.Normalize}]"], "of float32"),
        (
            [*CROP, "augment.transforms=[{_target_: albumentations.GaussNoise,var_limit: [9,90]}]"],
            r"augment cannot be used as it is set: .*var_limit.* not valid for transform Gauss",
        ),
        (
            ["+callbacks.x._target_=pytorch_lightning.callbacks.BatchSizeFinder"],
            r"callbacks\.x must leave batch size and rate as they are recorded; set data",
        ),
        (["data.progressive={side:32,share:0.5}"], "a network that takes images of any size"),
        (["task=detection", "+model.options.nms=1"], "model.options must be of torchv"),
        (["task=detection", "model=tiny"], "must build a Detector"),
        (["task=detection", "augment=warp"], "augment cannot be used as it is set"),
    ],
)
def test_an_object_that_cannot_be_built_is_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parts(*overrides)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"_target_": "torch.nn.CrossEntropyLoss", "reduction": "none"}, "must be one number"),
        ({"_target_": "torch.nn.L1Loss"}, "cannot be used as it is set: Using a target size"),
    ],
)
def test_a_loss_is_one_number_for_a_batch(loss: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"loss {message}"):
        build_parts(read(composed("data.image_size=64") | {"loss": loss}))


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=adamw", "schedule=onecycle"],
        ["protocol=holdout", "callbacks=[default,averaged,early_stopping]"],
        ["optimizer=sgd", "loss=focal", "loss.class_weights=balanced", "logger=[tensorboard,csv]"],
        ["loss.label_smoothing=0.1", "augment=crop", "model=compact", "schedule=plateau"],
        [
            "model._target_=torchvision.models.mobilenet_v3_small",
            "model=prior",
            "+model.num_classes=2",
        ],
        ["task=detection", "model.backbone=mobilenet_v3_large"],
    ],
)
def test_the_objects_of_a_run_are_built(overrides: list[str]) -> None:
    parts(*overrides)


def test_the_weights_are_those_of_the_seed() -> None:
    torch.manual_seed(1)
    first, second = (parts("seed=7").network for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_weights_of_a_network_that_computes_something_else_are_refused() -> None:
    init = ("init=pretrained:compact-robust", "data.image_size=128")
    assert parts("experiment=adapt", *init).network.training
    with pytest.raises(ValueError, match="this one has other outputs"):
        parts("experiment=compact-fast", *init)


@pytest.mark.parametrize(
    ("of_run", "own", "of_command", "packages"),
    [
        ("mine.Net", "mine.Net", None, ["mine"]),
        ("torch.load", "torch.nn.Sequential", None, []),
        ("torch.nn.Sequential", "torch.nn.Sequential", None, []),  # parts may be torch.load
        ("mine.Net", "mine.Net", (), []),  # resumed: its settings may be foreign
        ("mine.Net", "other.Net", ("mine",), ["mine"]),
    ],
)
def test_init_runs_code_of_the_users_own_network_only(
    of_run: str, own: str, of_command: Any, packages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SimpleNamespace(settings={"model": {"_target_": of_run}})
    monkeypatch.setattr(Run, "open", lambda place: run)
    monkeypatch.setattr(trust, "trusted", of_command)
    config: Any = SimpleNamespace(init="a run", model=SimpleNamespace(target_=own))
    assert objects.trusted_by(config) == packages


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(["trainer=gpu"], [1]), (["trainer=gpu", "trainer.devices=[0]"], [0]), (["trainer=cpu"], 1)],
)
def test_runs_of_a_sweep_take_turns_on_gpus_but_for_those_that_are_named(
    settings: list[str], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: dict[str, Any] = {}
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=SimpleNamespace(type="cuda")))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(pl, "Trainer", lambda **given: built.update(given) or trainer)
    plain = composed(*settings) | {"job_number": 3}
    if "trainer=gpu" in settings:
        plain["trainer"]["accelerator"] = "gpu"  # composed() sets the CPU
    objects.build_trainer(read(plain))
    assert built["devices"] == expected


@pytest.mark.parametrize("monitor", ["loss", "f1_normal"])
def test_what_follows_a_score_takes_its_direction(monitor: str) -> None:
    config = composed(
        "callbacks=[default,early_stopping]",
        f"callbacks.early_stopping.monitor={monitor}/val",
        "schedule=plateau",
        f"schedule.monitor={monitor}/train",
    )
    mode = "min" if monitor == "loss" else "max"
    assert config["callbacks"]["early_stopping"]["mode"] == config["schedule"]["mode"] == mode


def test_experiments_whose_rate_ends_at_0_keep_the_last_epoch() -> None:
    for name in {path.stem for path in (CONF / "experiment").glob("*.yaml")} - {"paper"}:
        config = composed(f"experiment={name}")  # paper chooses the epoch as the paper does
        schedule = config["schedule"]["_target_"]
        assert schedule.endswith(("OneCycleLR", "CosineAnnealingLR")), name
        assert read(config).monitor == "last", name
