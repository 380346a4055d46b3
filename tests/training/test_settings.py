import re
from typing import Any

import pytest

from pneumo.cli import nearest
from pneumo.training.config import SCORES, OwnModel
from pneumo.training.rules import SectionRule
from pneumo.training.settings import check, check_run, keys, rules

RULES = rules() | rules(OwnModel, "model.")
ODD_VALUES: tuple[Any, ...] = (
    None,
    "odd value",
    -1,
    10**400,
    float("nan"),
    [],
    [None],
    {},
    {"some": 1},
)


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
        ("data.image_size", 31, "data.image_size must be a whole number from 32 to 4096; got 31"),
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
        ("trainer.gradient_clip_val", "abc", "null or a number above 0; got 'abc'"),
        ("trainer.num_sanity_val_steps", 2, "must be 0, since only whole epochs are scored; got 2"),
        ("trainer.fast_dev_run", True, "no checkpoint to score; trainer=one_batch is as short"),
        ("trainer.overfit_batches", 0.5, "null or a whole number, at least 1; got 0.5"),
        ("trainer.check_val_every_n_epoch", 2, "null, 1, since the best epoch is chosen by"),
        ("trainer.limit_test_batches", 2, "scored with the validation split: limit_val_batches"),
        ("trainer.profiler", "xla", "one of null, simple, advanced, pytorch; got 'xla'"),
        (
            "ensembles",
            {"two": ["tiny", "tiny"]},
            r"ensembles must be null or names, each with a list of two or more different networks, "
            r"such as \{two: \[tiny,small\]\}; got",
        ),
        (
            "ensembles",
            {"one": ["tiny"]},
            "ensembles must be null or names, each with a list of two",
        ),
        (
            "ensembles",
            ["tiny", "small"],
            "ensembles must be null or names, each with a list of two",
        ),
        ("tags", "first", r"tags must be a list of names, such as \[first,small\]; got 'first'"),
        ("trainer._target_", "builtins.print", "must be pytorch_lightning.Trainer"),
        ("schedule.T_max", 0, "schedule.T_max must be a whole number from 1"),
        ("schedule.monitor", "loss/test", "not of the test split, by which nothing may be trained"),
        (
            "schedule",
            {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "_partial_": True},
            "schedule.monitor must name a score and a split",
        ),
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
        ("loss._target_", "focal", "loss._target_ must be a dotted name"),
        ("loss.label_smoothing", 1, "must be a number from 0, below 1; got 1"),
        ("loss.class_weights", [1], "null, balanced or a list of 2 or 3 numbers above 0"),
        ("loss.class_weights", "inverse", "null, balanced or a list of 2 or 3 numbers above 0"),
        ("loss.gamma", -1, "loss.gamma must be a number, 0 or more; got -1"),
        ("schedule.max_lr", 0, "schedule.max_lr must be a number above 0, or one for"),
        ("schedule.pct_start", 1, "must be a number between 0 and 1; got 1"),
        ("schedule.total_steps", 0, "must be null or a whole number, at least 1; got 0"),
        (
            "schedule.max_lr",
            [0.1, 0],
            "a number above 0, or one for each of the optimizer's groups",
        ),
        ("schedule.interval", "batch", "schedule.interval must be one of epoch, step; got 'batch'"),
        ("model.pretrained", 1, "model.pretrained must be true, false or a file of weights; got 1"),
        (
            "model.library",
            "keras",
            "model.library must be one of torchvision, timm, efficientnet_lite; got 'keras'",
        ),
        ("model.widths", [[24], []], "model.widths must be a list of stages, each a list of chan"),
        ("logger", 5, "logger must be settings with a _target_, several of them by name"),
        ("optimizer", 5, r"optimizer must be set; leave out what takes it away \(~optimizer\)"),
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


@pytest.fixture(scope="module")
def composed() -> list[dict[str, Any]]:
    """Whole configurations, in which every key of conf/ is."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from pneumo.arguments.train import CONF

    images = "data.root=/images"
    choices: tuple[list[str], ...] = ([images], ["data=phantom"], ["data=folder", images])
    choices += (["task=detection", "data=rsna", images],)
    choices += ([images, "protocol=kfold"], [images, "model=compact", "augment=crop"])
    found: list[Any] = []
    choices += ([images, "model=thumbnail_svm"], [images, "model=resnet18"])
    for overrides in choices:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("train", ["run_dir=/run", *overrides])
        found.append(OmegaConf.to_container(cfg, resolve=True))
    return found


@pytest.mark.slow
def test_rules_name_keys_of_the_configuration(composed: list[dict[str, Any]]) -> None:
    found = {key for config in composed for key in keys(config)}
    # what the libraries' own objects take besides, and what no choice of conf/ sets
    theirs = ("trainer.", "optimizer.", "schedule.", "callbacks.", "logger.", "loss.")
    unset = {key for key in set(RULES) - found if not key.startswith(theirs)}
    assert unset == set()


def test_a_whole_run_has_types(composed: list[dict[str, Any]]) -> None:
    configs = [check_run(config) for config in composed]
    assert configs[0].data.image_size == 256
    assert configs[0].optimizer.target_ == "torch.optim.Adamax"
    assert configs[4].protocol.k == 5
    assert isinstance(configs[0].model, OwnModel)
    with pytest.raises(ValueError, match="frozen"):
        configs[0].seed = 1


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


def test_the_papers_network_takes_multiples_of_32_and_others_what_they_can() -> None:
    encoder = {"_target_": "pneumo.models.unet_encoder.Encoder", "f": 8, "d": 4, "c": 100}
    with pytest.raises(ValueError, match=r"data\.image_size must be a multiple of 32.*; got 299\."):
        check({"model": encoder, "data": {"image_size": 299}})
    check({"model": {"_target_": "pneumo.models.compact.Compact"}, "data": {"image_size": 299}})


def test_a_network_too_large_for_memory_is_refused() -> None:
    model = {"f": 4096, "d": 1, "c": 1000, "image_size": 256}
    with pytest.raises(ValueError, match=r"must give at most 1,000,000,000 weights"):
        check({"model": model})
    check({"model": {"f": 16, "d": 2, "c": 1000, "image_size": 256}})


def test_a_run_cannot_do_without_some_settings(composed: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"(?s)seed must be set.*optimizer must be set"):
        check_run({})
    with pytest.raises(ValueError, match=r"^optimizer must be set; .* \(~optimizer\)$"):
        check_run({key: value for key, value in composed[0].items() if key != "optimizer"})
    with pytest.raises(ValueError, match=r"^seed must be .*; got -1\ndata must be set; .*$"):
        check_run({**composed[0], "data": 5, "seed": -1})


def test_what_only_follows_another_setting_is_not_told(composed: list[dict[str, Any]]) -> None:
    trainer = {**composed[0]["trainer"], "max_epochs": 0}
    schedule = {**composed[0]["schedule"], "T_max": 0}
    with pytest.raises(ValueError, match=r"^trainer\.max_epochs must be .*; got 0$"):
        check_run({**composed[0], "trainer": trainer, "schedule": schedule})


def test_there_may_be_no_logger_one_or_several() -> None:
    one = {"_target_": "a.b", "name": ""}
    for logger in (None, False, one, {"a": one, "b": one}):
        check({"logger": logger, "trainer": {"logger": logger}})
    check({"logger": {"a": one}, "trainer": {"logger": [one]}})  # ${oc.dict.values:logger}
    with pytest.raises(ValueError, match=r"^logger\.a\.name must be null or text; got 5$"):
        check({"logger": {"a": {**one, "name": 5}}})
    with pytest.raises(ValueError, match=r"^logger\.b must be settings with a _target_; got null"):
        check({"logger": {"a": one, "b": None}})
    check({"logger": {}, "trainer": {"logger": []}})  # logger=none
    with pytest.raises(ValueError, match=r"^trainer\.logger must be settings .* or false; got 5"):
        check({"trainer": {"logger": 5}})


def test_scores_are_those_of_an_epoch() -> None:
    import torch

    from pneumo.training.task import score

    found = score(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 0]))
    assert set(SCORES) == set(found) - {"confusion"}


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: str(value)[:9])
def test_nothing_but_a_message_comes_of_odd_values(value: Any) -> None:
    for key, rule in RULES.items():
        try:
            check(nested(key.replace("*", "some"), value))
        except ValueError as error:
            assert re.search("must (be|hold)", str(error)), key
        else:  # of a section that lacks what a run needs, check tells nothing
            assert rule.holds(value) or isinstance(rule, SectionRule), key
