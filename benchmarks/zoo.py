"""The tables of docs/zoo.md and docs/explanation/three-numbers.md; an unmeasured cell is empty."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.kept import OFFICIAL, RANDOM, folders, minutes, read, scores, spread, table
from pneumo.report.wording import decimal
from pneumo.runs import pretrained

SETS = ("random", "official", "external")
BASELINES = ("thumbnail_svm", "file_header")
EXPERIMENTS = ("compact-fast", "compact-robust")
SHOWN = (*BASELINES, "tiny", *EXPERIMENTS)  # on the page of the three numbers

Runs = tuple[list[Path], list[Path]]  # run folders tested at random, and on the official test set


def recipes() -> dict[str, Runs]:
    """Returns the kept runs of each recipe that has some, and of other networks in the package."""
    kept = {}
    for name in ("tiny", "small", "medium", "large", *BASELINES):
        random = f"model={name},seed={{}},data=kermany"
        kept[name] = folders(random), folders(f"{random},protocol=official")
    for name in EXPERIMENTS:
        random = RANDOM.get(f"`{name}`", f"experiment={name},seed={{}},data=kermany")
        official = OFFICIAL.get(f"`{name}`", f"{random},protocol=official")
        kept[name] = folders(random), folders(official)
    for shipped in pretrained.names():
        name = shipped.removeprefix(pretrained.PREFIX)
        kept.setdefault(name, ([], [pretrained.find(shipped)]))
    return {name: runs for name, runs in kept.items() if any(runs)}


def cells(runs: Runs, score: str, text: Callable[[Sequence[float]], str]) -> list[str]:
    """Returns a score on each of SETS as text; on external images, by the name of their set."""
    external = defaultdict(list)
    for path in (path for places in runs for path in places):
        for file in sorted((path / "external").glob("*.json")):
            result = json.loads(file.read_text())["assessment"]["scores"][score]
            external[file.stem].append(float(result["value"]))
    own = [text(scores(read(places), score)) if places else "" for places in runs]
    return [*own, "; ".join(f"{name} {text(values)}" for name, values in external.items())]


def zoo() -> str:
    """Returns a row for each recipe: size, accuracy and AUROC on each set, minutes, weights."""
    header = ["recipe", "parameters", "multiply-adds", *SETS, "minutes", "weights"]
    rows = []
    for name, runs in recipes().items():
        some = read(runs[0] or runs[1])
        is_shipped = pretrained.PREFIX + name in pretrained.names()
        command = f"{'experiment' if name in EXPERIMENTS else 'model'}={name}"
        pairs = zip(cells(runs, "accuracy", median), cells(runs, "auroc", median), strict=True)
        row = [
            f"{some[0]['parameters']:,}" if "parameters" in some[0] else "",
            f"{some[0]['multiply_adds'] / 1e6:.0f} M" if "multiply_adds" in some[0] else "",
            *(", ".join(filter(None, pair)) for pair in pairs),
            minutes(some),
            f"`{pretrained.PREFIX}{name}`" if is_shipped else "",
        ]
        rows.append([f"`{command}`", *row])
    return table(header, rows)


def three_numbers() -> str:
    """Returns the AUROC of baselines, the paper's network and the compact recipes on each set."""
    known = recipes()
    rows = [[f"`{name}`", *cells(known[name], "auroc", spread)] for name in SHOWN if name in known]
    return table(["AUROC", *SETS], rows)


def median(values: Sequence[float]) -> str:
    """Returns the median as text."""
    return decimal(float(np.median(values)))
