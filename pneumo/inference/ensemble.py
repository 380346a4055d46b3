"""Several runs as one classifier: the images that all of them share and none was trained on."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pneumo.data.folder import Folder
from pneumo.data.phantom import Phantoms
from pneumo.evaluation.assessment import labels
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.operating_point import OperatingPoint, by_rule
from pneumo.runs.run import Run

NOT_BEST = "predictions.csv, with the validation split, is of the best checkpoint"


def common_val(runs: Sequence[Run]) -> tuple[np.ndarray, Array] | str:
    """Returns (N,) labels and (M, N) probabilities of the validation split, or why there is none.

    Several runs must have the same validation split: an image that one of them was trained on
    would make that one optimistic.
    """
    if not same_data(runs):
        return "the runs are of different data"
    tables = [run.of_split("val") for run in runs]
    for run, rows in zip(runs, tables, strict=True):
        if rows.empty:
            return f"{run.name} has no validation split (protocol={run.metrics['protocol']})"
    if any(set(rows["path"]) != set(tables[0]["path"]) for rows in tables[1:]):
        return "the runs have different validation splits"
    if any((rows["label"] != tables[0]["label"]).any() for rows in tables[1:]):
        return "the runs label the images of their validation splits differently"
    return labels(tables[0]), np.stack([rows["p_pneumonia"].to_numpy() for rows in tables])


def same_data(runs: Sequence[Run]) -> bool:
    """Returns whether the runs are of one set of images, so that a path names one image.

    The folder of a published set may be renamed; in others, other images may have these names.
    """
    data = [run.metrics["data"] for run in runs]
    published = {each["kind"] for each in data} - {Phantoms.kind, Folder.kind}
    sets = {(each["kind"], each["kind"] in published or each.get("root_name")) for each in data}
    return len(sets) == 1


def common_paths(runs: Sequence[Run], split: str) -> set[str]:
    """Returns the images of a split that all runs have, and on whose patients none was trained.

    Runs may define a patient differently, by patient_key: an image is left out if any run counts
    its patient among those that some run was trained on. ValueError: they are of different data.
    """
    if not same_data(runs):
        raise ValueError(
            "several runs must be of the same data; score classifiers on one set with --data DIR"
        )
    tables = [run.split for run in runs]
    images = set[str]().union(*(rows.loc[rows["split"] == "train", "path"] for rows in tables))
    trained = set[str]()
    for rows in tables:
        groups = rows.loc[rows["path"].isin(images), "group"]
        trained |= set(rows.loc[rows["group"].isin(groups), "path"])
    return set.intersection(*(set(run.of_split(split)["path"]) for run in runs)) - trained


def common_test(runs: Sequence[Run]) -> pd.DataFrame:
    """Returns the rows of the first run's test images that are in all test splits and new to all.

    ValueError: runs are of different data, or label one of the images differently.
    """
    test = runs[0].of_split("test")
    rows = test[test["path"].isin(common_paths(runs, "test"))].reset_index(drop=True)
    for run in runs:
        of_path = run.of_split("test").set_index("path")["label"]
        if (of_path[rows["path"]].to_numpy() != rows["label"].to_numpy()).any():
            raise ValueError(
                "an ensemble must be of runs with the same labels of the images; "
                f"{run.name} and {runs[0].name} differ"
            )
    return rows


def mean_operating_point(
    runs: Sequence[Run], *, checkpoint: str = "best", weights: Array | None = None
) -> OperatingPoint:
    """Returns the operating point of the mean of the runs by their decision rule.

    If their rules differ, it is that of argmax without a temperature. ``checkpoint``: that
    predicts; validation images are of the best one. ``weights``: (M,) of M runs; None: equal ones.
    """
    rules = sorted({run.decision for run in runs})
    if len(rules) > 1:
        reason = f"the runs have different decision rules ({', '.join(rules)})"
        return OperatingPoint(why_not=reason, set_aside=True)
    val = common_val(runs) if checkpoint == "best" else NOT_BEST
    trained_at = float(np.mean([run.trained_at for run in runs]))
    if isinstance(val, str):
        return by_rule(rules[0], val, trained_at=trained_at)
    label, probability = val
    mean = probability.mean(0) if weights is None else weights @ probability
    return by_rule(rules[0], (label, mean), trained_at=trained_at)
