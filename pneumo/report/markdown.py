"""The report's numbers as one Markdown page, for a repository or a mail."""

import re
from collections.abc import Mapping, Sequence

from pneumo.report.assessments import warnings
from pneumo.report.audit_link import AuditLink
from pneumo.report.claims import COLUMNS as COMPARED
from pneumo.report.claims import claim_rows
from pneumo.report.findings import COLUMNS, Section
from pneumo.report.groups import DEBUG
from pneumo.report.overview import Overview, overviews
from pneumo.report.trials import Problem
from pneumo.report.wording import DEBUG_BANNER, FRONT_NOTE, RATE_NOTE, TRAIN_NOTE

SIZES = {
    "network": "Network",
    "parameters": "Parameters",
    "multiply_adds": "Multiply-adds",
    "rate": "Images/s in training",
    "front": "On the Pareto front of",
    "seconds": "Time a run",
    "epoch": "Epoch chosen",
    "train": "Train F1 of NORMAL",
    "gap": "Train minus test",
    "train_last": "Train F1 at the last epoch",
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


NOTES = {
    "mean": "mean ± sd",
    "range": "lowest to highest",
    "interval": "95 % interval over patients",
    "gap": "beside the paper",
}


def summary_markdown(
    said: Sequence[str],
    *,
    parts: Sequence[Section],
    problems: Sequence[Problem],
    audit: AuditLink | None = None,
) -> str:
    """The sentences, and of each group its scores, sizes, differences and caveats, as Markdown."""
    lines = ["# Report", "", escaped(" ".join(said)), ""]
    if audit:
        lines += [
            f"Audit of {escaped(audit.name)}: {escaped(audit.said)} [The audit]({audit.href}) "
            "shows its copies, its files, and what needs no network.",
            "",
        ]
    for overview in overviews([part.group for part in parts]):
        lines += _overview(overview)
    claims = [row.cells() for row in claim_rows([part.group for part in parts])]
    if claims:
        lines += ["## The paper's comparison, run here", "", *_table(claims, COMPARED)]
    for part in parts:
        lines += [f"## {escaped(part.title)}", ""]
        lines += [f"**{DEBUG_BANNER}**", ""] * (part.group.protocol == DEBUG)
        lines += [escaped(part.about), ""]
        for warning in warnings(part.group):
            lines += [f"**Few patients:** {escaped(warning)}.", ""]
        lines += ["Medians over trials of the test split, at the epoch chosen:", ""]
        lines += _scores(part)
        lines += _table(part.sizes, SIZES)
        lines += [escaped(f"{RATE_NOTE} Timed on: {part.timed_on}. {FRONT_NOTE}"), ""]
        lines += [TRAIN_NOTE, ""]
        names, recipe = part.recipes
        columns = {"setting": "Setting"} | {name: name for name in names}
        lines += _titled("How the networks were trained", recipe, columns)
        lines += _titled("Choosing the epoch on the test split", part.optimism, OPTIMISM)
        lines += _titled("Margins over the baselines", part.margins, MARGINS)
        lines += _titled("Differences between networks", part.differences, DIFFERENCES)
        lines += [f"- {escaped(caveat)}" for caveat in part.caveats]
        lines += [""] * bool(part.caveats)
    rows = [{"run": p.name, "state": p.state, "reason": p.reason} for p in problems]
    if rows:
        lines += ["## Left out", "", *_table(rows, LEFT_OUT)]
    return "\n".join(lines).rstrip() + "\n"


def _overview(overview: Overview) -> list[str]:
    columns = {"network": "Network"}
    columns |= {slug: f"{title} ({how})" if how else title for slug, title, how in overview.columns}
    rows = []
    for label, scores in overview.rows:
        cells = (f"{score} ({', '.join(below)})" if below else score for score, below in scores)
        rows.append({"network": label} | dict(zip(list(columns)[1:], cells, strict=True)))
    title = f"{overview.kind[:1].upper()}{overview.kind[1:]}: median test F1 of NORMAL by protocol"
    return [f"## {escaped(title)}", "", *_table(rows, columns)]


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
    lines += [[escaped(row[key]) for key in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def escaped(text: str) -> str:
    """The text on one line of Markdown, in a table too: no markup, link or picture of its own."""
    text = re.sub(r"([|\[\]\\])", r"\\\1", text)
    return " ".join(text.replace("<", "&lt;").split())
