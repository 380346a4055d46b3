"""Identical and near-identical images: tables of them, and which patients and splits they cross."""

from typing import Any

import numpy as np
import pandas as pd

from pneumo.data.near_copies import COPY, near_pairs

# What two copies may be apart in; of each a column that says so
ACROSS = ("patients", "labels", "own_split", "random_split")


def about_images(table: pd.DataFrame, random_split: "pd.Series[str]") -> pd.DataFrame:
    """Returns ``table`` with what copies are compared by: own_split and random_split.

    Args:
        table: path, label, patient, source; a row a readable image.
        random_split: train or test, by the table's index; empty where there is none.
    """
    own = table["source"].replace("val", "train")  # whose images Kaggle took from train
    return table.assign(
        own_split=own, random_split=random_split.reindex(table.index, fill_value="")
    )


def identical(table: pd.DataFrame, digests: "pd.Series[str]") -> pd.DataFrame:
    """Returns the files that are byte for byte the same: a row each, set by set.

    Columns: set (1, 2, ...), path, label, patient, source, sha256, and for each of ACROSS whether
    the set crosses it. Sets that cross most come first.

    Args:
        table: of about_images.
        digests: of each row's bytes.
    """
    rows = table.assign(sha256=digests)
    rows = rows[rows["sha256"].duplicated(keep=False)]
    sets = rows.groupby("sha256")
    crossing = {f"across_{name}": sets[_column(name)].transform("nunique") > 1 for name in ACROSS}
    rows = rows.assign(**crossing, files=sets["path"].transform("size"))
    order = [f"across_{name}" for name in ACROSS]
    rows = rows.sort_values([*order, "sha256", "path"], ascending=[False] * len(order) + [True] * 2)
    number = pd.Series(pd.factorize(rows["sha256"])[0] + 1, index=rows.index)
    columns = ["path", "label", "patient", "source", "sha256", *order]
    return rows[columns].assign(set=number)[["set", *columns]].reset_index(drop=True)


def near_identical(
    table: pd.DataFrame, digests: "pd.Series[str]", hashes: np.ndarray, thumbnails: np.ndarray
) -> pd.DataFrame:
    """Returns the pairs of different files that are near copies, see pneumo.data.near_copies.

    Columns: path, other_path, bits, correlation (of the thumbnails' grey values, -1 to 1), and
    label, patient and source of both, and for each of ACROSS whether the pair crosses it. Pairs
    that cross something come first, then the most alike.
    """
    found = near_pairs(hashes, thumbnails)
    sha256 = digests.to_numpy()
    differ = sha256[found.row] != sha256[found.other]
    row, other, bits, correlation = (values[differ] for values in found)
    first, second = (table.iloc[rows].reset_index(drop=True) for rows in (row, other))
    names = ["path", "label", "patient", "source"]
    pairs = first[names].join(second[names].add_prefix("other_"))
    pairs = pairs.assign(bits=bits, correlation=correlation)
    for name in ACROSS:
        column = _column(name)
        pairs[f"across_{name}"] = first[column] != second[column]
    across = [f"across_{name}" for name in ACROSS]
    pairs["within"] = ~pairs[across].any(axis=1)
    order = ["within", "correlation", "path", "other_path"]
    pairs = pairs.sort_values(order, ascending=[True, False, True, True], ignore_index=True)
    of_both = [f"{which}{name}" for name in names[1:] for which in ("", "other_")]
    return pd.DataFrame(
        pairs[["path", "other_path", "bits", "correlation", *of_both, *across]],
    )


def summary(same: pd.DataFrame, near: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns the counts of both tables, and how many sets or pairs cross what."""
    sets = same.drop_duplicates("set")
    of_same = {name: int(sets[f"across_{name}"].sum()) for name in ACROSS}
    of_near = {name: int(near[f"across_{name}"].sum()) for name in ACROSS}
    return {
        "identical": {"sets": len(sets), "files": len(same), "across": of_same},
        "near_identical": {
            "pairs": len(near),
            "as_copies": int((near["correlation"] >= COPY).sum()),
            "across": of_near,
        },
    }


def _column(across: str) -> str:
    return {"patients": "patient", "labels": "label"}.get(across, across)
