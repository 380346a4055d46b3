"""Identical and near-identical images: tables of them, and which patients and splits they cross."""

from typing import Any

import numpy as np
import pandas as pd

from pneumo.data.folder import near_pairs

# What two copies may be apart in; of each a column that says so
ACROSS = ("patients", "labels", "own_split", "random_split")

# Correlation of the thumbnails of two images from which on they agree as copies do. Of Kermany's
# radiographs, saved anew at 90 to 224 pixels and a JPEG quality of 20 to 75, it is 0.995 or more;
# of the pairs of different patients within MAX_BITS 0.967 or less (measured).
COPY = 0.99


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
    """Returns the pairs of different files whose perceptual hashes differ in MAX_BITS at most.

    Columns: path, other_path, bits, correlation (of the thumbnails' grey values, -1 to 1), and
    label, patient and source of both, and for each of ACROSS whether the pair crosses it. Pairs
    that cross something come first, then the most alike.
    """
    one, other, bits = near_pairs(hashes)
    sha256 = digests.to_numpy()
    apart = sha256[one] != sha256[other]
    one, other, bits = one[apart], other[apart], bits[apart]
    first, second = (table.iloc[rows].reset_index(drop=True) for rows in (one, other))
    names = ["path", "label", "patient", "source"]
    pairs = first[names].join(second[names].add_prefix("other_"))
    pairs = pairs.assign(bits=bits, correlation=_correlation(thumbnails[one], thumbnails[other]))
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


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(P,) Pearson's correlation of the pixels of (P, S, S) each; 0 for an image of one grey."""
    pixels = one.shape[1] * one.shape[2]
    a, b = (each.reshape(len(each), pixels).astype(np.float64) for each in (one, other))
    a, b = (each - each.mean(1, keepdims=True) for each in (a, b))
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    found = np.divide((a * b).sum(1), size, out=np.zeros(len(a)), where=size > 0)
    return np.asarray(found.round(4))


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
