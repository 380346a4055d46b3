import copy
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest

from pneumo.cli import nearest
from pneumo.training import settings
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
        ("trainer.limit_val_batches", 0, "must be greater than 0; got 0"),
        ("trainer.max_steps", 1, "must be left out, since a run ends after trainer.max_epochs"),
        ("trainer.fast_dev_run", True, "no checkpoint to score; trainer=one_batch is as short"),
        ("ensembles", {"two": ["tiny", "tiny"]}, "ensembles.two must be different networks"),
        ("schedule.monitor", "loss/test", "not be of the test split, by which nothing may be"),
        ("schedule._target_", "x.ReduceLROnPlateau", "schedule.monitor must be a score and a"),
        ("optimizer._target_", "torch.optim.LBFGS", "scores a batch several times in a step"),
        ("callbacks.stop", {"_target_": "a.b", "monitor": "last"}, "stop.monitor must be a score"),
        ("callbacks.pictures", None, "callbacks.pictures must be settings with a _target_"),
        ("callbacks.checkpoint.monitor", "auroc/val", "protocol=paper has train, test;"),
        ("callbacks.checkpoint.monitor", "map/test", "a score of images, or task=detection"),
        ("protocol.select_on", "val", "protocol.select_on must name a split; got 'val'"),
        ("protocol.split.fractions", {"train": 0.7, "test": 0.4}, "that sum to 1; got"),
        ("protocol.fold", 1, "protocol.fold must be null except with protocol=kfold; got 1"),
        ("data.cache_dir", "~nosuchuser/x", "no home is known for its ~"),
        ("run_dir", "~/x", "run_dir must be a folder, written without ~"),
        ("decision", "best", "decision must be 'argmax', 'balanced' or 'sensitivity'; got 'best'"),
        ("decision", "sensitivity", "needs a validation split, .*: protocol=holdout; got protocol"),
        ("views.scales", [], r"views.scales must be numbers above 0, at most 1, .*; got \[\]"),
        ("views.scales", [1, 1.1], r"at most 1, such as \[1,0.85\]; got \[1.0, 1.1\]"),
        ("views.scales", [1, 0.9, 1], r"views.scales must be different; got \[1.0, 0.9, 1.0\]"),
        ("views.scales", [1, 0.05], "at least 32 pixels or a tenth .*; got 0.05 of 256 pixels"),
        ("optimizer", 5, "optimizer must be settings with a _target_, such as .*; got 5"),
        ("model.image_size", 32, "model.image_size must be data.image_size, 256; got 32. Set data"),
    ],
)
def test_a_wrong_setting_is_one_line(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        settings.read(changed(key, value))
    assert len(str(caught.value).splitlines()) == 1


def test_all_wrong_settings_are_reported_at_once_and_their_followers_are_not() -> None:
    config = changed("seed", -1, changed("callbacks.checkpoint.monitor", "f1"))
    config["callbacks"]["lines"]["monitor"] = "f1"
    del config["optimizer"], config["views"]
    with pytest.raises(ValueError, match="seed must") as caught:
        settings.read(config)
    lines = sorted(str(caught.value).splitlines())
    keys = ["callbacks.checkpoint.monitor", "optimizer", "seed", "views"]
    assert [line.split()[0] for line in lines] == keys
    assert lines[1] == "optimizer must be set"


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: type(value).__name__)
def test_odd_values_give_settings_or_one_message(value: Any) -> None:
    keys = [key for key in settings_of(CONFIG) if not key.startswith("callbacks.")]
    for key in random.Random(0).sample(keys, 40):
        try:
            settings.read(changed(key, value))
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
        ["data=phantom", "logger=none", "tags=[a,b]"],
        ["data=folder", "data.root=/images", "protocol=kfold", "protocol.fold=4"],
        ["task=detection", "data=rsna", "data.root=/images"],
        ["model=thumbnail_svm"],
        ["model=resnet18", "trainer=debug", "trainer.limit_val_batches=0.5"],
        ["model._target_=mine.Net", "model.f=0.5", "model.batch_norm=odd"],  # of another package
        ["callbacks.checkpoint.monitor=last", "experiment=compact-robust"],
    ],
)
def test_what_a_run_takes_passes(overrides: list[str]) -> None:
    settings.read(composed(*overrides))


@pytest.mark.parametrize("fold", [-1, 5, None])
def test_fold_is_one_of_k(fold: Any) -> None:
    config = composed("protocol=kfold", "data.root=/images")
    config["protocol"]["fold"] = config["protocol"]["split"]["fold"] = fold
    with pytest.raises(ValueError, match=r"protocol\.fold must be from 0 to 4"):
        settings.read(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=retinanet"], "model=retinanet is a detector, which needs task=detection"),
        (["task=detection", "model=tiny"], "model must be retinanet or maskrcnn with task=detect"),
        (["task=detection", "loss=focal"], "loss must be null"),
        (["task=detection", "protocol=paper"], "protocol=holdout; got protocol=paper"),
        (["task=detection", "data.progressive={side:32,share:0.5}"], "progressive must be null"),
        (["task=detection", "augment=warp"], "augment must be of albumentations"),
        (["task=detection", "decision=balanced"], "decision must be argmax with task=detection"),
        (["task=detection", "views.mirror=true"], "views.mirror must be false"),
    ],
)
def test_settings_of_the_other_task_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings.read(composed(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["protocol.val=0"], "monitor must be last with protocol.val=0"),
        (["protocol.val=1"], "protocol.val must be less than 1"),
        (["protocol.split.val=0.2"], "protocol.split.val must be protocol.val"),
        (["data.progressive={side:256,share:0.5}"], "must be below data.image_size, 256"),
        (["data.progressive={side:64,share:2}"], "data.progressive.share must be less than 1"),
        (["trainer.check_val_every_n_epoch=2"], "trainer.check_val_every_n_epoch must be 1"),
    ],
)
def test_impossible_splits_and_sizes_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings.read(composed("protocol=official", *overrides))


def test_splits_are_scored_after_each_epoch_where_an_epoch_is_chosen() -> None:
    last, val = "callbacks.checkpoint.monitor=last", "trainer.check_val_every_n_epoch=1"
    plateau = ["schedule=plateau", "schedule.monitor=loss/train"]
    cases = {(): True, (last,): False, (last, val): True, (last, *plateau): False}
    for overrides, expected in cases.items():
        assert settings.read(composed(*overrides)).scores_each_epoch is expected
    nothing = settings.read(composed("protocol=official", "protocol.val=0", last))
    assert nothing.protocol.splits == ("train", "test")


def test_a_mistyped_setting_gets_the_nearest_one() -> None:
    assert nearest("optimzer", ["optimizer", "data"]) == " Did you mean optimizer?"
    assert nearest("xyz", ["optimizer", "data"]) == ""
    assert nearest("lr", ["logger", "optimizer.lr", "seed"]) == " Did you mean optimizer.lr?"
    assert nearest("batch_sise", ["data", "data.batch_size"]) == " Did you mean data.batch_size?"
