"""The differences between other images and those that a run was validated on, as one table."""

from typing import Any, NamedTuple

import numpy as np

from pneumo.evaluation.intervals import share_interval
from pneumo.evaluation.paired import holm
from pneumo.inference import ood
from pneumo.labels import CLASS_NAMES
from pneumo.shift import two_sample
from pneumo.shift.sample import MEASURES, OF_IMAGES, Sample, names

ALPHA = 0.025  # of each of the two families of tests: 5 % false alarms in all, at most
ALL = "all images"  # the one group if labels are unknown
MOST_TESTED = 1000  # images of each set; more find smaller differences, which matter less
MOST_UNLIKE = 12  # images that are shown
NUM_ORDINARY = 6  # validation images beside them
QUANTILES = (0.05, 0.5, 0.95)
SPACES = {  # inputs of the classifier that separates the two sets
    "file": "how the file was saved",
    "picture": "the picture, as the network gets it",
    "network": "the network's features",
}


def compare(
    validation: Sample, other: Sample, *, reference: str = "validation", seed: int = 0
) -> dict[str, Any]:
    """Returns the differences of two sets of images, as ``evaluate --out`` writes them.

    If every image of both has a label, each class is compared with its own, so that another share
    of PNEUMONIA is not a difference. The tests take one image of each patient. ``validation``: the
    run's own images, of the split ``reference``; ``seed``: of the drawn images and the tests.
    """
    labelled = all((sample.table["label"] != "").all() for sample in (validation, other))
    groups = [
        Group(name, *(_drawn(sample, name, seed=seed) for sample in (validation, other)))
        for name in (CLASS_NAMES if labelled else (ALL,))
    ]
    tests = len(SPACES) * sum(not group.too_few for group in groups)
    spaces = _adjusted([r for group in groups for r in _spaces(group, seed=seed, tests=tests)])
    measures = _adjusted([r for group in groups for r in _measures(group)])
    tested = [row["differs"] for row in (*spaces, *measures) if row["differs"] is not None]
    return {
        "reference": reference,
        "validation": _counts(validation),
        "here": _counts(other),
        "differ": any(tested) if tested else None,
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
    """Images of both sets that are compared: of one class, or all; one of each patient."""

    name: str
    ours: Sample  # of validation
    theirs: Sample

    @property
    def too_few(self) -> str:
        """Why no test is possible; "" if one is."""
        if min(len(self.ours), len(self.theirs)) >= two_sample.MIN_IMAGES:
            return ""
        return (
            f"a test needs {two_sample.MIN_IMAGES} patients of both; the run has "
            f"{len(self.ours):,}, these images {len(self.theirs):,}"
        )


def _drawn(sample: Sample, name: str, *, seed: int) -> Sample:
    """Returns images of a class, one of each patient, in random order."""
    table = sample.table
    rows = table if name == ALL else table[table["label"] == name]
    drawn = rows.sample(frac=1, random_state=seed).drop_duplicates("group").index[:MOST_TESTED]
    return Sample(table.loc[drawn], sample.features[drawn], sample.layout[drawn])


def _counts(sample: Sample) -> dict[str, Any]:
    labels = {str(name): int(n) for name, n in sample.table["label"].value_counts().items() if name}
    patients = int(sample.table["group"].nunique())  # as far as they are known
    return {"images": len(sample), "patients": patients, **labels}


def _spaces(group: Group, *, seed: int, tests: int) -> list[dict[str, Any]]:
    rows = []
    for name, title in SPACES.items():
        row: dict[str, Any] = {"group": group.name, "space": name, "what": title, "differs": None}
        # the quality of files that are not JPEG is 0, as "jpeg" is
        first, second = (
            np.nan_to_num(s.features if name == "network" else s.table[names(name)]).astype(float)
            for s in (group.ours, group.theirs)
        )
        if group.too_few:
            row["why_not"] = group.too_few
        elif (np.concatenate([first, second]) == first[0]).all():
            row["why_not"] = "all alike"
        else:
            alpha = ALPHA / tests
            row |= two_sample.classifier_test(first, second, seed=seed, alpha=alpha)._asdict()
        rows.append(row)
    return rows


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds p_holm, and whether the sets differ by it; None if nothing was tested."""
    adjusted = holm([row.get("p", np.nan) for row in rows])
    for row, p in zip(rows, adjusted, strict=True):
        if np.isfinite(p):
            row |= {"p_holm": float(p), "differs": bool(p < ALPHA)}
    return rows


def _measures(group: Group) -> list[dict[str, Any]]:
    rows = []
    for name, measure in MEASURES.items():
        samples = {"validation": group.ours, "here": group.theirs}
        both = {key: sample.table[name].to_numpy() for key, sample in samples.items()}
        share, p = two_sample.larger(*both.values())
        row: dict[str, Any] = {"group": group.name, "measure": name, "title": measure.title}
        row["about"] = measure.about
        is_share = measure.about == OF_IMAGES
        row |= {key: _spread(values, is_share=is_share) for key, values in both.items()}
        row |= {"larger_here": share, "differs": None, "seen_in": measure.seen_in}
        rows.append(row if group.too_few else row | {"p": p})
    return rows


def _spread(values: np.ndarray, *, is_share: bool) -> list[float]:
    """Returns the 5 % quantile, median and 95 % quantile, or three times the share.

    NaN if no image has the measure.
    """
    finite = values[np.isfinite(values)]
    if is_share and finite.size:
        return [float(finite.mean())] * 3
    return np.quantile(finite, QUANTILES).tolist() if finite.size else [float("nan")] * 3


def _far(validation: Sample, other: Sample) -> dict[str, Any]:
    """Returns distance, farthest and ordinary (of validation), see pneumo.inference.ood."""
    if len(validation) < ood.MIN_IMAGES:
        why = f"a reference needs {ood.MIN_IMAGES} images of the run; got {len(validation)}"
        return {"distance": {"why_not": why}, "farthest": [], "ordinary": []}
    detectors = ood.fit_detector(validation.layout), ood.fit_detector(validation.features)
    # (2, N), relative to the limit that nearly all of validation keep
    ours, far = (
        np.stack([d.distance(v) for d, v in zip(detectors, (s.layout, s.features), strict=True)])
        for s in (validation, other)
    )
    middle = np.argsort(np.abs(ours.max(0) - np.median(ours.max(0))), kind="stable")
    is_far = far.max(0) > 1
    share = share_interval(is_far, patient=other.table["group"])
    farthest = np.argsort(-far.max(0), kind="stable")[:MOST_UNLIKE]
    return {
        "distance": {
            "quantile": ood.QUANTILE,
            **{name: int((row > 1).sum()) for name, row in zip(ood.SPACES, far, strict=True)},
            "beyond": int(is_far.sum()),
            "ordinary": list(ood.ordinary_share(len(validation))),  # share on average, and at most
            "share": {"value": float(is_far.mean()), **share._asdict()},
        },
        "farthest": [
            {
                "path": str(other.table["path"].iloc[place]),
                "distance": float(far[:, place].max()),
                "in": ood.SPACES[int(far[:, place].argmax())],
            }
            for place in farthest
        ],
        "ordinary": validation.table["path"].iloc[middle[:NUM_ORDINARY]].tolist(),
    }
