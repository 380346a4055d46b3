import re
from typing import Any

import pytest

from pneumo.training.settings import NEEDED, RULES, SCORES, _find, check, check_run, nearest


def nested(key: str, value: Any) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed must be a whole number from 0 to 100000000000000; got -1"),
        ("seed", 1.5, "seed must be a whole number from 0 to 100000000000000; got 1.5"),
        ("optimizer.lr", -1e-3, "optimizer.lr must be a number above 0; got -0.001"),
        ("optimizer.lr", "fast", "optimizer.lr must be a number above 0; got 'fast'"),
        ("data.batch_size", 0, "data.batch_size must be a whole number from 1 to 1000000; got 0"),
        (
            "data.image_size",
            100,
            "data.image_size must be a multiple of 32, from 32 to 4096; got 100",
        ),
        ("augment.zoom", [1.2, 0.8], r"augment.zoom must be \[low, high\].*got \[1.2, 0.8\]"),
        ("augment.rotation", 200, "augment.rotation must be a number from 0 to 180; got 200"),
        (
            "protocol.split.fractions",
            {"train": 0.7, "test": 0.4},
            "positive shares of train, test and",
        ),
        (
            "protocol.split.fractions",
            {"train": 1.2, "test": -0.2},
            "positive shares of train, test and",
        ),
        ("protocol.split.val", 1, "protocol.split.val must be a number between 0 and 1; got 1"),
        ("model.dense_dropout", 1.0, "model.dense_dropout must be .* below 1; got 1.0"),
        ("model.batch_norm", "yes", "model.batch_norm must be true or false; got 'yes'"),
        (
            "trainer.max_epochs",
            0,
            "trainer.max_epochs must be a whole number from 1 to 1000000; got 0",
        ),
        ("trainer.devices", 4, "one process for each run"),
        ("trainer.devices", True, "one process for each run"),
        ("trainer.accelerator", "tpu", "must be one of auto, cpu, gpu, cuda, mps; got 'tpu'"),
        ("trainer.limit_val_batches", 0, "a whole number of batches from 1"),
        ("trainer.max_steps", 1, "trainer.max_steps must be -1, since a run ends after"),
        ("trainer.accumulate_grad_batches", 0, "a whole number, at least 1; got 0"),
        ("trainer.gradient_clip_val", "abc", "null or a number, 0 or more; got 'abc'"),
        ("trainer.num_sanity_val_steps", 2, "must be 0, since only whole epochs are scored; got 2"),
        ("trainer.fast_dev_run", True, "must be false, .* trainer=debug is a short run; got true"),
        ("trainer.overfit_batches", 2, "trainer=debug is a short run; got 2"),
        ("trainer.check_val_every_n_epoch", 2, "must be 1, since each epoch is scored; got 2"),
        ("trainer._target_", "builtins.print", "must be pytorch_lightning.Trainer"),
        ("schedule.T_max", 0, "schedule.T_max must be a whole number from 1"),
        ("schedule._target_", "torch.optim.lr_scheduler.ReduceLROnPlateau", "could not repeat it"),
        ("optimizer._target_", "torch.optim.LBFGS", "scores a batch several times in a step"),
        ("optimizer._target_", None, "dotted name .*; got null"),
        ("callbacks.checkpoint.monitor", "nothing", "must be a score and a split"),
        ("callbacks.stop.monitor", "f1/val", "callbacks.stop.monitor must be null or a score"),
        ("callbacks.pictures", None, "left out with ~callbacks.NAME; got null"),
        ("protocol.select_on", "nothing", "must be one of val, test; got 'nothing'"),
        ("num_threads", 100_000, "null or a whole number from 1 to 1024; got 100000"),
        ("seed", 10**19, "from 0 to 100000000000000; got 10000000000000000000"),
        pytest.param("seed", 10**5000, "got a whole number of 16610 bits", id="digits"),
        ("data.cache_dir", "~nosuchuser/x", "no home is known for its ~, or set PNEUMO_CACHE=DIR"),
        ("data.root", "~nosuchuser/x", "data.root must be a folder, written in full"),
        ("data.source.cache_dir", 5, "data.source.cache_dir must be a folder"),
        ("protocol.fold", 1, "protocol.fold must be null but for protocol=kfold; got 1"),
        ("protocol.fold", "odd", "protocol.fold must be null but for"),
        ("callbacks.checkpoint.monitor", None, "must be a score and a split"),
        ("logger.version", [1], "logger.version must be null, text or a whole number"),
        ("trainer.callbacks", None, "must be a list of settings with a _target_; got null"),
        pytest.param("optimizer.lr", 10**400, "a number above 0; got a whole", id="overflow"),
        pytest.param(
            "protocol.split.fractions", {"train": 10**400, "test": 1}, "positive shares", id="share"
        ),
    ],
)
def test_broken_rules_are_told(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(nested(key, value))


def test_all_broken_rules_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)seed must.*optimizer\.lr must"):
        check({"seed": -1, "optimizer": {"lr": 0}})


@pytest.mark.parametrize("fold", [-1, 5, None, "0"])
def test_fold_is_one_of_k(fold: Any) -> None:
    with pytest.raises(ValueError, match=r"protocol\.fold must be from 0 to 4"):
        check({"protocol": {"k": 5, "fold": fold}})
    check({"protocol": {"k": 5, "fold": 4}})


def test_what_is_not_there_is_not_checked() -> None:
    check({})
    check({"seed": 0, "num_threads": None})


def test_rules_name_keys_of_the_configuration() -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from pneumo.train import CONF

    found: set[str] = set()
    for overrides in (
        [],
        ["data=phantom"],
        ["protocol=kfold"],
        ["model=thumbnail_svm"],
        ["data=folder"],
    ):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg: Any = OmegaConf.to_container(compose("train", overrides))
        found |= {key for key in RULES if list(_find(cfg, key))}
    # what the libraries' own objects take besides
    theirs = ("trainer.", "optimizer.", "schedule.", "callbacks.")
    assert {key for key in set(RULES) - found if not key.startswith(theirs)} == set()


def test_nearest_word() -> None:
    assert nearest("optimzer", ["optimizer", "data"]) == " Did you mean optimizer?"
    assert nearest("xyz", ["optimizer", "data"]) == ""
    assert nearest("lr", ["logger", "optimizer.lr", "seed"]) == " Did you mean optimizer.lr?"
    assert nearest("batch_sise", ["data", "data.batch_size"]) == " Did you mean data.batch_size?"


def test_a_split_must_be_one_of_the_protocol() -> None:
    paper = {
        "name": "paper",
        "split": {"_target_": "a.b", "fractions": {"train": 0.7, "test": 0.3}},
    }
    with pytest.raises(ValueError, match=r"protocol\.select_on must name a split; got 'val'"):
        check({"protocol": {**paper, "select_on": "val"}})
    callbacks = {"checkpoint": {"_target_": "a.b", "monitor": "auroc/val"}}
    with pytest.raises(ValueError, match=r"got 'auroc/val'\. protocol=paper has train, test;"):
        check({"protocol": paper, "callbacks": callbacks})


def test_weights_are_kept() -> None:
    keeps = {"_target_": "a.b"}
    check({"callbacks": {"checkpoint": keeps}, "trainer": {"callbacks": [keeps]}})
    with pytest.raises(ValueError, match=r"trainer\.callbacks must hold callbacks\.checkpoint"):
        check({"callbacks": {"checkpoint": keeps}, "trainer": {"callbacks": []}})


def test_what_follows_another_setting_is_set_by_that_one() -> None:
    with pytest.raises(ValueError, match=r"model.image_size must be data.image_size, 64; got 32\."):
        check({"model": {"image_size": 32}, "data": {"image_size": 64}})


def test_a_network_of_another_package_may_mean_something_else_by_a_name() -> None:
    check({"model": {"_target_": "mine.Net", "f": 0.5, "image_size": [3, 3]}})
    with pytest.raises(ValueError, match=r"model.f must be a whole number"):
        check({"model": {"_target_": "pneumo.models.unet_encoder.Encoder", "f": 0.5}})


def test_a_network_too_large_for_memory_is_refused() -> None:
    model = {"f": 4096, "d": 1, "c": 1000, "image_size": 256}
    with pytest.raises(ValueError, match=r"must give at most 1,000,000,000 weights"):
        check({"model": model})
    check({"model": {"f": 16, "d": 2, "c": 1000, "image_size": 256}})


def test_a_run_cannot_do_without_some_settings() -> None:
    with pytest.raises(ValueError, match=r"(?s)seed must be set.*optimizer must be set"):
        check_run({})
    assert len(set(NEEDED)) == len(NEEDED)


def test_scores_are_those_of_an_epoch() -> None:
    import torch

    from pneumo.training.task import score

    found = score(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 0]))
    assert set(SCORES) == set(found) - {"confusion"}


@pytest.mark.parametrize("key", sorted(RULES))
@pytest.mark.parametrize("value", [None, "odd value", -1, 10**400, float("nan"), [], [None], {}])
def test_nothing_but_a_message_comes_of_odd_values(key: str, value: Any) -> None:
    try:
        check(nested(key.replace("*", "some"), value))
    except ValueError as error:
        assert re.search("must (be|hold)", str(error))
