"""What a hospital would get: coverage of prediction sets, thresholds from a few of its images.

`python -m benchmarks.local_use` prints the tables of docs/notes/test-folder.md, of the runs kept in
docs/runs. The set's own test folder, taken differently from its train folder, stands for another
hospital. No image is read.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo.choices import AT_SENSITIVITY, SENSITIVITY
from pneumo.data.kermany import parse_name
from pneumo.evaluation.intervals import percentile_interval
from pneumo.evaluation.metrics import expected_calibration_error
from pneumo.evaluation.operating_point import by_rule, calibrated
from pneumo.evaluation.scores import operating_point
from pneumo.inference import conformal, local_calibration
from pneumo.labels import BACTERIA, CLASS_NAMES, NORMAL, PNEUMONIA, VIRUS
from pneumo.report.wording import DASH
from pneumo.runs.metrics import read_metrics

RUNS = Path(__file__).parents[1] / "docs" / "runs"
SHORT = ("experiment=comparison", "max_epochs=1")  # of few epochs, which are not shown
SIZES = (25, 50, 100, 200)  # local images
DRAWS = 100
MODELS = ("compact", "tiny", "thumbnail_svm")  # the others' probabilities are a handful of values
SCORES = ("sensitivity", "specificity", "ece", "NORMAL", "PNEUMONIA")
COLUMNS = {  # of the table of sets: whose sets hold the label
    "NORMAL": (NORMAL, "label", NORMAL),
    "PNEUMONIA": (PNEUMONIA, "label", PNEUMONIA),
    "bacterial": (PNEUMONIA, "subtype", BACTERIA),
    "viral": (PNEUMONIA, "subtype", VIRUS),
    "NORMAL, test folder": (NORMAL, "source", "test"),
}
Draw = dict[str, float]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local_use")
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR")
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument(
        "--ranges", type=int, metavar="DRAWS", help="instead: how often calibrate's ranges hold"
    )
    parser.add_argument("--figure", type=Path, metavar="PNG", help="thresholds, drawn")
    given = parser.parse_args()
    if given.ranges:
        print("\n".join(range_table(given.runs, draws=given.ranges)))  # noqa: T201
        return
    for lines in (
        coverage_table(given.runs, coverage=given.coverage),
        threshold_table(given.runs, draws=given.draws, coverage=given.coverage),
    ):
        print("\n".join(lines), end="\n\n", flush=True)  # noqa: T201
    if given.figure:
        draw(given.runs, given.figure, draws=given.draws, coverage=given.coverage)


def coverage_table(runs: Path, *, coverage: float) -> list[str]:
    """Markdown: in what share of the test images the set holds the label, one row per run."""
    lines = [f"| run | {' | '.join(COLUMNS)} | neither, NORMAL; PNEUMONIA |"]
    lines.append("| --- |" + " ---: |" * (len(COLUMNS) + 1))
    for name, table in kept(runs):
        val, test = (table[table["split"] == split] for split in ("val", "test"))
        sets = _sets(val, coverage=coverage, of=name)
        of_label = {label: test[test["label"] == label] for label in CLASS_NAMES}
        cells = []
        for label, by, group in COLUMNS.values():
            rows = of_label[label]
            is_part = by == "label" or rows[by].nunique() > 1
            part = conformal.coverage(rows[rows[by] == group], sets) if is_part else []
            cells += [_share(row) for row in part] or [DASH]
        inside = [sets.contains(rows["p_pneumonia"]) for rows in of_label.values()]
        neither = "; ".join(f"{(~held).all(1).mean():.3f}" for held in inside)
        lines.append(f"| {name} | {' | '.join(cells)} | {neither} |")
    return lines


def threshold_table(runs: Path, *, draws: int, coverage: float) -> list[str]:
    """Markdown: scores of the rest of the test folder, by how many of its images fixed a point."""
    lines = [
        "| run | images | sensitivity | specificity | ECE | NORMAL in its set | PNEUMONIA in its |"
    ]
    lines.append("| --- | ---: |" + " ---: |" * len(SCORES))
    for name, table in kept(runs):
        if not _is_official_network(name):
            continue
        val, test = (table[table["split"] == split] for split in ("val", "test"))
        fixed = by_rule(AT_SENSITIVITY, (_labels(val), val["p_pneumonia"]))
        assert fixed.temperature is not None
        point = {"threshold": fixed.threshold, "temperature": fixed.temperature}
        lines.append(_line(name, "none", [_scored(val, test, point, coverage=coverage)]))
        for size in SIZES:
            found = list(local_draws(test, size=size, draws=draws, coverage=coverage))
            lines.append(_line(name, str(size), found))
    return lines


def local_draws(test: pd.DataFrame, *, size: int, draws: int, coverage: float) -> Iterator[Draw]:
    """Yields the scores of the images left when about `size` images of drawn patients fix a point.

    No patient is on both sides. A draw without one of the labels is made again.
    """
    label, probability = _labels(test), test["p_pneumonia"].to_numpy(np.float64)
    for used in _some(test, size=size, draws=draws, seed=0):
        point = local_calibration.fit_point(label[used], probability[used], sensitivity=SENSITIVITY)
        yield _scored(test[used], test[~used], point, coverage=coverage)


def _some(test: pd.DataFrame, *, size: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yields (N,) bool: all images of drawn patients, at most `size`, of both labels."""
    rng = np.random.default_rng(seed)
    names, who = np.unique(test["group"].to_numpy(), return_inverse=True)
    label = _labels(test)
    made = 0
    while made < draws:
        rank = rng.permutation(names.size)[who]
        used = rank < np.sort(rank)[size]
        if len(set(label[used])) == len(CLASS_NAMES):
            made += 1
            yield used


def range_table(runs: Path, *, draws: int) -> list[str]:
    """Markdown: how often the last row of calibrate's table holds the scores of the images left.

    Many minutes: each draw has its own resamples.
    """
    lines = ["| run | images | sensitivity: in range, width | specificity: in range, width |"]
    lines.append("| --- | ---: | ---: | ---: |")
    for name, table in kept(runs):
        test = table[table["split"] == "test"]
        label, probability = _labels(test), test["p_pneumonia"].to_numpy(np.float64)
        group = test["group"].to_numpy()
        for size in SIZES[1:] if _is_official_network(name) else ():
            found = []
            for used in _some(test, size=size, draws=draws, seed=1):
                (row,) = local_calibration.curve(
                    label[used], probability[used], group[used], sensitivity=SENSITIVITY, sizes=()
                )
                threshold = local_calibration.fit_point(
                    label[used], probability[used], sensitivity=SENSITIVITY
                )["threshold"]
                left = operating_point(label[~used], probability[~used], threshold=threshold)
                ends = [(row[k]["low"], left[k], row[k]["high"]) for k in SCORES[:2]]
                found.append([(low <= value <= high, high - low) for low, value, high in ends])
            cells = [f"{held:.2f}, {width:.2f}" for held, width in np.mean(found, axis=0)]
            lines.append(f"| {name} | {size} | {' | '.join(cells)} |")
    return lines


def draw(runs: Path, path: Path, *, draws: int, coverage: float) -> None:
    """Draws the table of thresholds: median and central 95 % of draws by number of images."""
    import matplotlib.pyplot as plt

    tables = [(name, table) for name, table in kept(runs) if _is_official_network(name)]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True, layout="constrained")
    for number, (name, table) in enumerate(tables):
        test = table[table["split"] == "test"]
        by_size = [list(local_draws(test, size=n, draws=draws, coverage=coverage)) for n in SIZES]
        for axis, score in zip(axes, ("sensitivity", "specificity"), strict=True):
            values = np.array([[one[score] for one in found] for found in by_size])
            low, middle, high = np.quantile(values, [0.025, 0.5, 0.975], axis=1)
            place = np.arange(len(SIZES)) + 0.12 * (number - (len(tables) - 1) / 2)
            bars = np.stack([middle - low, high - middle])
            axis.errorbar(place, middle, bars, fmt="o", ms=4, label=name.partition(", ")[2])
    for axis, score in zip(axes, ("sensitivity", "specificity"), strict=True):
        axis.set(title=f"{score} on the rest", xlabel="local images that fixed the threshold")
        axis.set_xticks(range(len(SIZES)), [str(size) for size in SIZES])
        axis.set_ylim(0.4, 1.01)
        axis.grid(axis="y", alpha=0.3)
    axes[0].axhline(SENSITIVITY, color="0.5", linewidth=1)
    axes[1].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _is_official_network(name: str) -> bool:
    return name.startswith("official") and "thumbnail" not in name


def kept(runs: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields name and table (as conformal.coverage wants it) of each run that has a val split."""
    for folder in sorted(
        path.parent
        for path in runs.glob("*/predictions.csv")
        if not any(short in path.parent.name for short in SHORT)
    ):
        metrics = read_metrics(folder)
        table = pd.read_csv(folder / "predictions.csv")
        if metrics["model"] in MODELS and (table["split"] == "val").any():
            parsed = [parse_name(path) for path in table["path"]]
            subtype, source = ([row[place] if row else "" for row in parsed] for place in (2, 4))
            name = f"{metrics['protocol']}, {metrics['model']} {metrics['seed']}"
            yield name, table.assign(subtype=subtype, source=source, group=table["patient"])


def _scored(
    used: pd.DataFrame, left: pd.DataFrame, point: dict[str, float], *, coverage: float
) -> Draw:
    """Scores of the images left; NaN where those used are too few for sets."""
    label, probability = _labels(left), left["p_pneumonia"].to_numpy(np.float64)
    after = calibrated(probability, temperature=point["temperature"])
    found = operating_point(label, probability, threshold=point["threshold"]) | {
        "ece": expected_calibration_error(label, after)
    }
    try:
        sets = _sets(used, coverage=coverage, of="these images")
    except ValueError:
        return found | dict.fromkeys(CLASS_NAMES, float("nan"))
    held = sets.contains(probability)
    shares = [float(held[label == place, place].mean()) for place in range(len(CLASS_NAMES))]
    return found | dict(zip(CLASS_NAMES, shares, strict=True))


def _sets(table: pd.DataFrame, *, coverage: float, of: str) -> conformal.PredictionSets:
    rows = conformal.one_per_patient(table)
    return conformal.fit(_labels(rows), rows["p_pneumonia"], coverage=coverage, of=of)


def _line(name: str, images: str, found: Sequence[Draw]) -> str:
    cells = []
    for score in SCORES:
        values = np.array([one[score] for one in found])
        if not np.isfinite(values).all():
            cells.append(DASH)
            continue
        low, high = percentile_interval(values)
        ends = f" ({low:.3f} to {high:.3f})" if len(found) > 1 else ""
        cells.append(f"{np.median(values):.3f}{ends}")
    return f"| {name} | {images} | {' | '.join(cells)} |"


def _share(row: dict[str, Any]) -> str:
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def _labels(table: pd.DataFrame) -> np.ndarray:
    return (table["label"] == PNEUMONIA).to_numpy(np.int64)


if __name__ == "__main__":
    main()
