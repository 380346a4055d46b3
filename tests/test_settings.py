from typing import Any

import pytest

from pneumo.settings import RULES, check, nearest


def nested(key: str, value: Any) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed must be a whole number, at least 0; got -1"),
        ("seed", 1.5, "seed must be a whole number, at least 0; got 1.5"),
        ("optimizer.lr", -1e-3, "optimizer.lr must be a number above 0; got -0.001"),
        ("optimizer.lr", "fast", "optimizer.lr must be a number above 0; got 'fast'"),
        ("data.batch_size", 0, "data.batch_size must be a whole number, at least 1; got 0"),
        ("data.image_size", 100, "data.image_size must be a multiple of 32, at least 32; got 100"),
        ("augment.zoom", [1.2, 0.8], r"augment.zoom must be \[low, high\].*got \[1.2, 0.8\]"),
        ("augment.rotation", 200, "augment.rotation must be a number from 0 to 180; got 200"),
        ("protocol.split.fractions", {"train": 0.7, "test": 0.4}, "positive shares that sum to 1"),
        ("protocol.split.fractions", {"train": 1.2, "test": -0.2}, "positive shares that sum to 1"),
        ("protocol.split.val", 1, "protocol.split.val must be a number between 0 and 1; got 1"),
        ("model.dense_dropout", 1.0, "model.dense_dropout must be .* below 1; got 1.0"),
        ("model.batch_norm", "yes", "model.batch_norm must be true or false; got 'yes'"),
        ("trainer.max_epochs", 0, "trainer.max_epochs must be a whole number, at least 1; got 0"),
        ("trainer.devices", 4, "one process for each run"),
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

    from pneumo.train import CONF

    found: set[str] = set()
    for overrides in ([], ["data=phantom"], ["protocol=kfold"], ["model=thumbnail_svm"]):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg: Any = compose("train", overrides)
        for key in RULES:
            place = cfg
            for name in key.split("."):
                place = place.get(name, {}) if place is not None else {}
            if place != {}:
                found.add(key)
    assert set(RULES) - found == {
        "optimizer.weight_decay",
        "optimizer.eps",
        "trainer.num_nodes",
        "trainer.val_check_interval",
    }


def test_nearest_word() -> None:
    assert nearest("optimzer", ["optimizer", "data"]) == " Did you mean optimizer?"
    assert nearest("xyz", ["optimizer", "data"]) == ""
