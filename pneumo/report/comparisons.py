"""How sure it is that networks differ, and what choosing the epoch on the test split adds."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pneumo.choices import BALANCED
from pneumo.evaluation.intervals import difference_interval
from pneumo.evaluation.paired import DIFFERENCES, Drawn, draw, minus
from pneumo.evaluation.paired_tests import Comparison, corrected_t_test, holm
from pneumo.report.assessments import Assessment
from pneumo.report.groups import Cell, Group, training_of
from pneumo.report.trials import COMPARED, Trial, split_name

MOST_COMPARED = 8  # networks; more make a table that no one reads
WIDEST = 1.0  # interval of a difference of scores; a wider one says nothing
NAN = float("nan")


class Difference(NamedTuple):
    """A row of comparisons.csv: the difference between two scores, and how sure it is."""

    kind: str  # networks, margin (over a baseline), images (the same ones) or optimism
    first: str  # network
    second: str  # network or baseline; for optimism, what is compared
    score: str
    trials: int
    test: Comparison  # p and df over several trials only
    over: str = ""  # what the interval covers: "4 trials", "patients of seed 3"
    p_holm: float = NAN
    num_disagreements: int = 0  # images that the two networks decide on differently

    @property
    def what(self) -> str:
        """Names of the two, as "tiny minus small"."""
        between = ": " if self.kind == "optimism" else " minus "
        return f"{self.first}{between}{self.second}"

    def csv_row(self) -> dict[str, Any]:
        """The columns of comparisons.csv."""
        about = {"what": self.what, "score": self.score, "trials": self.trials}
        df = None if self.kind == "images" else self.test.df
        test = self.test._asdict() | {"df": df}
        return about | test | {"p_holm": self.p_holm, "over": self.over}


def compare(groups: Sequence[Group]) -> dict[str, list[Difference]]:
    """Returns the comparisons within each group, by its slug.

    Networks with each other, networks with baselines, networks on the same test images, and what
    choosing the epoch on the test split adds.
    """
    return {
        group.slug: [
            *_between_networks(group),
            *_margins(group),
            *_on_the_same_images(group),
            *_optimism(group, groups),
        ]
        for group in groups
    }


def best_margins(rows: Iterable[Difference], score: str = "accuracy") -> dict[str, Difference]:
    """Each network's margin of a score over the baseline that leaves it the least.

    Over all trials if there are several, else within the first. A network that shares no split
    with a baseline has none.
    """
    margins = [row for row in rows if (row.kind, row.score) == ("margin", score)]
    first = {(row.first, row.second): row for row in reversed(margins)}
    by_difference = sorted(first.values(), key=lambda row: -row.test.difference)
    return {row.first: row for row in by_difference}


def overlap_ratio(trials: Sequence[Trial]) -> float:
    """Test over train images; 0 if all trials share one test split, which overlaps no other.

    The official protocol has one test split. Splits without a hash count as random ones.
    """
    hashes = {trial.split_sha256 for trial in trials}
    if {trial.metrics["protocol"] for trial in trials} == {"official"} or (
        len(hashes) == 1 and None not in hashes
    ):
        return 0.0
    counts = [[trial.count(split, "images") for split in ("test", "train")] for trial in trials]
    ratios = [test / train for test, train in counts if train > 0 and np.isfinite(test)]
    return float(np.mean(ratios)) if ratios else 0.3 / 0.7  # the paper's split


def _between_networks(group: Group) -> Iterator[Difference]:
    """Every pair of the first networks, over the splits that both have, on each of `COMPARED`.

    p is adjusted by Holm over the pairs of one score.
    """
    for score in COMPARED:
        pairs = [
            (_over_trials("networks", first, second, score), first.model != second.model)
            for first, second in combinations(group.networks[:MOST_COMPARED], 2)
        ]
        # settings of one network with a trial each would fill a table without a single interval
        rows = [row for row, are_models in pairs if are_models or row.trials > 1]
        adjusted = holm([row.test.p for row in rows])
        yield from (row._replace(p_holm=float(p)) for row, p in zip(rows, adjusted, strict=True))


def _margins(group: Group) -> Iterator[Difference]:
    """Every network minus every baseline: over the trials, then within each of them."""
    for network, baseline in product(group.networks[:MOST_COMPARED], group.baselines):
        for score in COMPARED:
            row = _over_trials("margin", network, baseline, score)
            if row.trials > 1:
                yield row._replace(over=f"{row.trials} trials")
        for a, b in _pairs(network, baseline):
            for score in COMPARED if _same_images(a, b) else ():
                low, high = difference_interval(a.resampled[score], b.resampled[score])
                test = Comparison(a.score(score) - b.score(score), low, high, NAN, 0)
                names = ("margin", network.label, baseline.label, score)
                yield Difference(*names, 1, test, over=f"patients of {split_name(a.split)}")


def _on_the_same_images(group: Group) -> Iterator[Difference]:
    """Every pair of the first networks within each trial with the same test images.

    Sensitivity and specificity are at each network's operating point, or at 0.5 if validation
    fixes none.
    """
    pairs = [
        (first, second, a, b)
        for first, second in combinations(group.networks[:MOST_COMPARED], 2)
        for a, b in _pairs(first, second, same_split=False)
        if _same_images(a, b)
    ]
    num_trials = Counter((first.label, second.label) for first, second, *_ in pairs)
    draws: dict[str, Drawn] = {}
    for first, second, a, b in pairs:
        # settings of one network with one trial each must not be chosen on the test split
        if first.model == second.model and num_trials[first.label, second.label] == 1:
            continue
        for trial in (a, b):
            if trial.name not in draws:  # each trial once: it is slow
                draws[trial.name] = _draw(trial)
        gaps = minus(draws[a.name], draws[b.name])
        for score in DIFFERENCES:
            value, low, high = (gaps[score][key] for key in ("value", "low", "high"))
            test = Comparison(value, low, high, NAN, 0)
            names = ("images", first.label, second.label, score)
            count = gaps["called_differently"]
            yield Difference(
                *names, 1, test, over=f"patients of {split_name(a.split)}", num_disagreements=count
            )


def _draw(trial: Trial) -> Drawn:
    assessed = trial.metrics.get("assessed")
    fixed = assessed.threshold if isinstance(assessed, Assessment) else NAN
    threshold = 0.5 if np.isnan(fixed) else fixed
    return draw(trial.label, trial.probability, patient=trial.test["patient"], threshold=threshold)


def _optimism(group: Group, groups: Sequence[Group]) -> Iterator[Difference]:
    """What choosing the epoch on the test split adds, by each way that the runs allow.

    Best minus last epoch, if the epoch was chosen on the test split; best of all epochs on the
    test split minus the epoch kept, if that was chosen on validation data or is the last; last
    epoch minus the one chosen on validation data, which on shifted test images shows what choosing
    on unshifted ones costs; and, for the paper's protocol, its score minus that of the holdout
    protocol on the same data and seeds.
    """
    for cell, score in product(group.networks, COMPARED[:2]):
        chosen = [t.score(score) for t in cell.trials]
        last = np.subtract([t.score(score, when="last") for t in cell.trials], chosen)
        gains = {"best minus last epoch": -last}
        if cell.chosen_on != "test":
            best = [np.fmax.reduce(t.history("test", score), initial=NAN) for t in cell.trials]
            kept = "last epoch" if cell.chosen_on == "none" else "chosen on validation"
            gains = {f"best on test minus {kept}": np.subtract(best, chosen)}
        if cell.chosen_on == "val":
            shifted = ", shifted data" if group.protocol == "official" else ""
            gains[f"last epoch minus chosen on validation{shifted}"] = last
        rows = [
            Difference("optimism", cell.label, how, score, *_t_test(gain, cell.trials))
            for how, gain in gains.items()
        ]
        for other in _holdout(group, cell, groups):
            row = _over_trials("optimism", cell, other, score, same_split=False)
            rows.append(row._replace(second="paper minus holdout protocol"))
        yield from (row for row in rows if row.trials)


def _holdout(group: Group, cell: Cell, groups: Sequence[Group]) -> list[Cell]:
    """The cells of the holdout protocol that were trained as this cell of the paper protocol."""

    def training(settings: Mapping[str, Any]) -> dict[str, Any]:
        balanced = settings.get("decision") == BALANCED  # other rules: the same scores
        return training_of(settings) | {"balanced": balanced}

    return [
        other
        for candidate in groups
        if (group.protocol, candidate.protocol) == ("paper", "holdout")
        and (candidate.kind, candidate.index) == (group.kind, group.index)
        for other in candidate.cells
        if other.model == cell.model and training(other.settings) == training(cell.settings)
    ]


def _over_trials(
    kind: str, first: Cell, second: Cell, score: str, *, same_split: bool = True
) -> Difference:
    pairs = _pairs(first, second, same_split=same_split)
    test = _t_test([a.score(score) - b.score(score) for a, b in pairs], [a for a, _ in pairs])
    return Difference(kind, first.label, second.label, score, *test)


def _t_test(gaps: ArrayLike, trials: Sequence[Trial]) -> tuple[int, Comparison]:
    """Trials compared, and the corrected t-test over them.

    Its interval lies within -1 to 1, and is NaN if it spans half of that.
    """
    test = corrected_t_test(gaps, test_to_train=overlap_ratio(trials))
    if test.high - test.low > WIDEST:
        test = test._replace(low=NAN, high=NAN)
    elif not np.isnan(test.low):
        test = test._replace(low=max(-1.0, test.low), high=min(1.0, test.high))
    return int(np.isfinite(np.asarray(gaps)).sum()), test


def _pairs(first: Cell, second: Cell, *, same_split: bool = True) -> list[tuple[Trial, Trial]]:
    """The trials of both cells with the same seed and fold, and by default the same split."""
    ours, theirs = first.by_split(), second.by_split()
    pairs = [(ours[split], theirs[split]) for split in ours if split in theirs]
    return [(a, b) for a, b in pairs if not same_split or a.split_sha256 == b.split_sha256]


def _same_images(first: Trial, second: Trial) -> bool:
    return not first.test.empty and first.test["path"].equals(second.test["path"])
