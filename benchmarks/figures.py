"""Write every score that README.md and docs/*.md quote, from the runs kept in docs/runs.

`python -m benchmarks.figures` replaces the text between `<!-- figures NAME -->` and
`<!-- end figures -->` by the result of the function NAME below. With `--check` it writes nothing
and fails if a page differs. It reads metrics.json of the kept runs, and no image.
"""

import argparse
import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumo import evaluate
from pneumo.evaluation import published
from pneumo.evaluation.paired_tests import corrected_t_test
from pneumo.evaluation.scores import CLINICAL, SCORES
from pneumo.report.wording import DASH, decimal, interval
from pneumo.runs.metrics import how_chosen

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "docs" / "runs"
PAGES = ("README.md", "docs/*.md", "docs/[!n]*/*.md")
MARKED = re.compile(r"(<!-- figures (\w+) -->\n)(.*?)(<!-- end figures -->)", re.DOTALL)
SCORE = re.compile(r"(?<![\d.,])[01]\.\d{3}(?!\d)")  # such as 0.961, but not 10.0123
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
NAMES = {name: score.title for name, score in SCORES.items()}
NAMES |= {CLINICAL[name]: name for name in ("sensitivity", "specificity")}
SVM = "model=thumbnail_svm,seed={},data=kermany"
RANDOM = {  # name in the tables: run folders, of which {} is the seed
    **{
        f"{name}, 50 epochs at 256 px": f"model={name},seed={{}},data=kermany"
        for name in ("tiny", "small", "medium", "large")
    },
    "`compact-fast`": "experiment=compact-fast,seed={},data=kermany",
    "`thumbnail_svm`": SVM,
    "`file_header`": "model=file_header,seed={},data=kermany",
    "`prior`": "model=prior,seed={},data=kermany",
}
ROBUST = "experiment=compact-robust,seed={},data=kermany,protocol=official,protocol.val=0"
OFFICIAL = {
    "tiny, 50 epochs at 256 px": "model=tiny,seed={},data=kermany,protocol=official",
    "`compact-robust`": ROBUST,
    **{
        f"`{name}`": f"model={name},seed={{}},data=kermany,protocol=official"
        for name in ("thumbnail_svm", "file_header", "prior")
    },
}
COMPARISON = "model={},seed=0,data=kermany,experiment=comparison"
ONE_EPOCH = "experiment=compact-fast,seed={},data=kermany,protocol=official,trainer.max_epochs=1"

Run = dict[str, Any]  # metrics.json


def kept(folders: str) -> list[Run]:
    """Returns metrics.json of the kept runs, by seed, of a name with {} for it; not empty."""
    runs = []
    for seed in range(10):
        path = RUNS / folders.format(seed) / "metrics.json"
        if path.is_file():
            runs.append(json.loads(path.read_text()))
    if not runs:
        raise FileNotFoundError(f"docs/runs has no {folders.format('N')}; keep the run there first")
    return runs


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
    """Returns the minutes of the fastest run."""
    return f"{min(run['seconds']['total'] for run in runs) / 60:.1f}"


def difference(first: str, second: str, name: str) -> str:
    """Returns the mean difference of a score over common seeds, with the corrected t interval."""
    a, b = ({run["seed"]: run for run in kept(folders)} for folders in (first, second))
    common = sorted(set(a) & set(b))
    gaps = [scores([a[s]], name)[0] - scores([b[s]], name)[0] for s in common]
    sizes = [a[s]["data"]["splits"] for s in common]
    share = float(np.mean([size["test"]["images"] / size["train"]["images"] for size in sizes]))
    test = corrected_t_test(gaps, test_to_train=share)
    ends = interval(test.low, test.high, sign=True)
    return decimal(test.difference, sign=True) + ("" if ends == DASH else f" ({ends})")


def readme_results() -> str:
    """Returns the README's table: one row per model and protocol."""
    header = ["model", "parameters", "`protocol=`", "epoch chosen on", "seeds", "accuracy"]
    header += ["specificity", "AUROC", "minutes"]
    rows = []
    shown = ((RANDOM, "paper", "prior file_header"), (OFFICIAL, "official", "prior file_header"))
    for models, protocol, left_out in shown:
        for name, folders in models.items():
            if name.strip("`") in left_out.split():
                continue
            runs = kept(folders)
            parameters = runs[0].get("parameters")
            columns = [spread(scores(runs, key)) for key in ("accuracy", "recall_normal", "auroc")]
            rows.append(
                [
                    name,
                    f"{parameters:,}" if parameters else DASH,
                    f"`{protocol}`",
                    chosen(runs),
                    seeds(runs),
                    *columns,
                    minutes(runs),
                ]
            )
        if protocol == "paper":
            paper = published.TINY
            rows.append(
                [
                    "the paper's tiny",
                    f"{published.TINY_PARAMETERS:,}",
                    "`paper`",
                    "test",
                    "5 trials",
                    decimal(paper["accuracy"]),
                    decimal(paper["recall_normal"]),
                    DASH,
                    DASH,
                ]
            )
    return table(header, rows, text=5)


def readme_margin() -> str:
    """Returns tiny's margin on random splits, and specificities on the official test set."""
    margin = difference(RANDOM["tiny, 50 epochs at 256 px"], SVM, "accuracy")
    tiny, best, svm = (
        decimal(float(np.median(scores(kept(OFFICIAL[name]), "recall_normal"))))
        for name in (
            "tiny, 50 epochs at 256 px",
            "`compact-robust`",
            "`thumbnail_svm`",
        )
    )
    return (
        f"**On random splits tiny's accuracy exceeds the thumbnail SVM's by only {margin}. On the "
        f"official test set specificity is {tiny} (tiny), {best} (best) and {svm} (thumbnail "
        f"SVM).**\n"
    )


def readme_figure1() -> str:
    """Returns the medians of the paper's figure 1, and two of its claims."""
    names = ("tiny", "small", "medium", "large")
    runs = {name: kept(RANDOM[f"{name}, 50 epochs at 256 px"]) for name in names}
    medians = ", ".join(
        f"{decimal(float(np.median(scores(runs[name], 'f1_normal'))))} ({name})" for name in names
    )
    gaps = "; ".join(f"{name} {overfitting(runs[name])}" for name in names)
    tiny, small = (RANDOM[f"{name}, 50 epochs at 256 px"] for name in names[:2])
    pair = difference(tiny, small, "f1_normal")
    return (
        f"The paper's figure 1, above: median F1 of NORMAL is {medians}; the paper states "
        f"{decimal(published.ALL_F1, digits=2)}. Train minus test, in evaluation mode: {gaps}. "
        f"Tiny is not better than small: {pair}, paired over the splits.\n"
    )


def overfitting(runs: Sequence[Run]) -> str:
    """Returns train minus test F1 of NORMAL at the chosen epoch, over the runs that have it."""
    train, test = (scores(runs, "f1_normal", split=split) for split in ("train_eval", "test"))
    return spread([a - b for a, b in zip(train, test, strict=True)], sign=True)


def readme_kaggle() -> str:
    """Returns the scores of the README's command on the Kaggle release."""
    (run,) = kept(ONE_EPOCH)
    listed = ", ".join(
        f"{NAMES[name]} {decimal(scores([run], name)[0])}"
        for name in ("accuracy", "recall_normal", "auroc")
    )
    return f"One run of one epoch, seed 0: {listed}.\n"


def results_random() -> str:
    """Returns the table of random splits by patient, as in the paper."""
    header = ["random split by patient", "epoch chosen on", "seeds"]
    keys = ("accuracy", "recall_normal", "f1_normal", "auroc")
    header += [NAMES[key] for key in keys] + ["train minus test F1", "F1, last epoch"]
    rows = []
    for name, folders in RANDOM.items():
        runs = kept(folders)
        last = DASH if runs[0].get("baseline") else spread(scores(runs, "f1_normal", when="last"))
        gap = DASH if runs[0].get("baseline") else overfitting(runs)
        columns = [spread(scores(runs, key)) for key in keys]
        rows.append([name, chosen(runs), seeds(runs), *columns, gap, last])
    paper = [decimal(published.TINY[key]) for key in keys[:3]]
    rows.append(["the paper's tiny", "test", "5 trials", *paper, *[DASH] * 3])
    return table(header, rows, text=3)


def results_pairs() -> str:
    """Returns the table of differences over the splits that two models share."""
    tiny, small, medium, _, fast, svm, *_ = RANDOM
    pairs = [(tiny, small), (tiny, medium), (small, medium), (fast, tiny), (fast, medium)]
    pairs += [(network, svm) for network in (tiny, small, medium, fast)]
    keys = ("f1_normal", "auroc", "accuracy")
    rows = [
        [f"{a} minus {b}", *(difference(RANDOM[a], RANDOM[b], key) for key in keys)]
        for a, b in pairs
    ]
    return table(["paired over splits", *(NAMES[key] for key in keys)], rows)


def results_official() -> str:
    """Returns the table of the set's own test split."""
    keys = ("accuracy", "recall_normal", "recall_pneumonia", "f1_normal", "auroc")
    rows = []
    for name, folders in OFFICIAL.items():
        runs = kept(folders)
        columns = [spread(scores(runs, key)) for key in keys]
        rows.append([name, chosen(runs), seeds(runs), *columns])
        if not runs[0].get("baseline"):
            last = [spread(scores(runs, key, when="last")) for key in keys]
            rows.append(["the same, last epoch", "none", seeds(runs), *last])
    header = ["official test split", "epoch chosen on", "seeds", *(NAMES[key] for key in keys)]
    return table(header, rows, text=3)


def results_comparison() -> str:
    """Returns the table of the compared papers' networks by one recipe, official test split."""
    paths = sorted(RUNS.glob(COMPARISON.format("*") + "*/metrics.json"))
    runs = [json.loads(path.read_text()) | {"folder": path.parent.name} for path in paths]
    runs.sort(key=_by_auroc, reverse=True)
    keys = ("accuracy", "recall_normal", "recall_pneumonia", "auroc")
    rows = [
        [
            _network(run),
            str(len(run["history"])),
            how_chosen(run["selection"]),
            f"{run['parameters']:,}",
            f"{run['multiply_adds'] / 1e6:.0f} M",
            *(decimal(scores([run], key)[0]) for key in keys),
            f"{np.median([row['seconds'] for row in run['history']]):.0f}",
        ]
        for run in runs
    ]
    header = ["`experiment=comparison`, seed 0", "epochs", "epoch", "parameters", "multiply-adds"]
    return table([*header, *(NAMES[key] for key in keys), "seconds an epoch"], rows, text=3)


def use_evaluate() -> str:
    """Returns evaluate's output for the packaged network; needs no image."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluate.main(["pretrained:compact"])
    shown = printed.getvalue()
    return f"```console\n$ python -m pneumo.evaluate pretrained:compact\n{shown}```\n"


def _by_auroc(run: Run) -> float:
    return scores([run], "auroc")[0]


def _network(run: Run) -> str:
    weights = ", ImageNet weights" if run["folder"].endswith("model.pretrained=True") else ""
    return f"`{run['model']}`{weights}"


MAKERS: dict[str, Callable[[], str]] = {
    maker.__name__: maker
    for maker in (readme_results, readme_margin, readme_figure1, readme_kaggle)
} | {
    maker.__name__: maker
    for maker in (results_random, results_pairs, results_official, results_comparison, use_evaluate)
}


def pages() -> Iterator[Path]:
    """Yields the pages that quote scores: README.md and those of docs/, not of docs/notes/."""
    for pattern in PAGES:
        yield from sorted(ROOT.glob(pattern))


def updated(text: str) -> str:
    """Returns the page with its marked figures computed from the kept runs."""
    return MARKED.sub(lambda mark: mark[1] + MAKERS[mark[2]]() + mark[4], text)


def unmarked(text: str) -> list[str]:
    """Returns the scores of a page outside of marked figures, commands and their output."""
    return SCORE.findall(CODE.sub("", MARKED.sub("", text)))


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    args = parser.parse_args()
    different = []
    for page in pages():
        before = page.read_text()
        after = updated(before)
        if after != before:
            different.append(page.relative_to(ROOT).as_posix())
            if not args.check:
                page.write_text(after)
    if different:
        print(f"{'differ' if args.check else 'written'}: {', '.join(different)}")  # noqa: T201
    if args.check and different:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
