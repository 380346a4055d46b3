"""How often prediction sets hold the label of a new patient, and how often that is doubted.

`python -m benchmarks.sets` prints the table of docs/notes/intervals.md. There are as many
patients of each label to calibrate on as are named, and others of the same kind to check the sets
on: all are exchangeable, so a sentence that the coverage does not hold is wrong. An image's score
is normal; images of one patient share a part of its variance. "By image" is what was done before:
all images calibrate, and the share of images held, times the number of patients, was tested.
"""

import argparse
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import betabinom

from benchmarks.coverage import _sizes
from pneumo.evaluation.metrics import Array
from pneumo.inference import conformal
from pneumo.inference.conformal import PredictionSets
from pneumo.labels import NORMAL, PNEUMONIA

COVERAGE = 0.9
REFUSED = (float("nan"), float("nan"))  # the sets, for too few patients


class Scenario(NamedTuple):
    """What is simulated; patients are of each label."""

    patients: int  # to calibrate on
    new: int  # patients to check the sets on
    images: int  # of each patient; 0: as many as the set's patients with PNEUMONIA have, 1 to 31
    correlation: float  # of the scores of two images of one patient

    def draw(self, rng: np.random.Generator, patients: int) -> pd.DataFrame:
        """Returns images of so many patients of each label, as `conformal.coverage` wants them."""
        images = [self.images] if self.images else images_of_patients()
        who = np.repeat(np.arange(2 * patients), rng.choice(images, size=2 * patients))
        shared, own = rng.normal(size=2 * patients)[who], rng.normal(size=who.size)
        score = np.sqrt(self.correlation) * shared + np.sqrt(1 - self.correlation) * own
        return pd.DataFrame(
            {
                **{"path": np.arange(who.size).astype(str), "subtype": "", "source": ""},
                **{"group": who, "label": np.where(who < patients, NORMAL, PNEUMONIA)},
                "p_pneumonia": expit(score),
            }
        )


@lru_cache
def images_of_patients() -> Array:
    """(P,) int: of each of the set's patients with PNEUMONIA."""
    sizes = _sizes()
    return np.asarray(sizes[sizes[:, 1] == 1, 0])


SCENARIOS = (
    Scenario(2, 200, images=10, correlation=0.9),
    *(Scenario(p, new, 0, c) for c in (0.4, 0.8) for p, new in ((30, 300), (100, 300), (300, 300))),
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sets")
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print("| patients | new | images of each | correlation | by image | by patient |")  # noqa: T201
    print("| ---: | ---: | ---: | ---: | --- | --- |")  # noqa: T201
    for one in SCENARIOS:
        cells = (
            "refused" if np.isnan(held) else f"{held:.3f}, {doubted:.1%}"
            for held, doubted in simulate(one, draws=draws)
        )
        images = one.images or "1 to 31"
        print(  # noqa: T201
            f"| {one.patients} | {one.new} | {images} | {one.correlation} | {' | '.join(cells)} |",
            flush=True,
        )


def simulate(scenario: Scenario, *, draws: int) -> list[tuple[float, float]]:
    """Returns of sets by image and by patient the coverage, and the share of labels doubted.

    The coverage is that of one image of a new patient, drawn at random.
    """
    rng = np.random.default_rng([0, *scenario[:3], round(100 * scenario.correlation)])
    found = []
    for _ in range(draws):
        val, test = (scenario.draw(rng, number) for number in scenario[:2])
        found.append([by_image(val, test), by_patient(val, test)])
    return [tuple(of_one) for of_one in np.mean(found, axis=0)]


def by_patient(val: pd.DataFrame, test: pd.DataFrame) -> tuple[float, float]:
    """Coverage and share of labels doubted, by one image of each patient."""
    try:
        sets = _fit(conformal.one_per_patient(val))
    except ValueError:
        return REFUSED
    rows = conformal.coverage(test, sets)
    return _coverage(test, sets), float(np.mean([r["by_chance"] < conformal.ALPHA for r in rows]))


def by_image(val: pd.DataFrame, test: pd.DataFrame) -> tuple[float, float]:
    """The same as it was: by all images, with the number of patients in the test only."""
    sets = _fit(val)
    doubted = []
    for number, (_, rows) in enumerate(test.groupby("label")):
        images, patients = sets.patients[number], rows["group"].nunique()
        share = sets.contains(rows["p_pneumonia"])[:, number].mean()
        place = np.ceil((images + 1) * COVERAGE - 1e-9)
        chance = betabinom.cdf(int(share * patients + 1e-9), patients, place, images + 1 - place)
        doubted.append(chance < conformal.ALPHA)
    return _coverage(test, sets), float(np.mean(doubted))


def _fit(rows: pd.DataFrame) -> PredictionSets:
    label = (rows["label"] == PNEUMONIA).to_numpy(np.int64)
    return conformal.fit(label, rows["p_pneumonia"], coverage=COVERAGE, of="the sample")


def _coverage(test: pd.DataFrame, sets: PredictionSets) -> float:
    rows = conformal.one_per_patient(test)
    held = sets.contains(rows["p_pneumonia"])
    return float(held[np.arange(len(rows)), (rows["label"] == PNEUMONIA).astype(int)].mean())


if __name__ == "__main__":
    main()
