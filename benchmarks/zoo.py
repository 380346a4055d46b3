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
EXPERIMENTS = ("compact-fast", "compact-robust", "compact-long", "tiny-robust")
TINY = "experiment=compact-robust,model=tiny"  # begin the names of tiny's runs by this recipe
COMMANDS = {
    "tiny-robust": "experiment=compact-robust model=tiny ~model.per_image data.progressive=null"
}
SHOWN = (*BASELINES, "tiny", *EXPERIMENTS)  # on the page of the three numbers

Runs = tuple[list[Path], list[Path]]  # run folders tested at random, and on the official test set


def recipes() -> dict[str, Runs]:
    """Returns the kept runs of each recipe that has some, and of other networks in the package."""
    kept = {}
    for name in ("tiny", "small", "medium", "large", *BASELINES):
        random = f"model={name},seed={{}},data=kermany"
        kept[name] = folders(random), folders(f"{random},protocol=official")
    for name in EXPERIMENTS:
        random = RANDOM.get(f"`{name}`", f"{_pattern(name)},data=kermany")
        official = OFFICIAL.get(f"`{name}`", f"{random},protocol=official")
        kept[name] = folders(random), folders(official)
    for shipped in pretrained.names():
        name = shipped.removeprefix(pretrained.PREFIX)
        kept.setdefault(name, ([], [pretrained.find(shipped)]))
    return {name: runs for name, runs in kept.items() if any(runs)}


def _pattern(name: str) -> str:
    """Returns how the folders of a recipe's runs are named; {} is the seed."""
    kind = "experiment" if name in EXPERIMENTS else "model"
    return f"{TINY if name in COMMANDS else f'{kind}={name}'},seed={{}}"


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
        command = COMMANDS.get(name, _pattern(name).removesuffix(",seed={}"))
        pairs = zip(cells(runs, "accuracy", median), cells(runs, "auroc", median), strict=True)
        row = [
            f"{some[0]['parameters']:,}" if "parameters" in some[0] else "",
            f"{some[0]['multiply_adds'] / 1e6:.0f} M" if "multiply_adds" in some[0] else "",
            *(_both(*pair) for pair in pairs),
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


def _both(first: str, second: str) -> str:
    """Returns two scores of each set as one text; the name of the set stands once."""
    sets = zip(first.split("; "), second.split("; "), strict=True) if first else ()
    return "; ".join(f"{a}, {b.removeprefix(a.partition(' ')[0] + ' ')}" for a, b in sets)


def cross() -> str:
    """Returns the AUROC by set trained on and set tested on, seed 0; own sets: a random split."""
    rows = []
    for name in ("compact-robust", "compact-fast", "tiny-robust", *BASELINES):
        pattern = _pattern(name)
        official = OFFICIAL.get(f"`{name}`", f"{pattern},data=kermany,protocol=official")
        there = external(folders(official)[:1] or folders(f"{pattern},data=kermany")[:1], "nih")
        back = external(folders(f"{pattern},data=nih"), "kermany-test")
        own = [read(folders(f"{pattern},data={kind}")[:1]) for kind in ("kermany", "nih")]
        kermany, nih = (decimal(scores(runs, "auroc")[0]) if runs else "" for runs in own)
        rows.append([f"`{name}`", kermany, there, back, nih])
    header = ["AUROC", "Kermany, own", "Kermany to NIH", "NIH to Kermany", "NIH, own"]
    return table(header, rows)


def external(places: Sequence[Path], name: str) -> str:
    """Returns the AUROC of the first run on external images, with its interval."""
    for path in places:
        if (file := path / "external" / f"{name}.json").exists():
            score = json.loads(file.read_text())["assessment"]["scores"]["auroc"]
            return f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
    return ""


def median(values: Sequence[float]) -> str:
    """Returns the median as text."""
    return decimal(float(np.median(values)))
