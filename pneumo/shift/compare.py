"""What differs between other images and those that a run was validated on, as one table."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pneumo.evaluation.intervals import share_interval
from pneumo.evaluation.paired_tests import holm
from pneumo.inference import ood
from pneumo.labels import CLASS_NAMES
from pneumo.shift import two_sample
from pneumo.shift.sample import MEASURES, Sample, names

ALPHA = 0.025  # of each of the two families of tests: 5 % false alarms in all, at most
ALL = "all images"  # the one group where labels are not known
MOST_TESTED = 1000  # images of each set; more find smaller differences, which matter less
MOST_UNLIKE = 12  # images that are shown
NUM_ORDINARY = 6  # validation images beside them
QUANTILES = (0.05, 0.5, 0.95)
SPACES = {  # what a classifier is given to tell the two sets apart
    "file": "how the file was saved",
    "picture": "the picture, as the network gets it",
    "network": "what the network sees in it",
}


def _measured(space: str, sample: Sample) -> np.ndarray:
    """(N, c), finite: the quality of what is no JPEG is 0, which another column tells."""
    values: np.ndarray = np.nan_to_num(sample.table[names(space)].to_numpy(np.float64))
    return values


VALUES: dict[str, Callable[[Sample], np.ndarray]] = {
    "file": partial(_measured, "file"),
    "picture": partial(_measured, "picture"),
    "network": lambda sample: np.asarray(sample.features, dtype=np.float64),
}


def compare(
    validation: Sample, other: Sample, *, reference: str = "validation", seed: int = 0
) -> dict[str, Any]:
    """Returns all that is said of a shift, as ``evaluate --out`` writes it.

    Where every image of both has a label, each class is compared with its own: another share of
    PNEUMONIA is then not what is found. The tests take one image of each patient.

    Args:
        validation: the run's own images, which it was not trained on.
        other: those to be compared with them.
        reference: the split that ``validation`` is.
        seed: of what is drawn, and of the tests.
    """
    groups = _groups(validation, other, seed=seed)
    tests = len(SPACES) * sum(not group.too_few for group in groups)
    spaces = _adjusted([r for group in groups for r in _spaces(group, seed=seed, tests=tests)])
    measures = _adjusted([r for group in groups for r in _measures(group)])
    tested = [row for row in (*spaces, *measures) if row["differs"] is not None]
    return {
        "reference": reference,
        "validation": _counts(validation),
        "here": _counts(other),
        "differ": any(row["differs"] for row in tested) if tested else None,
        "groups": [
            {"group": group.name, "validation": len(group.ours), "here": len(group.theirs)}
            for group in groups
        ],
        "spaces": spaces,
        "measures": measures,
        **_far(validation, other),
        "unreadable": [{"path": path, "why": why} for path, why in other.unreadable],
    }


class Group(NamedTuple):
    """Images of both sets that are compared: of one class, or all."""

    name: str
    validation: Sample
    ours: np.ndarray  # rows of validation, an image of each patient
    other: Sample
    theirs: np.ndarray

    def pair(self, values: Callable[[Sample], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The values of both sets, an image of each patient."""
        return values(self.validation)[self.ours], values(self.other)[self.theirs]

    @property
    def too_few(self) -> str:
        """Why no test can be made; "" where one can."""
        if min(len(self.ours), len(self.theirs)) >= two_sample.MIN_IMAGES:
            return ""
        return (
            f"a test needs {two_sample.MIN_IMAGES} patients of both; the run has "
            f"{len(self.ours):,}, these images {len(self.theirs):,}"
        )


def _groups(validation: Sample, other: Sample, *, seed: int) -> list[Group]:
    labelled = all((sample.table["label"] != "").all() for sample in (validation, other))
    return [
        Group(
            name,
            *(validation, _drawn(validation.table, name, seed=seed)),
            *(other, _drawn(other.table, name, seed=seed)),
        )
        for name in (CLASS_NAMES if labelled else (ALL,))
    ]


def _drawn(table: pd.DataFrame, name: str, *, seed: int) -> np.ndarray:
    """Rows of a class, one of each patient, in any order."""
    rows = table if name == ALL else table[table["label"] == name]
    drawn = rows.sample(frac=1, random_state=seed).drop_duplicates("group")
    return drawn.index.to_numpy()[:MOST_TESTED]


def _counts(sample: Sample) -> dict[str, Any]:
    labels = {str(name): int(n) for name, n in sample.table["label"].value_counts().items() if name}
    return {"images": len(sample), "patients": sample.patients, **labels}


def _spaces(group: Group, *, seed: int, tests: int) -> list[dict[str, Any]]:
    rows = []
    for name, what in SPACES.items():
        row: dict[str, Any] = {"group": group.name, "space": name, "what": what, "differs": None}
        first, second = group.pair(VALUES[name])
        both = np.concatenate([first, second])
        if group.too_few:
            row["why_not"] = group.too_few
        elif (both == both[0]).all():
            row["why_not"] = "all alike"
        else:
            row |= two_sample.told_apart(first, second, seed=seed, alpha=ALPHA / tests)._asdict()
        rows.append(row)
    return rows


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds p_holm, and whether it says that the sets differ; None where nothing was tested."""
    adjusted = holm([row.get("p", np.nan) for row in rows])
    for row, p in zip(rows, adjusted, strict=True):
        if np.isfinite(p):
            row |= {"p_holm": float(p), "differs": bool(p < ALPHA)}
    return rows


def _measures(group: Group) -> list[dict[str, Any]]:
    rows = []
    for name, one in MEASURES.items():
        first, second = group.pair(lambda sample, name=name: sample.table[name].to_numpy())  # type: ignore[misc]
        told = two_sample.larger(first, second)
        row: dict[str, Any] = {
            "group": group.name,
            "measure": name,
            "title": one.title,
            "about": one.about,
        }
        row |= {"validation": _spread(first), "here": _spread(second)}
        row |= {"larger_here": told.share, "differs": None, "seen_in": one.seen_in}
        rows.append(row if group.too_few else row | {"p": told.p})
    return rows


def _spread(values: np.ndarray) -> list[float]:
    """The 5 % quantile, median and 95 % quantile; NaN where no image has the measure."""
    known = values[np.isfinite(values)]
    if not known.size:
        return [float("nan")] * len(QUANTILES)
    return [float(value) for value in np.quantile(known, QUANTILES)]


def _far(validation: Sample, other: Sample) -> dict[str, Any]:
    """The keys distance, farthest and ordinary (of validation), see pneumo.inference.ood."""
    if len(validation) < ood.MIN_IMAGES:
        why = f"a reference needs {ood.MIN_IMAGES} images of the run; got {len(validation)}"
        return {"distance": {"why_not": why}, "farthest": [], "ordinary": []}
    detectors = ood.fit_detector(validation.layout), ood.fit_detector(validation.features)
    # (2, N), in units of the limit that nearly all of validation keep
    own, far = (
        np.stack([d.distance(v) for d, v in zip(detectors, (s.layout, s.features), strict=True)])
        for s in (validation, other)
    )
    middle = np.argsort(np.abs(own.max(0) - np.median(own.max(0))), kind="stable")
    is_far = far.max(0) > 1
    share = share_interval(is_far, patient=other.table["group"])
    distance = {
        "quantile": ood.QUANTILE,
        **{name: int((row > 1).sum()) for name, row in zip(ood.SPACES, far, strict=True)},
        "beyond": int(is_far.sum()),
        "ordinary": list(ood.ordinary_share(len(validation))),  # share on average, and at most
        "share": {"value": float(is_far.mean()), **share._asdict()},
    }
    return {
        "distance": distance,
        "farthest": _farthest(validation, other, far),
        "ordinary": validation.table["path"].iloc[middle[:NUM_ORDINARY]].tolist(),
    }


def _farthest(validation: Sample, other: Sample, far: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "path": str(other.table["path"].iloc[place]),
            "distance": float(far[:, place].max()),
            "in": ood.SPACES[int(far[:, place].argmax())],
            "odd": _odd(validation.table, other.table.iloc[place]),
        }
        for place in np.argsort(-far.max(0), kind="stable")[:MOST_UNLIKE]
    ]


def _odd(validation: pd.DataFrame, row: "pd.Series[Any]", most: int = 3) -> list[str]:
    """The measures of one image that lie beyond those of nearly all validation images."""
    found = []
    for name in names("picture"):
        low, middle, high = np.quantile(validation[name], (0.01, 0.5, 0.99))
        value = float(row[name])
        if not low <= value <= high:
            away = abs(value - middle) / max(high - low, 1e-9)
            found.append((away, f"{MEASURES[name].title} {'low' if value < low else 'high'}"))
    return [told for _, told in sorted(found, reverse=True)[:most]]
