"""Shortcuts without a network: AUROC of size, header and thumbnails on two protocols' splits."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pneumo.auditing.files import Files
from pneumo.auditing.sources import Source
from pneumo.baselines.classifiers import FileHeader, ThumbnailSVM
from pneumo.data import split
from pneumo.data.kermany import targets
from pneumo.data.labelled import join_duplicates
from pneumo.data.near_copies import join_near
from pneumo.evaluation.intervals import few_patients, score_intervals
from pneumo.evaluation.scores import scores

SEED = 0
BASELINES = {  # by their input; for a header, columns of pneumo.baselines.classifiers.header
    "size": ("width and height", (0, 1)),
    "header": ("file header: size, mode, JPEG quality", (0, 1, 2, 5, 6, 7)),
    "bytes": ("file header and number of bytes", tuple(range(8))),
    "thumbnail": ("32\N{MULTIPLICATION SIGN}32 thumbnail", None),
}
PROTOCOLS: dict[str, Callable[..., "pd.Series[str]"]] = {
    "paper": partial(split.by_fraction, fractions={"train": 0.7, "test": 0.3}),
    "official": partial(split.official, val=0.0),  # a baseline has no epoch to choose
}


def readable(table: pd.DataFrame, files: Files) -> pd.DataFrame:
    """Returns the rows whose files are readable; the index is the place in ``files``."""
    place = pd.Series(range(len(files.facts)), index=files.facts["path"])
    rows = table[table["path"].isin(place.index)]
    return rows.set_index(place[rows["path"]].to_numpy()).sort_index()


def split_by(protocol: str, source: Source, files: Files) -> pd.DataFrame | str:
    """Returns the split table of one of PROTOCOLS, or why there is none.

    Patients are joined as in a training run: those who share an identical image, and those of
    near-identical images if patients are unknown.
    """
    table = readable(source.tables[protocol], files)
    if protocol == "official" and set(table["source"]) - {"val"} != {"train", "test"}:
        return "the set has no train and test folder of its own"
    if source.data_set.near_duplicates:
        table = table.assign(patient=join_near(table, files.hashes, files.thumbnails))
    digests = files.facts["sha256"]
    table = table.assign(digest=digests, group=join_duplicates(table, digests.tolist()))
    splits = PROTOCOLS[protocol](table, seed=SEED)
    table = table.assign(split=splits)[splits != split.LEFT_OUT]
    try:
        split.check(table)
    except ValueError as error:
        return str(error).partition(". Use")[0]
    return table


def score(table: pd.DataFrame | str, files: Files) -> dict[str, Any]:
    """Returns the AUROC of each baseline on the test split, with its 95 % interval by patient.

    {"why_not": a reason} if there is no split.
    """
    if isinstance(table, str):
        return {"why_not": table}
    train, test = (table[table["split"] == name] for name in ("train", "test"))
    label = targets(test, num_classes=2)
    patient = test["group"].to_numpy()
    # the trees' steps are short: on a busy machine, two threads that wait for each other took 16
    # times as long (measured)
    with threadpool_limits(limits=1):
        baselines = {
            name: _auroc(label, _ranking(columns, train, test, files), patient=patient)
            for name, (_, columns) in BASELINES.items()
        }
    return split.summary(pd.concat([train, test])) | {
        "left_out": len(files.facts) - len(table),
        "few_patients": bool(few_patients(label, patient=patient)),
        "baselines": baselines,
    }


def _ranking(
    columns: tuple[int, ...] | None, train: pd.DataFrame, test: pd.DataFrame, files: Files
) -> np.ndarray | None:
    """Returns (N,) of the test images, higher for PNEUMONIA; None if all files are alike."""
    label = targets(train, num_classes=2)
    if columns is None:
        pixels = files.thumbnails.reshape(len(files.thumbnails), -1).astype(np.float64)
        machine = ThumbnailSVM().machine().fit(pixels[train.index], label)
        return np.asarray(machine.decision_function(pixels[test.index]))
    numbers = files.numbers[:, columns]
    if (numbers[train.index] == numbers[train.index[0]]).all():
        return None
    trees = FileHeader().classifier(train, seed=SEED).fit(numbers[train.index], label)
    return np.asarray(trees.predict_proba(numbers[test.index])[:, 1])


def _auroc(label: np.ndarray, ranking: np.ndarray | None, *, patient: np.ndarray) -> dict[str, Any]:
    if ranking is None:
        return {"auroc": 0.5, "low": None, "high": None, "all_alike": True}
    # the scores require a probability; the AUROC depends on the order only
    order = np.unique(ranking, return_inverse=True)[1] / max(len(ranking), 1)
    low, high = score_intervals(label, order, patient=patient, names=("auroc",))["auroc"]
    value = scores(label, order)["auroc"]
    return {"auroc": value, "low": low, "high": high, "all_alike": False}
