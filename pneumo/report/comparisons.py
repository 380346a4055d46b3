"""Differences between networks, and the effect of choosing the epoch on the test split."""

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pneumo.choices import BALANCED
from pneumo.cli import counted
from pneumo.evaluation.intervals import difference_interval
from pneumo.evaluation.paired import corrected_t_test, holm
from pneumo.report.groups import OF_PROTOCOL, Cell, Group
from pneumo.report.trials import COMPARED, NAN, Trial, split_name, tuples

MOST_COMPARED = 8  # networks with each other; more make a table that no one reads
KEPT = {"none": "last epoch", "val": "chosen on validation"}  # the epoch, by chosen_on
WIDEST = 1.0  # interval of a difference of scores; a wider one is uninformative


COLUMNS = (  # kind: networks, margin (over a baseline) or optimism; what: first and second
    *("group", "kind", "first", "second", "what", "score", "trials", "difference", "low", "high"),
    *("p", "df", "over"),  # p and df over several trials only; over: what the interval covers
)


def compare(groups: Sequence[Group]) -> pd.DataFrame:
    """Returns the comparisons within each group: `COLUMNS`, and p_holm.

    Networks with each other, networks with baselines, and what choosing the epoch on the test
    split adds. p_holm is p adjusted by Holm over the pairs of networks of one score.
    """
    rows = [
        {"group": group.slug, **row}
        for group in groups
        for row in (*_between(group), *_optimism(group, groups))
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).assign(p_holm=NAN)
    pairs = table[(table["kind"] == "networks") & (table["trials"] > 1)]
    for _, same in pairs.groupby(["group", "score"]):
        table.loc[same.index, "p_holm"] = holm(same["p"].to_numpy(float))
    return table


def best_margins(table: pd.DataFrame, score: str = "accuracy") -> dict[str, Any]:
    """Returns each network's margin of a score over the best baseline on most of its trials.

    By network, a row of the comparisons of one group: over all trials if there are several, else
    within the first. A network that shares no test images with a baseline has none.
    """
    margins = table[(table["kind"] == "margin") & (table["score"] == score)]
    first = margins.drop_duplicates("what").sort_values("difference", kind="stable")
    first = first.sort_values("trials", ascending=False, kind="stable")
    return {row.first: row for row in tuples(first.drop_duplicates("first"))}


def overlap_ratio(trials: Sequence[Trial]) -> float:
    """Test over train images; 0 if all trials share one test split, which overlaps no other.

    The official protocol has one test split. Splits without a hash count as random ones.
    """
    hashes = {trial.split_sha256 for trial in trials}
    is_official = {trial.metrics["protocol"] for trial in trials} == {"official"}
    if is_official or (len(hashes) == 1 and None not in hashes):
        return 0.0
    counts = [[trial.count(split, "images") for split in ("test", "train")] for trial in trials]
    ratios = [test / train for test, train in counts if train > 0 and np.isfinite(test)]
    return float(np.mean(ratios)) if ratios else 0.3 / 0.7  # the paper's split


def _between(group: Group) -> Iterator[dict[str, Any]]:
    """Every pair of the first networks, and every network minus every baseline.

    Over the trials on the same split, then over the patients of each trial on the same test
    images, by a paired bootstrap.
    """
    compared = combinations(group.networks[:MOST_COMPARED], 2)
    pairs = [("networks", *pair) for pair in compared]
    pairs += [("margin", *pair) for pair in product(group.networks, group.baselines)]
    for kind, first, second in pairs:
        about = {"kind": kind, "first": first.label, "second": second.label}
        about["what"] = f"{first.label} minus {second.label}"
        same_seed = _pairs(first, second)
        same_split = [(a, b) for a, b in same_seed if a.split_sha256 == b.split_sha256]
        if len(same_split) > 1:
            for score in COMPARED:
                gaps = [a.score(score) - b.score(score) for a, b in same_split]
                yield about | {"score": score} | _t_test(gaps, [a for a, _ in same_split])
        same_images = [
            (a, b)
            for a, b in same_seed
            if not a.test.empty and a.test["path"].equals(b.test["path"])
        ]
        # settings of one network with one trial each must not be chosen on the test split
        if first.model != second.model or len(same_images) > 1:
            drawn = [(a, b, a.resampled, b.resampled_as(a)) for a, b in same_images]
            for (a, b, of_a, of_b), score in product(drawn, COMPARED):
                low, high = difference_interval(of_a[score], of_b[score])
                row = {"score": score, "trials": 1, "difference": a.score(score) - b.score(score)}
                row |= {"low": low, "high": high, "over": f"patients of {split_name(a.split)}"}
                yield about | row


def _optimism(group: Group, groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """What choosing the epoch on the test split adds, by each way that the runs allow.

    Best minus last epoch, if the epoch was chosen on the test split; best of all epochs on the
    test split minus the epoch kept, if that was chosen on validation data or is the last; last
    epoch minus the one chosen on validation data, which on shifted test images shows what choosing
    on unshifted ones costs; and, for the paper's protocol, its score minus that of the holdout
    protocol on the same data and seeds.
    """
    same_data = (g for g in groups if (g.kind, g.index) == (group.kind, group.index))
    held_out = [c for g in same_data if g.protocol == "holdout" for c in g.networks]
    for cell, score in product(group.networks, COMPARED[:2]):
        chosen = [t.score(score) for t in cell.trials]
        last = np.subtract([t.score(score, when="last") for t in cell.trials], chosen)
        gains = {"best minus last epoch": (-last, cell.trials)}
        if cell.chosen_on != "test":
            best = [np.fmax.reduce(t.history("test", score), initial=NAN) for t in cell.trials]
            kept = KEPT.get(cell.chosen_on, f"chosen on {cell.chosen_on}")
            gains = {f"best on test minus {kept}": (np.subtract(best, chosen), cell.trials)}
        if cell.chosen_on == "val":
            shifted = ", shifted data" if group.protocol == "official" else ""
            gains[f"last epoch minus chosen on validation{shifted}"] = last, cell.trials
        for other in held_out if group.protocol == "paper" else ():
            if other.model == cell.model and _training(other) == _training(cell):
                pairs = _pairs(cell, other)
                gaps = np.array([a.score(score) - b.score(score) for a, b in pairs])
                gains["paper minus holdout protocol"] = gaps, [a for a, _ in pairs]
        for how, (gain, trials) in gains.items():
            row = _t_test(gain, trials)
            if row["trials"]:
                about = {"kind": "optimism", "first": cell.label, "second": how}
                yield about | {"what": f"{cell.label}: {how}", "score": score} | row


def _training(cell: Cell) -> dict[str, Any]:
    """The settings without those that come with the protocol, but with balanced decisions."""
    balanced = cell.settings.get("decision") == BALANCED  # other rules: the same scores
    settings = {k: v for k, v in cell.settings.items() if not k.startswith(OF_PROTOCOL)}
    return settings | {"balanced": balanced}


def _t_test(gaps: ArrayLike, trials: Sequence[Trial]) -> dict[str, Any]:
    """The numbers of a row by the corrected t-test over trials, and how many trials.

    The interval lies within -1 to 1, and is NaN if it spans half of that.
    """
    test = corrected_t_test(gaps, test_to_train=overlap_ratio(trials))
    ends = {"low": max(-1.0, test.low), "high": min(1.0, test.high)}
    if not test.high - test.low <= WIDEST:
        ends = {"low": NAN, "high": NAN}
    num_trials = int(np.isfinite(np.asarray(gaps)).sum())
    return test._asdict() | ends | {"trials": num_trials, "over": counted(num_trials, "trial")}


def _pairs(first: Cell, second: Cell) -> list[tuple[Trial, Trial]]:
    """The trials of both cells with the same seed and fold, of several those of one split."""
    pairs = []
    for trial in first.trials:
        same = [other for other in second.trials if other.split == trial.split]
        same.sort(key=lambda other: other.split_sha256 != trial.split_sha256)
        pairs += [(trial, other) for other in same[:1]]
    return pairs
