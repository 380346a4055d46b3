from functools import partial
from itertools import chain

import pandas as pd
import pytest

from pneumo.data.kermany import index_names
from pneumo.data.split import (
    Protocol,
    by_fraction,
    check,
    digest,
    k_fold,
    official,
    own,
    split,
    summary,
)

PAPER = partial(by_fraction, fractions={"train": 0.7, "test": 0.3})
HOLDOUT = partial(by_fraction, fractions={"train": 0.6, "val": 0.1, "test": 0.3})
OFFICIAL = partial(official, val=0.1)
FOLD = partial(k_fold, k=5, fold=0, val=0.1)
PROTOCOLS = {"paper": PAPER, "holdout": HOLDOUT, "official": OFFICIAL, "kfold": FOLD, "own": own}


@pytest.fixture(scope="module")
def table(kermany_names: list[str]) -> pd.DataFrame:
    table = index_names(kermany_names, patient_key="split_person")
    return table.assign(group=table["patient"])


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("seed", [0, 12345])
def test_a_group_is_in_one_part_and_none_is_lost(
    table: pd.DataFrame, protocol: Protocol, seed: int
) -> None:
    result = split(table, protocol, seed=seed)
    assert (result.groupby("group")["split"].nunique() == 1).all()
    assert list(result["path"]) == list(table["path"])


@pytest.mark.parametrize("seed", range(3))
def test_shares_and_stratification(table: pd.DataFrame, seed: int) -> None:
    parts = summary(split(table, HOLDOUT, seed=seed))
    for part, share in {"train": 0.6, "val": 0.1, "test": 0.3}.items():
        assert parts[part]["images"] / len(table) == pytest.approx(share, abs=0.01)
        assert parts[part]["NORMAL"] / parts[part]["images"] == pytest.approx(0.27, abs=0.01)


def test_split_of_seed_0_is_the_same_on_any_machine(table: pd.DataFrame) -> None:
    expected = "f0d8702eff7ddea1f49cfe62b7c6a50030fc0887eb95f687781e3c031c2af554"
    for rows in (table, table.sample(frac=1, random_state=3)):
        assert digest(split(rows, PAPER, seed=0)) == expected
    assert digest(split(table, PAPER, seed=1)) != expected


def test_holdout_tests_on_papers_images_and_folds_on_each_once(table: pd.DataFrame) -> None:
    def tested(protocol: Protocol) -> list[str]:
        rows = split(table, protocol, seed=2)
        return rows.loc[rows["split"] == "test", "path"].tolist()

    assert tested(PAPER) == tested(HOLDOUT)
    folds = [tested(partial(k_fold, k=4, fold=fold, val=0.2)) for fold in range(4)]
    assert sorted(chain(*folds)) == sorted(table["path"])


def test_official_keeps_the_sets_own_test_part_and_leaves_out_train_images_of_merged_patients(
    table: pd.DataFrame, kermany_names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    result = split(table, OFFICIAL, seed=0)
    assert ((result["split"] == "test") == (result["source"] == "test")).all()
    merged = index_names(kermany_names, patient_key="person")
    fewer = split(merged.assign(group=merged["patient"]), OFFICIAL, seed=0)
    assert (fewer["split"] == "test").sum() == (result["split"] == "test").sum() == 624
    assert len(fewer) < len(merged)
    assert f"{len(merged) - len(fewer)} images are left out" in caplog.text


def test_own_has_patients_in_one_split(
    table: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    source = table["source"].replace("val", "train")
    group = table["group"].tolist()
    source[source.index[source == "train"][::7]] = "val"
    result = split(table.assign(source=source), own, seed=0)
    assert (result.groupby("group")["split"].nunique() == 1).all()
    assert (result["split"] == result["source"]).all()
    for name, later in (("train", {"val", "test"}), ("val", {"test"}), ("test", set())):
        kept = set(result.loc[result["split"] == name, "path"])
        elsewhere = {who for who, part in zip(group, source, strict=True) if part in later}
        rows = table[source == name]
        assert kept == set(rows.loc[~rows["group"].isin(elsewhere), "path"])
    assert f"{len(table) - len(result)} images are left out" in caplog.text
    assert len(result) < len(table)


def small(num_normal: int, num_pneumonia: int) -> pd.DataFrame:
    labels = ["NORMAL"] * num_normal + ["PNEUMONIA"] * num_pneumonia
    groups = [f"p{number}" for number in range(len(labels))]
    return pd.DataFrame({"path": groups, "group": groups, "label": labels, "source": "train"})


def test_too_few_patients_are_named() -> None:
    with pytest.raises(ValueError, match="at least one patient of each label; test has none of"):
        split(small(1, 30), PAPER, seed=0)
    with pytest.raises(ValueError, match="needs a train and a test split"):
        split(small(9, 30), OFFICIAL, seed=0)
    with pytest.raises(ValueError, match=r"these have train. Use protocol=official"):
        split(small(9, 30), own, seed=0)


def test_check_notices_a_leak() -> None:
    table = small(2, 2).assign(split=["train", "test", "train", "test"])
    check(table)
    with pytest.raises(AssertionError, match="group in two splits: p0"):
        check(table.assign(group=["p0", "p0", "p2", "p3"]))
    with pytest.raises(AssertionError, match="digest in two splits: x"):
        check(table.assign(digest=["x", "x", "y", "z"]))


def test_digest_of_images_follows_the_files_not_their_order() -> None:
    table = pd.DataFrame({"path": ["a", "b"], "digest": ["1", "2"]})
    assert digest(table, "digest") == digest(table[::-1], "digest")
    assert digest(table, "digest") != digest(table.assign(digest=["2", "1"]), "digest")
