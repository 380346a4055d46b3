"""How sure it is that networks differ, and what choosing the epoch on the test split adds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pneumo.evaluation.intervals import difference_interval
from pneumo.evaluation.paired_tests import Comparison, corrected_t_test, holm
from pneumo.report.groups import Cell, Group
from pneumo.report.trials import COMPARED, Trial, split_name

MOST_COMPARED = 8  # networks; more make a table that no one reads


WIDEST = 1.0  # interval of a difference of scores; of few trials it may be wider, and says nothing


class Difference(NamedTuple):
    """One network's score minus another's over the splits that both were tried on."""

    score: str
    first: str
    second: str
    pairs: int
    test: Comparison
    p_holm: float


class Margin(NamedTuple):
    """A network's score minus a baseline's on the same splits."""

    score: str
    network: str
    baseline: str
    over: str  # "4 trials", or "patients of seed 3": what the interval is over
    pairs: int  # trials
    test: Comparison  # p and df only over several trials


class Optimism(NamedTuple):
    """By how much choosing the epoch on the test split raises a network's score."""

    label: str
    score: str
    how: str
    n: int
    test: Comparison


def differences(group: Group) -> list[Difference]:
    """Every pair of the group's first networks, on each score of `COMPARED`.

    Only splits that both networks were tried on, with the same images in each split, make a pair.
    p is adjusted by Holm over the pairs of one score.
    """
    cells = group.networks[:MOST_COMPARED]
    rows = []
    for score in COMPARED:
        pairs = [
            (first, second, *_paired(first, second, score))
            for index, first in enumerate(cells)
            for second in cells[index + 1 :]
        ]
        # settings of one network, a trial each, make a table without a single interval
        pairs = [p for p in pairs if p[2] > 1 or p[0].model != p[1].model]
        adjusted = holm([test.p for *_, test in pairs])
        rows += [
            Difference(score, first.label, second.label, n, test, float(p))
            for (first, second, n, test), p in zip(pairs, adjusted, strict=True)
        ]
    return rows


def margins(group: Group) -> list[Margin]:
    """Every network minus every baseline of the group, on each score of `COMPARED`.

    Only splits that both were tried on, with the same images in each split, make a pair. First
    over the trials, by the corrected t-test, where there are several; then within each trial, by
    a paired bootstrap over the patients of its test split, which says nothing of other splits.
    """
    return [
        margin
        for network in group.networks[:MOST_COMPARED]
        for baseline in group.baselines
        for margin in _margins(network, baseline)
    ]


def best_margins(rows: Sequence[Margin]) -> dict[str, Margin]:
    """Each network's margin of accuracy over the baseline that leaves it the least.

    Over all trials where there are several, else within the first. A network that shares no split
    with a baseline has none.
    """
    found: dict[str, Margin] = {}
    whole = {(row.network, row.baseline): row for row in reversed(rows) if row.score == "accuracy"}
    for row in whole.values():
        least = found.get(row.network)
        if least is None or row.test.difference < least.test.difference:
            found[row.network] = row
    return found


def main_margins(rows: Sequence[Margin]) -> list[Margin]:
    """Of ``rows`` those over several trials, and within each trial those over the best baseline."""
    best = {name: margin.baseline for name, margin in best_margins(rows).items()}
    several = {(row.network, row.baseline) for row in rows if row.pairs > 1}
    return [
        row
        for row in rows
        if row.pairs > 1
        or row.baseline == best.get(row.network)
        or (row.network, row.baseline) not in several
    ]


def _margins(network: Cell, baseline: Cell) -> list[Margin]:
    names = network.label, baseline.label
    rows = []
    for score in COMPARED:
        n, test = _paired(network, baseline, score)
        if n > 1:
            rows.append(Margin(score, *names, f"{n} trials", n, test))
    for one, other in _pairs(network, baseline):
        if one.path.size and np.array_equal(one.path, other.path):
            over = f"patients of {split_name(one.split)}"
            rows += [Margin(s, *names, over, 1, _within(one, other, s)) for s in COMPARED]
    return rows


def _within(one: Trial, other: Trial, score: str) -> Comparison:
    gap = _best(one, score) - _best(other, score)
    ends = difference_interval(one.resampled[score], other.resampled[score])
    return Comparison(gap, *ends, float("nan"), 0)


def optimism(group: Group, *, groups: Sequence[Group]) -> list[Optimism]:
    """What choosing the epoch on the test split adds, by each way that the runs allow.

    Best minus last epoch, where the epoch was chosen on the test split; best of all epochs on the
    test split minus the epoch that was kept, where that was chosen on validation data or is the
    last; and, for the paper's protocol, its score minus that of the holdout protocol on the same
    data and seeds.
    """
    rows = []
    for cell in group.networks:
        for score in COMPARED[:2]:
            if cell.settings.get("chosen_on") == "test":
                gain = [_best(t, score) - t.score("last", "test", score) for t in cell.trials]
                rows.append(_gain(cell, score, "best minus last epoch", gain))
            elif any(trial.history("test", score).size for trial in cell.trials):
                gain = [_highest(t, score) - _best(t, score) for t in cell.trials]
                last = cell.settings.get("chosen_on") == "none"
                kept = "last epoch" if last else "chosen on validation"
                rows.append(_gain(cell, score, f"best on test minus {kept}", gain))
            for other in _holdout(group, cell, groups):
                n, test = _paired(cell, other, score, same_split=False)
                rows.append(Optimism(cell.label, score, "paper minus holdout protocol", n, test))
    return [row for row in rows if row.n]


def _gain(cell: Cell, score: str, how: str, gain: Sequence[float]) -> Optimism:
    test = _possible(corrected_t_test(gain, test_to_train=_test_to_train(cell.trials)))
    return Optimism(cell.label, score, how, int(np.isfinite(gain).sum()), test)


def _possible(test: Comparison) -> Comparison:
    """Its interval within the -1 to 1 of a difference of scores; NaN if it spans half of that."""
    if test.high - test.low > WIDEST:
        return test._replace(low=float("nan"), high=float("nan"))
    if np.isnan(test.low):
        return test
    return test._replace(low=max(-1.0, test.low), high=min(1.0, test.high))


def _best(trial: Trial, score: str) -> float:
    return trial.score("best", "test", score)


def _highest(trial: Trial, score: str) -> float:
    known = trial.history("test", score)
    known = known[np.isfinite(known)]
    return float(known.max()) if known.size else float("nan")


def _holdout(group: Group, cell: Cell, groups: Sequence[Group]) -> list[Cell]:
    def learned(settings: Mapping[str, Any]) -> dict[str, Any]:
        other = ("chosen_on", "chosen_by", "protocol.")
        return {k: v for k, v in settings.items() if not k.startswith(other)}

    return [
        other
        for candidate in groups
        if (group.protocol, candidate.protocol) == ("paper", "holdout")
        and (candidate.kind, candidate.index) == (group.kind, group.index)
        for other in candidate.cells
        if other.model == cell.model and learned(other.settings) == learned(cell.settings)
    ]


def _paired(
    first: Cell, second: Cell, score: str, *, same_split: bool = True
) -> tuple[int, Comparison]:
    pairs = _pairs(first, second, same_split=same_split)
    gap = [_best(one, score) - _best(two, score) for one, two in pairs]
    ratio = _test_to_train([one for one, _ in pairs])
    return int(np.isfinite(gap).sum()), _possible(corrected_t_test(gap, test_to_train=ratio))


def _pairs(first: Cell, second: Cell, *, same_split: bool = True) -> list[tuple[Trial, Trial]]:
    ours, theirs = first.by_split(), second.by_split()
    pairs = [(ours[split], theirs[split]) for split in ours if split in theirs]
    if same_split:
        pairs = [(one, two) for one, two in pairs if _split_hash(one) == _split_hash(two)]
    return pairs


def _test_to_train(trials: Sequence[Trial]) -> float:
    """Test over train images; 0 if all trials share one test split, which then overlaps no other.

    The protocol official has one test split; of others, trials of one split do. Where the splits
    are not written, they are taken for random ones.
    """
    splits = {_split_hash(trial) for trial in trials}
    if {trial.metrics["protocol"] for trial in trials} == {"official"} or (
        len(splits) == 1 and None not in splits
    ):
        return 0.0
    counts = [[trial.count(split, "images") for split in ("test", "train")] for trial in trials]
    known = [test / train for test, train in counts if train > 0 and np.isfinite(test)]
    return float(np.mean(known)) if known else 0.3 / 0.7  # the paper's split, if none is written


def _split_hash(trial: Trial) -> Any:
    return trial.metrics["data"].get("split_sha256")
