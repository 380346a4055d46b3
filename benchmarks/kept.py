"""The runs kept in docs/runs, and how their scores are quoted."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumo.evaluation.paired import corrected_t_test
from pneumo.evaluation.scores import CLINICAL, SCORES
from pneumo.report.wording import DASH, decimal, interval

RUNS = Path(__file__).parents[1] / "docs" / "runs"
NAMES = {name: score.title for name, score in SCORES.items()}
NAMES |= {CLINICAL[name]: name for name in ("sensitivity", "specificity")}
SVM = "model=thumbnail_svm,seed={},data=kermany"
RANDOM = {  # name in the tables: run folders, of which {} is the seed
    **{
        f"{name}, 50 epochs at 256 px": f"model={name},seed={{}},data=kermany"
        for name in ("tiny", "small", "medium", "large")
    },
    "`compact-fast`": "experiment=compact-fast,seed={},data=kermany",
    "`compact-long`": "experiment=compact-long,seed={},data=kermany",
    "`thumbnail_svm`": SVM,
    "`file_header`": "model=file_header,seed={},data=kermany",
    "`prior`": "model=prior,seed={},data=kermany",
}
ROBUST = "experiment=compact-robust,seed={},data=kermany,protocol=official,protocol.val=0"
OFFICIAL = {
    "tiny, 50 epochs at 256 px": "model=tiny,seed={},data=kermany,protocol=official",
    "`compact-robust`": ROBUST,
    "`tiny-robust`": ROBUST.replace("robust,", "robust,model=tiny,"),
    **{
        f"`{name}`": f"model={name},seed={{}},data=kermany,protocol=official"
        for name in ("thumbnail_svm", "file_header", "prior")
    },
}

Run = dict[str, Any]  # metrics.json


def folders(pattern: str) -> list[Path]:
    """Returns the folders of the kept runs, by seed, of a name with {} for it."""
    paths = [RUNS / pattern.format(seed) for seed in range(10)]
    return [path for path in paths if (path / "metrics.json").is_file()]


def read(places: Sequence[Path]) -> list[Run]:
    """Returns metrics.json of each run folder."""
    return [json.loads((path / "metrics.json").read_text()) for path in places]


def kept(pattern: str) -> list[Run]:
    """Returns metrics.json of the kept runs, by seed, of a name with {} for it; not empty."""
    if not (places := folders(pattern)):
        raise FileNotFoundError(f"docs/runs has no {pattern.format('N')}; keep the run there first")
    return read(places)


def scores(
    runs: Sequence[Run], name: str, *, when: str = "best", split: str = "test"
) -> list[float]:
    """Returns a score of each run; NaN if it is missing."""
    rows = [run[when].get(split) or {} for run in runs]
    return [float("nan") if (v := row.get(name)) is None else float(v) for row in rows]


def spread(values: Sequence[float], *, sign: bool = False) -> str:
    """Returns the median and, for several values, the lowest and the highest in brackets."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return DASH
    median = decimal(float(np.median(finite)), sign=sign)
    if len(finite) == 1:
        return median
    return f"{median} ({interval(min(finite), max(finite), sign=sign)})"


def seeds(runs: Sequence[Run]) -> str:
    """Returns the seeds of runs, such as "0 to 4" or "0, 1"."""
    numbers = sorted(run["seed"] for run in runs)
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 2 else ", ".join(map(str, numbers))


def chosen(runs: Sequence[Run]) -> str:
    """Returns the split on which the runs chose their epoch, or that they kept the last one."""
    (on,) = {(run["selection"] or {"on": None})["on"] for run in runs}
    return {"none": "none: the last epoch", None: DASH}.get(on, str(on))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, text: int = 1) -> str:
    """Returns a Markdown table whose columns after the first ``text`` are numbers."""
    ruler = ["---" if number < text else "---:" for number in range(len(header))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ruler, *rows))


def minutes(runs: Sequence[Run]) -> str:
    """Returns the minutes of a core that the fastest run took: its time, times its threads."""
    seconds = [run["seconds"]["total"] * run["machine"]["threads"] for run in runs]
    return f"{min(seconds) / 60:.1f}"


def difference(first: str, second: str, name: str) -> str:
    """Returns the mean difference of a score over common seeds, with the corrected t interval."""
    a, b = ({run["seed"]: run for run in kept(pattern)} for pattern in (first, second))
    common = sorted(set(a) & set(b))
    gaps = [scores([a[s]], name)[0] - scores([b[s]], name)[0] for s in common]
    sizes = [a[s]["data"]["splits"] for s in common]
    share = float(np.mean([size["test"]["images"] / size["train"]["images"] for size in sizes]))
    test = corrected_t_test(gaps, test_to_train=share)
    ends = interval(test.low, test.high, sign=True)
    return decimal(test.difference, sign=True) + ("" if ends == DASH else f" ({ends})")
