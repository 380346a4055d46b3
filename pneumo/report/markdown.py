"""The report's numbers as one Markdown page, for a repository or a mail."""

from collections.abc import Mapping, Sequence

from pneumo.report.findings import COLUMNS, Section
from pneumo.report.trials import Problem
from pneumo.report.wording import TRAIN_NOTE

SIZES = {
    "network": "Network",
    "parameters": "Parameters",
    "multiply_adds": "Multiply-adds",
    "seconds": "Time a run",
    "epoch": "Epoch chosen",
    "train": "Train F1 of NORMAL",
    "gap": "Train minus test",
    "last": "Test F1 at the last epoch",
}
OPTIMISM = {
    "network": "Network",
    "score": "Score",
    "how": "What is compared",
    "difference": "Difference",
    "interval": "95 % interval",
    "pairs": "Trials",
}
MARGINS = {
    "pair": "Network and baseline",
    "score": "Score",
    "difference": "Difference",
    "interval": "95 % interval",
    "p": "p",
    "over": "Over",
}
DIFFERENCES = {
    "pair": "Networks",
    "score": "Score",
    "difference": "Difference",
    "interval": "95 % interval",
    "p": "p",
    "holm": "p, Holm",
    "pairs": "Trials",
}
LEFT_OUT = {"run": "Run", "state": "State", "reason": "Reason"}


NOTES = {"mean": "mean ± sd", "range": "lowest to highest", "gap": "beside the paper"}


def summary_markdown(
    said: Sequence[str], *, parts: Sequence[Section], problems: Sequence[Problem]
) -> str:
    """The sentences, and of each group its scores, sizes, differences and caveats, as Markdown."""
    lines = ["# Report", "", _escaped(" ".join(said)), ""]
    for part in parts:
        lines += [f"## {_escaped(part.title)}", "", _escaped(part.about), ""]
        lines += ["Medians over trials of the test split, at the epoch chosen:", ""]
        lines += _scores(part)
        lines += _table(part.sizes, SIZES)
        lines += [TRAIN_NOTE, ""]
        lines += _titled("Choosing the epoch on the test split", part.optimism, OPTIMISM)
        lines += _titled("Margins over the baselines", part.margins, MARGINS)
        lines += _titled("Differences between networks", part.differences, DIFFERENCES)
        lines += [f"- {_escaped(caveat)}" for caveat in part.caveats]
        lines += [""] * bool(part.caveats)
    rows = [{"run": p.name, "state": p.state, "reason": p.reason} for p in problems]
    if rows:
        lines += ["## Left out", "", *_table(rows, LEFT_OUT)]
    return "\n".join(lines).rstrip() + "\n"


def _scores(part: Section) -> list[str]:
    columns = {"network": "Network", "runs": "Runs"} | COLUMNS
    rows = []
    for row in part.scores:
        rows.append({key: row.get(key, "") for key in columns})
        for suffix, name in NOTES.items():
            told = {key: row.get(f"{key}_{suffix}", "") for key in COLUMNS}
            if any(told.values()):
                rows.append({"network": name, "runs": ""} | told)
    return _table(rows, columns)


def _titled(title: str, rows: Sequence[Mapping[str, str]], columns: Mapping[str, str]) -> list[str]:
    return [f"### {title}", "", *_table(rows, columns)] if rows else []


def _table(rows: Sequence[Mapping[str, str]], columns: Mapping[str, str]) -> list[str]:
    lines = [list(columns.values()), ["---"] * len(columns)]
    lines += [[_escaped(row[key]) for key in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
