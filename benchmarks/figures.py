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

import numpy as np
import pandas as pd

from benchmarks import zoo
from benchmarks.adapt import SAVED, SIZES
from benchmarks.kept import (
    NAMES,
    OFFICIAL,
    RANDOM,
    RUNS,
    SVM,
    Run,
    chosen,
    difference,
    kept,
    minutes,
    read,
    scores,
    seeds,
    spread,
    table,
)
from pneumo import evaluate
from pneumo.evaluation import published
from pneumo.report.ensembles import add_ensembles
from pneumo.report.groups import group_trials
from pneumo.report.reading import read_run
from pneumo.report.tables import claim_table
from pneumo.report.trials import Trial
from pneumo.report.wording import DASH, decimal
from pneumo.runs.metrics import how_chosen

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/*.md", "docs/[!n]*/*.md")
MARKED = re.compile(r"(<!-- figures (\w+) -->\n)(.*?)(<!-- end figures -->)", re.DOTALL)
SCORE = re.compile(r"(?<![\d.,])[01]\.\d{3}(?!\d)")  # such as 0.961, but not 10.0123
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
CURVES = ROOT / "docs/notes/adapt.csv"  # from benchmarks.adapt
COMPARISON = "model={},seed=0,data=kermany,experiment=comparison"


def readme_results() -> str:
    """Returns the README's table: a row for each recipe, accuracy and AUROC on three test sets."""
    rows = []
    known = zoo.recipes()
    for name, label in README_ROWS.items():
        if name not in known:
            continue
        runs = read(known[name][0] or known[name][1])
        accuracy, auroc = (zoo.cells(known[name], key, zoo.median) for key in ("accuracy", "auroc"))
        both = [f"{a} ({b})" if a else "" for a, b in zip(accuracy[:2], auroc[:2], strict=True)]
        parameters = f"{runs[0]['parameters']:,}" if "parameters" in runs[0] else ""
        external = auroc[2].removeprefix("nih ")
        rows.append([label, parameters, *both, external, minutes(runs)])
    paper = f"{decimal(published.TINY['accuracy'])}"
    rows.append(["the paper's tiny", f"{published.TINY_PARAMETERS:,}", paper, "", "", ""])
    return table(
        ["model", "parameters", "random", "official", "external", "minutes, one core"], rows
    )


README_ROWS = {
    "thumbnail_svm": "`thumbnail_svm`, a baseline",
    **{name: f"`{name}`, 50 epochs at 256 px" for name in ("tiny", "small", "medium", "large")},
    "compact-fast": "`compact-fast`, 128 px",
    "compact-long": "`compact-long`, 160 px",
    "compact-robust": "`compact-robust`, 128 px",
}


def readme_takeaway() -> str:
    """Returns three conclusions: random splits, the official test set, another hospital."""
    tiny_margin, fast_margin = (
        difference(RANDOM[name], SVM, "accuracy")
        for name in ("tiny, 50 epochs at 256 px", "`compact-fast`")
    )
    names = ("tiny, 50 epochs at 256 px", "`tiny-robust`", "`compact-robust`", "`thumbnail_svm`")
    tiny, tiny_robust, robust, svm = (
        decimal(float(np.median(scores(kept(OFFICIAL[name]), "recall_normal")))) for name in names
    )
    external = zoo.cells(zoo.recipes()["compact-robust"], "auroc", spread)[2]
    return (
        f"- On random splits a thumbnail SVM comes close to any network: the accuracy of tiny is "
        f"higher by {tiny_margin}, that of compact-fast by {fast_margin}.\n"
        f"- On the official test set specificity is {svm} (SVM), {tiny} (tiny) and {robust} "
        "(compact-robust). Training with varied framing and exposure improves it; tiny trained in "
        f"that way has {tiny_robust}.\n"
        "- On radiographs of adults at another hospital these networks rank at about chance: "
        f"compact-robust has an AUROC of {external.removeprefix('nih ')}. Fine-tuned on 400 of "
        f"them it has {adapted('adapted')}, a thumbnail SVM {adapted('thumbnail SVM')}, the file "
        f"size in bytes {adapted('bytes of the file')} "
        "([curves](docs/how-to/adapt.md#how-many-images)).\n"
    )


def adapted(system: str) -> str:
    """Returns the median AUROC after training on the most images of another hospital."""
    curves = pd.read_csv(CURVES)
    chosen = curves[(curves["saved"] == SAVED[0]) & (curves["images"] == SIZES[-1])]
    return decimal(float(chosen.loc[chosen["system"] == system, "auroc"].median()))


def figure1() -> str:
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
        f"Median F1 of NORMAL is {medians}; the paper states "
        f"{decimal(published.ALL_F1, digits=2)}. Train minus test, in evaluation mode: {gaps}. "
        f"Tiny is not better than small: {pair}, paired over the splits.\n"
    )


def overfitting(runs: Sequence[Run]) -> str:
    """Returns train minus test F1 of NORMAL at the chosen epoch, over the runs that have it."""
    train, test = (scores(runs, "f1_normal", split=split) for split in ("train_eval", "test"))
    return spread([a - b for a, b in zip(train, test, strict=True)], sign=True)


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
    tiny, small, medium, _, fast, _, svm, *_ = RANDOM
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
        if chosen(runs) == "val":
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
    return table([*header, *(NAMES[key] for key in keys), "seconds per epoch"], rows, text=3)


def results_claims() -> str:
    """Returns the published figures of the compared papers beside those of the same networks."""
    paths = sorted(RUNS.glob(COMPARISON.format("*")))
    trials = [t for p in paths if isinstance(t := read_run(p, name=p.name), Trial)]
    groups, _ = group_trials(trials)
    add_ensembles(groups)
    compared = ("Ayan", "Hashmi", "Sirazitdinov", "Rahman", "Hamoldi")
    rows = [
        [": ".join(row["claim"]), *(str(row[k]) for k in ("claimed", "ours", "on", "comparable"))]
        for row in claim_table(groups).rows
        if row["claim"][0] in compared
    ]
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    header = ["paper", "published", "the same networks here: accuracy", "on", "comparable"]
    return table(header, cells, text=5)


def use_evaluate() -> str:
    """Returns evaluate's output for the packaged network; needs no image."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluate.main(["pretrained:compact-robust"])
    shown = printed.getvalue()
    return f"```console\n$ python -m pneumo.evaluate pretrained:compact-robust\n{shown}```\n"


def adapt() -> str:
    """Returns the AUROC by number of another hospital's images, from benchmarks.adapt."""
    curves = pd.read_csv(CURVES)
    systems = list(dict.fromkeys(curves["system"]))
    rows = []
    for (saved, images), part in curves.groupby(["saved", "images"], sort=False):
        values = [part.loc[part["system"] == system, "auroc"].tolist() for system in systems]
        rows.append([str(saved), str(images), *map(spread, values)])
    return table(["images", "number", *systems], sorted(rows, key=lambda row: row[0]))


def _by_auroc(run: Run) -> float:
    return scores([run], "auroc")[0]


def _network(run: Run) -> str:
    weights = ", ImageNet weights" if run["folder"].endswith("model.pretrained=True") else ""
    return f"`{run['model']}`{weights}"


MAKERS: dict[str, Callable[[], str]] = {
    maker.__name__: maker
    for maker in (
        *(readme_results, readme_takeaway, figure1, use_evaluate),
        *(results_random, results_pairs, results_official, results_comparison, results_claims),
        *(zoo.zoo, zoo.three_numbers, zoo.cross, adapt),
    )
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
