"""A table of the report for page, Markdown and terminal, CSV text, and the titles of columns."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumo.evaluation.scores import SCORES as ALL_SCORES
from pneumo.runs.output import spreadsheet_safe

SCORES = {  # columns of the summary
    name: ALL_SCORES[name].heading
    for name in (
        *("f1_normal", "auroc", "accuracy", "precision_normal", "recall_normal"),
        *("f1_pneumonia", "precision_pneumonia", "recall_pneumonia"),
    )
}
TITLES = SCORES | {  # if a key in words is not enough
    "pair": "Difference",
    "called_differently": "Decided differently",
    "ppv": "PPV",
    "npv": "NPV",
    "ece_before": "ECE of PNEUMONIA's probability",
    "ece_after": "the same, calibrated",
    "brier_before": "Brier score",
    "brier_after": "Brier score, calibrated",
    "ece": "Calibration error",
    "drop": "Drop of AUROC",
    "row": "Subgroup",
    "sizes": "PNEUMONIA / NORMAL",
    "prevalence": "PNEUMONIA",
    "random": "Random order",
    "share_of_gaps_above_0": "Radiographs with gap above 0",
    "randomised": "Randomised network",
    "multiply_adds": "Multiply-adds",
    "rate": "Images/s in training",
    "front": "On the Pareto front of",
    "seconds": "Time a run",
    "epoch": "Epoch chosen",
    "train": "Train F1 of NORMAL",
    "train_last": "Train F1 at the last epoch",
    "last": "Test F1 at the last epoch",
    "claim": "Row of the paper",
    "claimed": "What it claims",
    "on": "On what",
    "ours": "Our runs: accuracy",
}
Row = Mapping[str, str | tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """Rows of cells, each a text, or a text and smaller lines below it."""

    columns: Mapping[str, str]  # key to title; the first column names the row
    rows: Sequence[Row]
    texts: Sequence[str] = ()  # columns of running text

    def __bool__(self) -> bool:
        return bool(self.rows)

    def cells(self, row: Row) -> Iterator[tuple[str, str, str]]:
        """Yields each column's key, the text of the row's cell, and the lines below it."""
        for key in self.columns:
            cell = row[key]
            yield (key, cell, "") if isinstance(cell, str) else (key, *cell)

    def markdown(self) -> str:
        """Returns the table as Markdown; lines below a text follow it in brackets."""
        lines = [[escaped(title) for title in self.columns.values()], ["---"] * len(self.columns)]
        for row in self.rows:
            cells = (
                f"{text} ({', '.join(below.split(chr(10)))})" if text and below else text or below
                for _, text, below in self.cells(row)
            )
            lines.append([escaped(cell) for cell in cells])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def text(self, *, first: int, others: int) -> str:
        """Returns the table for a terminal, by the widths of the first column and the others."""
        titles = list(self.columns.values())
        rows = ([f"{text} {below}".rstrip() for _, text, below in self.cells(r)] for r in self.rows)
        return "\n".join(
            f"{name:{first}}{''.join(f'{cell:{others}}' for cell in cells)}".rstrip()
            for name, *cells in [titles, *rows]
        )


def titled(rows: Sequence[Row], *keys: str, texts: Sequence[str] = ()) -> Table:
    """Returns a table with the columns ``keys``, titled by `TITLES` or by the key in words."""
    titles = {key: TITLES.get(key, key.replace("_", " ").capitalize()) for key in keys}
    return Table(titles, rows, texts)


def escaped(text: str) -> str:
    """Returns text for one line of Markdown or a cell, without markup, link or picture."""
    text = re.sub(r"([|\[\]\\])", r"\\\1", text)
    return " ".join(text.replace("<", "&lt;").split())


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns CSV text with the columns of all rows; unknown values are empty fields."""
    columns = dict.fromkeys(column for row in rows for column in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _field(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _field(value: Any) -> Any:
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 1e15
        return "" if value != value else f"{value:.0f}" if whole else f"{value:.6g}"
    return "" if value is None else spreadsheet_safe(value)
