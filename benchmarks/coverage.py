"""How often intervals of scores hold the truth, on simulated patients like those of the set.

`python -m benchmarks.coverage` prints the table of
docs/notes/intervals.md, a scenario at a time.

A patient has one label and as many images as one of the set's, drawn with replacement. An image's
score is normal, shifted for PNEUMONIA by what the AUROC asks for; images of one patient share a
part of it. The threshold has a sensitivity of 0.96. With `--heavy`, one in 200 patients has the
score of the other label, as where a label is wrong. With `--large`, 5 % of the patients have 60
images each and the others one. With `--boxes`, a patient has one to three images, six in ten have
one or two boxes each, found with a chance of the patient's own. The truth is that of a million
patients.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, expit, logit, ndtr, ndtri, stdtrit

from pneumo.data import kermany
from pneumo.evaluation.detection import Counts, box_scores, share_intervals
from pneumo.evaluation.intervals import (
    UNKNOWN,
    Interval,
    percentile_interval,
    proportion,
    resampled_scores,
    score_intervals,
)
from pneumo.evaluation.metrics import Array, ratio
from pneumo.evaluation.scores import SCORES, Sample, Share, scores

NAMES = Path(__file__).parents[1] / "tests" / "kermany_names.txt"
SENSITIVITY = 0.96  # at the threshold, which is 0
TRUTH = 1_000_000  # patients
WRONG = 0.005  # share of patients with the score of the other label, with --heavy
TAIL = 0.025  # nominal level of 95 %
LARGE, LARGE_SHARE = 60, 0.05  # images of a large patient, and share of them, with --large
FOUND, ALIKE = 0.95, 0.3  # chance that a box is found, correlation of two of a patient: --boxes
Bounds = Mapping[str, Interval]


class Draw(NamedTuple):
    """Images of a draw, each (N,)."""

    label: Array  # int, 0 or 1
    score: Array  # float; PNEUMONIA is called at 0 or above
    patient: Array  # int


class Scenario(NamedTuple):
    """What is simulated."""

    patients: int
    auroc: float
    correlation: float  # of the scores of two images of one patient with one label
    heavy: bool
    large: bool = False
    prevalence: float | None = None  # share of PNEUMONIA among patients; the set's if None

    def draw(self, rng: np.random.Generator, sizes: Array, *, patients: int = 0) -> Draw:
        """A sample of patients; `sizes` (P, 2) has images and label of each of the set's."""
        number = patients or self.patients
        images, label = sizes[rng.integers(len(sizes), size=number)].T
        if self.large:
            images = np.where(np.arange(number) < LARGE_SHARE * number, LARGE, 1)
        if self.prevalence is not None:
            label = (rng.random(number) < self.prevalence).astype(int)
        patient = np.repeat(np.arange(number), images)
        looks = label ^ (rng.random(number) < WRONG) if self.heavy else label
        own, shared = rng.normal(size=patient.size), rng.normal(size=number)[patient]
        distance = np.sqrt(2) * ndtri(self.auroc)
        noise = np.sqrt(self.correlation) * shared + np.sqrt(1 - self.correlation) * own
        score = noise + distance * (looks[patient] - 1) + ndtri(SENSITIVITY)
        return Draw(label[patient], score, patient)


class Spread(NamedTuple):
    """A score, its variance over patients, and what the other intervals need besides."""

    value: float
    variance: float
    patients: int  # that the score depends on
    images: int
    acceleration: float


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage")
    parser.add_argument("--patients", nargs="+", type=int, default=[950, 100, 30])
    parser.add_argument("--auroc", nargs="+", type=float, default=[0.99, 0.95])
    parser.add_argument("--correlation", type=float, default=0.4, help="within a patient")
    parser.add_argument("--heavy", action="store_true", help="some patients wrongly labelled")
    parser.add_argument("--large", action="store_true", help="few patients with most images")
    parser.add_argument("--prevalence", type=float, help="of PNEUMONIA among patients")
    parser.add_argument("--boxes", action="store_true", help="a detector's scores")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000, help="0 leaves the bootstraps out")
    given = parser.parse_args()
    first = True
    if given.boxes:
        print("\n".join(boxes_table(given.patients, draws=given.draws)))  # noqa: T201
        return
    for patients in given.patients:
        for auroc in given.auroc:
            scenario = Scenario(
                patients, auroc, given.correlation, given.heavy, given.large, given.prevalence
            )
            lines = table(scenario, draws=given.draws, resamples=given.resamples)
            print("\n".join(lines[0 if first else 2 :]), flush=True)  # noqa: T201
            first = False


def table(scenario: Scenario, *, draws: int, resamples: int) -> list[str]:
    """Markdown: a row per score, a column per method: coverage, mean width, share of zero width."""
    hold: dict[tuple[str, str], list[tuple[bool, float, bool]]] = {}
    truth = scores_of(scenario.draw(np.random.default_rng(1), _sizes(), patients=TRUTH))
    for method, found in simulate(scenario, draws=draws, resamples=resamples):
        for name, (low, high) in found.items():
            if np.isfinite(high - low):
                row = (low <= truth[name] <= high, high - low, high - low < 1e-9)
                hold.setdefault((name, method), []).append(row)
    methods = list(dict.fromkeys(method for _, method in hold))
    lines = [f"| patients | AUROC | score | truth | {' | '.join(methods)} |"]
    lines.append("| ---: | ---: | --- | ---: |" + " --- |" * len(methods))
    for name in SCORES:
        cells = (np.mean(hold[name, method], axis=0) for method in methods)
        values = " | ".join(f"{c:.3f}, {w:.3f}, {z:.0%}" for c, w, z in cells)
        head = f"| {scenario.patients} | {scenario.auroc} | {name} | {truth[name]:.3f}"
        lines.append(f"{head} | {values} |")
    return lines


def simulate(
    scenario: Scenario, *, draws: int, resamples: int
) -> Iterator[tuple[str, Mapping[str, Interval]]]:
    """Each draw's intervals by each method; a sample without one of the labels is left out."""
    rng = np.random.default_rng([0, scenario.patients, round(1000 * scenario.auroc)])
    sizes = _sizes()
    for number in range(draws):
        sample = scenario.draw(rng, sizes)
        if sample.label.min() == sample.label.max():
            continue
        spreads = {name: spread(name, sample) for name in SCORES}
        if resamples:
            yield from _bootstraps(sample, spreads, resamples=resamples, seed=number)
        for method, of_one in (("logit, t", _logit), ("Clopper-Pearson", _clopper_pearson)):
            yield method, {name: _f1(name, spreads[name], of_one) for name in SCORES}
        yield (
            "clustered Wilson",
            score_intervals(sample.label, sample.score, patient=sample.patient, threshold=0),
        )


def boxes_table(patients: Sequence[int], *, draws: int) -> list[str]:
    """Markdown: one row per score of boxes, with coverage, mean width, share of no width."""
    challenge, counts, _ = draw_boxes(np.random.default_rng(1), TRUTH)
    truth = {"challenge": float(np.nanmean(challenge))}
    truth |= {name: float(value) for name, value in box_scores(*map(np.sum, counts)).items()}
    lines = ["| patients | score | truth | clustered Wilson |", "| ---: | --- | ---: | --- |"]
    for number in patients:
        rng = np.random.default_rng([0, number])
        found = [share_intervals(*draw_boxes(rng, number)) for _ in range(draws)]
        for name, value in truth.items():
            ends = [one[name] for one in found if np.isfinite(one[name].low)]
            rows = [(lo <= value <= hi, hi - lo, hi - lo < 1e-9) for lo, hi in ends]
            c, w, z = np.mean(rows, axis=0)
            lines.append(f"| {number} | {name} | {value:.3f} | {c:.3f}, {w:.3f}, {z:.0%} |")
    return lines


def draw_boxes(rng: np.random.Generator, patients: int) -> tuple[Array, Counts, Array]:
    """The challenge score (N,) of each image, NaN without a box, its boxes, and its patient."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, size=patients))
    sick = (rng.random(patients) < 0.6)[patient]
    boxes = np.where(sick, rng.integers(1, 3, size=patient.size), 0)
    spread = (1 - ALIKE) / ALIKE
    found, false = (
        rng.beta(share * spread, (1 - share) * spread, size=patients)[patient]
        for share in (FOUND, 0.15)
    )
    hit, wrong = rng.binomial(boxes, found), rng.binomial(2, false)
    thresholds = np.ceil(8 * rng.beta(4, 1.2, size=patient.size)) / 8  # of the challenge's, passed
    challenge = ratio(hit * thresholds, boxes + wrong)
    return challenge, Counts(hit, wrong, boxes - hit), patient


def scores_of(sample: Draw) -> dict[str, float]:
    """The scores of a sample."""
    return scores(sample.label, sample.score, threshold=0)


def spread(name: str, draw: Draw) -> Spread:
    """Returns a score's variance by patient; for F1 that of the Jaccard index."""
    label, score, patient = draw
    sample = Sample(label, score, (score >= 0).astype(np.int64), np.ones((label.size, 1)))
    kind = SCORES[name].interval
    if isinstance(kind, Share):
        right, among = (cells[label, sample.predicted] for cells in (kind.right, kind.among))
        value, change = proportion(among, right) if among.any() else (np.nan, np.zeros(label.size))
        patients, images = np.unique(patient[among]).size, int(among.sum())
    else:
        assert kind is not None
        value, change = scores_of(draw)[name], kind.change(sample)
        patients = min(np.unique(patient[label == index]).size for index in (0, 1))
        images = label.size
    moved = np.bincount(patient, change)
    squares = (moved**2).sum()
    skew = (moved**3).sum() / (6 * squares**1.5) if squares else 0.0
    variance = squares * patients / max(patients - 1, 1)
    return Spread(value, variance, max(patients, 2), images, skew)


def _bootstraps(
    sample: Draw, spreads: Mapping[str, Spread], *, resamples: int, seed: int
) -> Iterator[tuple[str, Bounds]]:
    """The percentile and the BCa interval (Efron, 1987), of the same resamples."""
    drawn = resampled_scores(
        sample.label,
        sample.score,
        patient=sample.patient,
        threshold=0,
        resamples=resamples,
        seed=seed,
    )
    value = scores_of(sample)
    yield "percentile", {name: percentile_interval(drawn[name]) for name in SCORES}
    yield "BCa", {name: _bca(drawn[name], value[name], spreads[name]) for name in SCORES}


def _bca(drawn: Array, value: float, found: Spread) -> Interval:
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size or np.isnan(value):
        return UNKNOWN
    lower = np.mean(drawn < value) + np.mean(drawn == value) / 2
    bias = ndtri(np.clip(lower, 1 / drawn.size, 1 - 1 / drawn.size))
    normal = bias + ndtri([TAIL, 1 - TAIL])
    low, high = np.quantile(drawn, ndtr(bias + normal / (1 - found.acceleration * normal)))
    return Interval(float(low), float(high))


def _logit(found: Spread) -> Interval:
    value = found.value
    if not 0 < value < 1:
        return Interval(value, value)
    half = stdtrit(found.patients - 1, 1 - TAIL) * np.sqrt(found.variance) / (value * (1 - value))
    return Interval(float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def _clopper_pearson(found: Spread) -> Interval:
    """Korn and Graubard's (1998): the design effect is 1 or more, and 1 where there is no error."""
    value, images = found.value, found.images
    if np.isnan(value):
        return Interval(value, value)
    alone = value * (1 - value) / images
    effect = max(found.variance / alone, 1.0) if alone > 0 else 1.0
    number = images / effect * (ndtri(1 - TAIL) / stdtrit(found.patients - 1, 1 - TAIL)) ** 2
    right = value * number
    low = betaincinv(right, number - right + 1, TAIL) if right > 0 else 0.0
    high = betaincinv(right + 1, number - right, 1 - TAIL) if right < number else 1.0
    return Interval(float(low), float(high))


def _f1(name: str, found: Spread, of_one: Callable[[Spread], Interval]) -> Interval:
    low, high = of_one(found)
    if name.startswith("f1"):
        return Interval(2 * low / (1 + low), 2 * high / (1 + high))
    return Interval(low, high)


def _sizes() -> Array:
    """(P, 2) int: images and label of each patient of the set."""
    names = NAMES.read_text(encoding="utf-8").split()
    table = kermany.index_names(names)
    sick = (table["label"] == "PNEUMONIA").astype(int)
    found = sick.groupby(table["patient"]).agg(["size", "max"])
    return np.asarray(found.to_numpy())


if __name__ == "__main__":
    main()
