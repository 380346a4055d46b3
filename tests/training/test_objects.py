from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pneumo.arguments.train import CONF
from pneumo.training import fit
from pneumo.training.objects import schedule_settings, try_loss, try_optimizer
from pneumo.training.settings import check_run


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["run_dir=/run", "trainer=cpu", *overrides])
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["+optimizer.nothing=1"],
            r"optimizer\.nothing must be an argument of torch\.optim\.Adamax",
        ),
        (["+optimizer.epss=1"], r"Did you mean eps\?"),
        (["optimizer._target_=torch.optim.Nothing"], r"optimizer\._target_ .* imported"),
        (["optimizer._target_=torch.nn.ReLU"], r"optimizer\._target_ must be a Optimizer"),
        (["optimizer._target_=torch.optim.SparseAdam"], "optimizer cannot be used as it is set"),
        (["+optimizer.betas=[0.9]"], "optimizer cannot be used as it is set"),
        (["+trainer.nothing=1"], r"trainer\.nothing must be an argument of pytorch_lightning"),
        (["+trainer.profiler=odd"], "trainer cannot be used as it is set"),
        (["trainer.devices=[5]"], r"trainer\.devices=\[5\] must name a device of this machine"),
        (["+schedule.nothing=1"], r"schedule\.nothing must be an argument"),
        (
            ["schedule._target_=torch.optim.lr_scheduler.StepLR", "~schedule.T_max"],
            r"schedule\.step_size must be set",
        ),
        (
            [
                "schedule._target_=torch.optim.lr_scheduler.PolynomialLR",
                "~schedule.T_max",
                "+schedule.power=odd",
            ],
            "schedule cannot be used as it is set",
        ),
        (
            ["schedule=onecycle", "schedule.total_steps=3"],
            r"schedule\.total_steps must be at least the 50 steps of the run; got 3\. null takes",
        ),
        (["+loss.nothing=1"], r"loss\.nothing must be an argument"),
        (["loss.class_weights=[1,2,3]"], "loss cannot be used as it is set"),
        (["loss._target_=builtins.dict"], r"loss\._target_ must be a Module"),
        (["logger.tensorboard._target_=builtins.dict"], "must be a Logger"),
        (["+callbacks.pictures.nothing=1"], r"callbacks\.pictures\.nothing must be an argument"),
        (["+callbacks.odd._target_=builtins.dict"], r"callbacks\.odd\._target_ must be a Callback"),
        (["+logger.tensorboard.nothing=1"], r"tensorboard\.nothing must be an argument"),
        (["+model.nothing=1"], r"model\.nothing must be an argument"),
        (
            [
                "callbacks=[default,early_stopping]",
                "callbacks.early_stopping.monitor=loss/test",
                "callbacks.early_stopping.mode=max",
            ],
            r"callbacks\.early_stopping\.mode must be min, since loss/test is best at its minimum",
        ),
        (
            [
                "+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping",
                "+callbacks.stop.monitor=f1_normal/test",  # its mode is min, if it is not set
            ],
            r"callbacks\.stop\.mode must be max, since f1_normal/test is best at its maximum",
        ),
        (
            ["schedule=plateau", "schedule.monitor=f1_normal/train", "schedule.mode=min"],
            r"schedule\.mode must be max",
        ),
        (["+augment.nothing=1"], r"augment\.nothing must be an argument"),
        (
            [
                "augment=crop",
                "augment.transforms=[{_target_: albumentations.RandomCrop,height: 64,width: 32}]",
            ],
            r"augment\.transforms must keep an image's size and type, 256 x 256 .* as 64 x 32",
        ),
        (
            ["augment=crop", "augment.transforms=[{_target_: albumentations.Normalize,p: 0.5}]"],
            "of float32",
        ),
        (
            ["augment=crop", "augment.transforms=[{_target_: albumentations.MaskDropout,p: 1.0}]"],
            r"augment\.transforms cannot be used as it is set: .*[Mm]ask",
        ),
        (
            [
                "augment=crop",
                "augment.transforms=[{_target_: albumentations.GaussNoise,var_limit: [9,90]}]",
            ],
            r"augment cannot be used as it is set: .*var_limit.* not valid for transform Gauss",
        ),
        (
            ["augment=crop", "augment.transforms=[{_target_: albumentations.Affine,cval: 9}]"],
            r"augment cannot be used as it is set: .*cval.* not valid for transform Affine",
        ),
        (
            ["+callbacks.x._target_=pytorch_lightning.callbacks.BatchSizeFinder"],
            r"callbacks\.x must leave batch size .* Set data\.batch_size=N, or search with hpar",
        ),
        (
            ["+callbacks.x._target_=pytorch_lightning.callbacks.LearningRateFinder"],
            r"a LearningRateFinder changes them\. Set optimizer\.lr=X",
        ),
        (["+data.source.nothing=1"], r"data\.source\.nothing must be an argument"),
        (["+protocol.split.nothing=1"], r"protocol\.split\.nothing must be an argument"),
    ],
)
def test_what_an_object_does_not_take_is_told(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        fit.check(composed(*overrides))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["protocol=kfold"],
        ["data=phantom", "schedule=constant"],
        ["optimizer._target_=torch.optim.AdamW", "+optimizer.weight_decay=0.01"],
        [
            "+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping",
            "+callbacks.stop.monitor=loss/test",
        ],
        ["logger=[tensorboard,csv]"],
        ["logger=none"],
        ["optimizer=adamw", "schedule=onecycle", "callbacks=[default,averaged,early_stopping]"],
        ["optimizer=sgd", "loss=focal", "loss.class_weights=balanced"],
        ["optimizer=adam", "loss.label_smoothing=0.1", "augment=crop", "model=compact"],
        [
            "model=prior",
            "model._target_=torchvision.models.mobilenet_v3_small",
            "+model.num_classes=2",
            "data.image_size=64",
        ],
    ],
)
def test_what_a_run_takes_passes(overrides: list[str]) -> None:
    fit.check(composed(*overrides))


def test_trying_draws_no_random_number() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    try_optimizer(composed(), device=torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_gives_one_number_for_a_batch() -> None:
    several = {"_target_": "torch.nn.CrossEntropyLoss", "reduction": "none"}
    with pytest.raises(ValueError, match="loss must give one number for a batch"):
        try_loss({"loss": several}, num_classes=2)
    with pytest.raises(ValueError, match="loss cannot be used as it is set: Using a target size"):
        try_loss({"loss": {"_target_": "torch.nn.L1Loss"}}, num_classes=2)


def test_the_steps_of_a_schedule_are_those_of_the_run() -> None:
    config = composed("schedule=onecycle", "trainer.max_epochs=3")
    assert schedule_settings(config, num_steps=42)["total_steps"] == 42
    assert "total_steps" not in schedule_settings(composed(), num_steps=42)


@pytest.mark.parametrize("monitor", ["loss", "f1_normal"])
def test_what_follows_a_score_takes_its_direction(monitor: str) -> None:
    mode = "min" if monitor == "loss" else "max"
    config = composed(
        "callbacks=[default,early_stopping]",
        f"callbacks.early_stopping.monitor={monitor}/test",
        "schedule=plateau",
        f"schedule.monitor={monitor}/train",
    )
    assert config["callbacks"]["early_stopping"]["mode"] == config["schedule"]["mode"] == mode
    fit.check(config)


def test_experiments_whose_rate_ends_at_0_keep_the_last_epoch() -> None:
    names = [path.stem for path in (CONF / "experiment").glob("*.yaml")]
    for name in set(names) - {"paper"}:  # which chooses the epoch as the paper does
        config = composed(f"experiment={name}")
        schedule = config["schedule"]["_target_"]
        assert schedule.endswith(("OneCycleLR", "CosineAnnealingLR")), name
        assert config["callbacks"]["checkpoint"]["monitor"] == "last", name
        check_run(config)
