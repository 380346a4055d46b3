"""Identical and near-identical images: tables of them, and which patients and splits they cross."""

from typing import Any

import numpy as np
import pandas as pd

from pneumo.data.near_copies import COPY, near_pairs

# What two copies may differ in, and the column of the tables below that holds it
ACROSS = {
    "patients": "patient",
    "labels": "label",
    "own_split": "own_split",
    "random_split": "random_split",
}
CROSSED = [f"across_{name}" for name in ACROSS]
FACTS = ["path", "label", "patient", "source"]


def identical(table: pd.DataFrame, digests: "pd.Series[str]") -> pd.DataFrame:
    """Returns the files that are byte for byte the same: a row each, set by set.

    Columns: set (1, 2, ...), FACTS, sha256, and for each of ACROSS whether the set crosses it.
    Sets that cross most come first.

    Args:
        table: FACTS and the columns of ACROSS; a row a readable image.
        digests: of each row's bytes.
    """
    rows = table.assign(sha256=digests)
    rows = rows[rows["sha256"].duplicated(keep=False)]
    sets = rows.groupby("sha256")
    for name, column in ACROSS.items():
        rows[f"across_{name}"] = sets[column].transform("nunique") > 1
    ascending = [False] * len(CROSSED) + [True] * 2
    rows = rows.sort_values([*CROSSED, "sha256", "path"], ascending=ascending, ignore_index=True)
    rows.insert(0, "set", pd.factorize(rows["sha256"])[0] + 1)
    return rows[["set", *FACTS, "sha256", *CROSSED]]


def near_identical(
    table: pd.DataFrame, digests: "pd.Series[str]", hashes: np.ndarray, thumbnails: np.ndarray
) -> pd.DataFrame:
    """Returns the pairs of different files that are near copies, see pneumo.data.near_copies.

    Columns: path, other_path, bits, correlation (of the thumbnails' grey values, -1 to 1), and
    label, patient and source of both, and for each of ACROSS whether the pair crosses it. Pairs
    that cross something come first, then the most similar.
    """
    near = near_pairs(hashes, thumbnails)
    sha256 = digests.to_numpy()
    differ = sha256[near.row] != sha256[near.other]
    row, other, bits, correlation = (values[differ] for values in near)
    first, second = (table.iloc[rows].reset_index(drop=True) for rows in (row, other))
    pairs = first[FACTS].join(second[FACTS].add_prefix("other_"))
    pairs = pairs.assign(bits=bits, correlation=correlation)
    for name, column in ACROSS.items():
        pairs[f"across_{name}"] = first[column] != second[column]
    pairs["within"] = ~pairs[CROSSED].any(axis=1)
    order = ["within", "correlation", "path", "other_path"]
    pairs = pairs.sort_values(order, ascending=[True, False, True, True], ignore_index=True)
    of_both = [f"{which}{name}" for name in FACTS[1:] for which in ("", "other_")]
    columns = ["path", "other_path", "bits", "correlation", *of_both, *CROSSED]
    return pd.DataFrame(pairs[columns])


def summary(same: pd.DataFrame, near: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns the counts of both tables, and how many sets or pairs cross what."""
    sets = same.drop_duplicates("set")
    across = [{name: int(rows[f"across_{name}"].sum()) for name in ACROSS} for rows in (sets, near)]
    as_copies = int((near["correlation"] >= COPY).sum())
    return {
        "identical": {"sets": len(sets), "files": len(same), "across": across[0]},
        "near_identical": {"pairs": len(near), "as_copies": as_copies, "across": across[1]},
    }
