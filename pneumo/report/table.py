"""A table of the report for page, Markdown and terminal, CSV text, and the titles of columns."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pneumo.evaluation.scores import SCORES
from pneumo.runs.output import spreadsheet_safe

if TYPE_CHECKING:
    import pandas as pd

TITLES = {name: score.heading for name, score in SCORES.items()} | {  # or the key in words
    "pair": "Difference",
    "ppv": "PPV",
    "npv": "NPV",
    "ece_before": "ECE of PNEUMONIA's probability",
    "ece_after": "the same, calibrated",
    "brier_before": "Brier score",
    "brier_after": "Brier score, calibrated",
    "ece": "Calibration error",
    "drop": "Drop of AUROC",
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
        left = {next(iter(self.columns)), *self.texts}
        rule = ["---" if key in left else "---:" for key in self.columns]
        lines = [[escaped(title) for title in self.columns.values()], rule]
        for row in self.rows:
            cells = (
                f"{text} ({', '.join(below.split(chr(10)))})" if text and below else text or below
                for _, text, below in self.cells(row)
            )
            lines.append([escaped(cell) for cell in cells])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def text(self, *, first: int, others: int) -> list[str]:
        """Returns the lines for a terminal, by the widths of the first column and the others.

        A longer name of a row has a line of its own. A range is "0.925-0.940".
        """
        rows = (
            [f"{text} {below.replace(' to ', '-')}".rstrip() for _, text, below in self.cells(row)]
            for row in self.rows
        )
        lines = []
        for name, *cells in [list(self.columns.values()), *rows]:
            lines += [name] if len(name) >= first else []
            start = "" if len(name) >= first else name
            texts = (f"{cell:{others - 1}} " for cell in cells)  # a space after a longer one, too
            lines.append(f"{start:{first}}{''.join(texts)}".rstrip())
        return lines


def titled(rows: Sequence[Row], *keys: str, texts: Sequence[str] = ()) -> Table:
    """Returns a table with the columns ``keys``, titled by `TITLES` or by the key in words."""
    titles = {key: TITLES.get(key, key.replace("_", " ").capitalize()) for key in keys}
    return Table(titles, rows, texts)


def by_name(
    corner: str, columns: Mapping[str, str], rows: Mapping[Any, Mapping[str, Any]]
) -> Table:
    """Returns a table of rows by their names, below ``corner``; missing cells are ""."""
    shown = [{"": name, **dict.fromkeys(columns, ""), **cells} for name, cells in rows.items()]
    return Table({"": corner, **columns}, shown)


def escaped(text: str) -> str:
    """Returns text for one line of Markdown or a cell, without markup, link or picture."""
    text = re.sub(r"([|\[\]\\])", r"\\\1", text)
    return " ".join(text.replace("<", "&lt;").split())


def to_csv(rows: "pd.DataFrame") -> str:
    """Returns CSV text; unknown values are empty fields, and no text is a formula."""
    return rows.map(_field).to_csv(index=False, lineterminator="\n")


def _field(value: Any) -> Any:
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 1e15
        return "" if value != value else f"{value:.0f}" if whole else f"{value:.6g}"
    return "" if value is None else spreadsheet_safe(value)
