"""Splits a table into train, val and test by patient."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

SPLITS = ("train", "val", "test")
LEFT_OUT = ""
COLUMNS = ["path", "patient", "group", "label", "subtype", "source", "split"]

log = logging.getLogger(__name__)

Protocol = Callable[..., "pd.Series[str]"]


def split(table: pd.DataFrame, protocol: Protocol, *, seed: int) -> pd.DataFrame:
    """Returns ``table`` with a column ``split``, checked: the one way to a split.

    Args:
        table: columns group and label (and source, for ``official``); one row an image.
        protocol: by_fraction, official, own or k_fold, with its own arguments filled in.
        seed: any integer; the same seed gives the same split on any machine.

    Raises:
        ValueError: too few patients for the splits, or impossible numbers.
    """
    result = table.assign(split=protocol(table, seed=seed))
    left_out = result["split"] == LEFT_OUT
    if left_out.any():
        log.warning(
            "%d images are left out: their patients, or copies of them, are in another split, too",
            left_out.sum(),
        )
        result = result[~left_out]
    check(result)
    return result


def by_fraction(
    table: pd.DataFrame, *, seed: int, fractions: Mapping[str, float]
) -> "pd.Series[str]":
    """Returns the split of each row, a random split by patient with about these shares of images.

    Args:
        table: columns group and label.
        seed: of the random order of the patients.
        fractions: share of the images of each split, such as {"train": 0.7, "test": 0.3}; sum 1.
            The last split does not depend on how the others share the rest.
    """
    bounds = np.cumsum(list(fractions.values()))[:-1]
    return _place(table, seed=seed, names=list(fractions), bounds=bounds)


def official(table: pd.DataFrame, *, seed: int, val: float) -> "pd.Series[str]":
    """Returns the split of each row: the set's own test split, and ``val`` of the rest by patient.

    A group with images in both of the set's splits stays in test, and its train images are left
    out, so that no patient is in two. Train and test use the same numbers for different people, so
    protocol=official sets data.patient_key to split_person.
    """
    test = table["source"] == "test"
    rest = ~test & ~table["group"].isin(set(table.loc[test, "group"]))
    result = pd.Series("test", index=table.index, dtype="str")
    result[~test & ~rest] = LEFT_OUT
    result[rest] = by_fraction(table[rest], seed=seed, fractions={"train": 1 - val, "val": val})
    return result


def own(table: pd.DataFrame, *, seed: int) -> "pd.Series[str]":
    """Returns the data set's own split of each row; the seed has no effect.

    A group with images in several splits keeps those in test, or in val if test has none; its
    other images are left out, so that no patient is in two.

    Raises ValueError if an image has no split, or there is no validation split.
    """
    named = set(table["source"])
    if named != set(SPLITS):
        splits = ", ".join(sorted(name or "no split" for name in named))
        raise ValueError(
            f"protocol=own needs data that put every image into train, val or test; these have "
            f"{splits}. Use protocol=official for a train and a test split, or protocol=holdout"
        )
    rank = table["source"].map({name: number for number, name in enumerate(SPLITS)})
    return table["source"].where(rank == rank.groupby(table["group"]).transform("max"), LEFT_OUT)


def k_fold(table: pd.DataFrame, *, seed: int, k: int, fold: int, val: float) -> "pd.Series[str]":
    """Returns the split of each row: fold ``fold`` of ``k`` is test, ``val`` of the others val."""
    folds = _place(table, seed=seed, names=[str(f) for f in range(k)], bounds=np.arange(1, k) / k)
    result = pd.Series("test", index=table.index, dtype="str")
    rest = folds != str(fold)
    result[rest] = by_fraction(table[rest], seed=seed, fractions={"train": 1 - val, "val": val})
    return result


def check(table: pd.DataFrame) -> None:
    """Raises an error if a split lacks a label, or a group or identical image is in two splits.

    Args:
        table: columns split, group, label, and digest if the images' digests are known.
    """
    for name in dict.fromkeys(table["split"]):
        for label in sorted(set(table["label"])):
            if not ((table["split"] == name) & (table["label"] == label)).any():
                raise ValueError(
                    f"each split needs at least one patient of each label; {name} has none of "
                    f"{label}. Use more patients, or other fractions"
                )
    if "train" not in set(table["split"]) or "test" not in set(table["split"]):
        raise ValueError("a split needs a train and a test split")
    for column in ("group", "digest"):
        if column in table:
            num_splits = table.groupby(column)["split"].nunique()
            if (num_splits > 1).any():  # no assert, which python -O leaves out
                raise AssertionError(f"{column} in two splits: {num_splits.idxmax()}")


def digest(table: pd.DataFrame, column: str = "split") -> str:
    """Returns the SHA-256 of the sorted pairs of path and the value of a column.

    With ``split`` it is equal for equal splits, with ``digest``, a file's own, for equal files.
    """
    pairs = zip(table["path"], table[column], strict=True)
    lines = sorted(f"{path},{value}\n" for path, value in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def labels_digest(table: pd.DataFrame) -> str:
    """Returns the SHA-256 of the sorted pairs of path and label, with boxes if there are any."""
    labels = table["label"].astype(str)
    if "boxes" in table:
        labels = labels + table["boxes"].map(lambda boxes: str(boxes.tolist()))
    return digest(table.assign(label=labels), "label")


def summary(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns images, patients and images of each label for each split."""
    return {
        str(name): {
            "images": len(rows),
            "patients": int(rows["group"].nunique()),
            **{str(k): int(v) for k, v in rows["label"].value_counts().sort_index().items()},
        }
        for name, rows in table.groupby("split", sort=True)
    }


def _place(
    table: pd.DataFrame, *, seed: int, names: list[str], bounds: np.ndarray
) -> "pd.Series[str]":
    """Returns the splits of each label's groups in the order of a hash, cut at ``bounds``.

    A bound is a share of the images. A hash rather than a random generator, whose stream may
    change with NumPy's version.
    """
    groups = table.groupby("group").agg(label=("label", "first"), size=("label", "size"))
    hashes = (hashlib.sha256(f"{seed}:{name}".encode()) for name in groups.index)
    groups["order"] = [each.hexdigest() for each in hashes]
    groups = groups.sort_values(["label", "order"])
    total = groups.groupby("label")["size"].transform("sum")
    middle = (groups.groupby("label")["size"].cumsum() - groups["size"] / 2) / total
    place = np.searchsorted(bounds, middle.to_numpy(), side="right")
    of_group = pd.Series(np.array(names)[place], index=groups.index)
    return table["group"].map(of_group).astype("str")
