import copy
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest

from pneumo.cli import nearest
from pneumo.training.config import read
from tests.conftest import composed

CONFIG = composed("data.root=/images")
ODD_VALUES: tuple[Any, ...] = (
    None, "odd value", -1, 10**30, float("nan"), [], [None], {}, {"some": 1}
)  # fmt: skip


def changed(key: str, value: Any, config: Mapping[str, Any] = CONFIG) -> dict[str, Any]:
    """The configuration with another value of a setting, which may be new."""
    new: dict[str, Any] = copy.deepcopy(dict(config))
    *sections, name = key.split(".")
    section = new
    for part in sections:
        section = section.setdefault(part, {})
    section[name] = value
    return new


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed must be greater than or equal to 0; got -1"),
        ("data.aspect", "cut", "data.aspect must be 'stretch' or 'pad'; got 'cut'"),
        ("trainer.limit_val_batches", 0, "limit_val_batches must be greater than 0; got 0"),
        ("trainer.max_steps", 1, "must be left out, since a run ends after trainer.max_epochs"),
        ("trainer.check_val_every_n_epoch", 2, "check_val_every_n_epoch must be 1; got 2"),
        ("schedule.monitor", "loss/test", "schedule.monitor must be a score of the train or the"),
        ("schedule._target_", "x.ReduceLROnPlateau", "schedule must have a monitor, such as"),
        ("callbacks.x", {"_target_": "a.b", "monitor": "last"}, "x.monitor must be .* got last"),
        ("callbacks.checkpoint.monitor", "auroc/val", "split of protocol=paper, which has train,"),
        ("callbacks.checkpoint.monitor", "map/test", "a score of images, or task=detection"),
        ("protocol.split.fractions", {"train": 0.7, "test": 0.4}, "must sum to 1; got"),
        ("protocol.fold", 1, "protocol.fold must be null, except with protocol=kfold .* got 1"),
        ("run_dir", "~/x", "run_dir must match pattern .*; got '~/x'"),
        (
            "decision",
            "sensitivity",
            "validation split: protocol=holdout; got protocol=paper",
        ),
        ("views.scales", [1, 0.9, 1], r"views.scales must be different; got \[1.0, 0.9, 1.0\]"),
        (
            "data.progressive",
            {"side": 256, "share": 0.5},
            "side must be below data.image_size, 256",
        ),
        ("optimizer", 5, "optimizer must be a valid dictionary .*; got 5"),
        ("model.image_size", 32, "model.image_size must be data.image_size, 256; got 32"),
    ],
)
def test_a_wrong_setting_is_one_line(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(changed(key, value))
    assert len(str(caught.value).splitlines()) == 1


def test_all_wrong_settings_are_reported_at_once_and_their_followers_are_not() -> None:
    config = changed("seed", -1, changed("callbacks.checkpoint.monitor", "f1"))
    config["callbacks"]["lines"]["monitor"] = "f1"
    del config["optimizer"], config["views"]
    with pytest.raises(ValueError, match="seed must") as caught:
        read(config)
    lines = sorted(str(caught.value).splitlines())
    keys = ["callbacks.checkpoint.monitor", "optimizer", "seed", "views"]
    assert [line.split()[0] for line in lines] == keys
    assert lines[1] == "optimizer must be set"


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: type(value).__name__)
def test_odd_values_give_settings_or_one_message(value: Any) -> None:
    for key in random.Random(0).sample(settings_of(CONFIG), 40):
        try:
            read(changed(key, value))
        except ValueError as error:
            assert re.search("must|; got", str(error)), key


def settings_of(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in config.items():
        found.append(f"{prefix}{name}")
        found += settings_of(value, f"{prefix}{name}.") if isinstance(value, Mapping) else []
    return found


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=phantom", "logger=none", "tags=[a,b]", "model=thumbnail_svm"],
        ["data=folder", "data.root=/images", "protocol=kfold", "protocol.fold=4"],
        ["task=detection", "data=rsna", "data.root=/images"],
        ["model=resnet18", "trainer=debug", "trainer.limit_val_batches=0.5"],
        ["model._target_=mine.Net", "model.image_size=0.5"],  # of another package
        ["callbacks.checkpoint.monitor=last", "experiment=compact-robust"],
    ],
)
def test_what_a_run_takes_passes_and_stays_as_it_is(overrides: list[str]) -> None:
    config = composed(*overrides)
    assert read(config).plain() == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=retinanet"], "model=retinanet is a detector, which needs task=detection"),
        (["task=detection", "model=prior"], "model must be a detector, such as retinanet, with"),
        (["task=detection", "loss=focal"], "loss must be null, .* with task=detection"),
        (["task=detection", "protocol=paper"], "have a validation split.*, such as holdout, with"),
        (["task=detection", "callbacks=[detection,finetune]"], "must be without finetune"),
        (["task=detection", "views.mirror=true"], "views must be one, with views.mirror=false"),
        (["protocol=official", "protocol.val=0"], "has train, test; .*=last selects nothing"),
        (
            ["protocol=official", "protocol.val=0", "decision=sensitivity"],
            "needs a validation split: protocol=holdout; got protocol=official protocol.val=0",
        ),
        (["callbacks=[default,early_stopping]"], "early_stopping.monitor=loss/train, or loss/val"),
        (
            ["callbacks=[default,early_stopping]", "callbacks.early_stopping.monitor=loss/test"],
            "callbacks.early_stopping.monitor must be a score of the train .* got loss/test",
        ),
        (["protocol=kfold", "protocol.fold=5"], "protocol.fold must be .* from 0 to 4; got 5"),
        (["protocol=kfold", "protocol.fold=null"], "protocol.fold must be .* 0 to 4; got null"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(composed(*overrides))


def test_splits_are_scored_after_each_epoch_where_an_epoch_is_chosen() -> None:
    last, val = "callbacks.checkpoint.monitor=last", "trainer.check_val_every_n_epoch=1"
    plateau = ["schedule=plateau", "schedule.monitor=loss/train"]
    cases = {(): True, (last,): False, (last, val): True, (last, *plateau): False}
    cases |= {("callbacks.checkpoint.monitor=loss/train",): True}
    cases |= {("task=detection", "protocol=holdout", last): True}
    for overrides, expected in cases.items():
        assert read(composed(*overrides)).scores_each_epoch is expected
    nothing = read(composed("protocol=official", "protocol.val=0", last))
    assert nothing.protocol.splits == ("train", "test")


def test_a_mistyped_setting_gets_the_nearest_one() -> None:
    assert nearest("optimzer", ["optimizer", "data"]) == " Did you mean optimizer?"
    assert nearest("xyz", ["optimizer", "data"]) == ""
    assert nearest("lr", ["logger", "optimizer.lr", "seed"]) == " Did you mean optimizer.lr?"
    assert nearest("batch_sise", ["data", "data.batch_size"]) == " Did you mean data.batch_size?"
