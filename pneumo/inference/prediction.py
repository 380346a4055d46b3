"""Radiographs become rows of a table, by classifiers or detectors, with files beside it."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from pneumo.data.reader import Radiograph, Shape
from pneumo.inference.networks import batches, read_shown
from pneumo.runs import output

Row = dict[str, Any]
Write = Callable[[Row], None]


@dataclass
class Counts:
    """Of the written rows: flagged as out of distribution, unreadable, without an attachment."""

    flagged: int = 0
    unreadable: int = 0
    incomplete: int = 0


class Predictor(Protocol):
    """The networks of some runs, and their decision."""

    @property
    def batch_size(self) -> int:
        """Images at once through a network."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for the user, before the first row."""

    @property
    def shapes(self) -> list[Shape]:
        """The shapes that radiographs must be prepared in."""

    def rows(self, batch: Sequence[Radiograph]) -> Iterator[Row]:
        """Yields a row for each radiograph, with the keys path and error."""

    def writer(self, file: TextIO, *, form: str, attachments: Sequence[str]) -> Write:
        """Returns a function that writes a row."""


class Attachment(Protocol):
    """A file beside the table for each radiograph, such as a picture."""

    @property
    def column(self) -> str:
        """The column of the table with the file's name."""

    def add(self, radiograph: Radiograph, row: Row) -> str | None:
        """Writes the file and returns its name; None, with a note, if it cannot be written."""


Folder = AbstractContextManager[Attachment]  # takes its place at the end, whole or not at all


def write_rows(
    predictor: Predictor,
    names: Sequence[str],
    write: Write,
    *,
    attachments: Sequence[Attachment],
    batch_size: int,
    threads: int,
    bar: bool = True,
) -> Counts:
    """Writes the rows of radiographs and returns counts of them.

    ``names``: files, or - for standard input. ``threads``: that decode ahead. ``bar``: whether a
    terminal shows the progress.
    """
    counts = Counts()
    stream = read_shown(names, "predicting", shapes=predictor.shapes, threads=threads, bar=bar)
    for batch in batches(stream, batch_size=batch_size):
        for radiograph, row in zip(batch, predictor.rows(batch), strict=True):
            for attachment in attachments:
                name = None if radiograph.error else attachment.add(radiograph, row)
                row[attachment.column] = name
                counts.incomplete += name is None and not radiograph.error
            write(row)
            counts.unreadable += bool(radiograph.error)
            counts.flagged += bool(row["ood"])
    return counts


def json_writer(file: TextIO) -> Write:
    """Returns a function that writes a row as a line of JSON."""
    return lambda row: print(json.dumps(row, allow_nan=False), file=file)


def csv_writer(file: TextIO, columns: Sequence[str]) -> Write:
    """Returns a function that writes a row of CSV; it writes the header."""
    table = csv.DictWriter(file, columns, lineterminator="\n")
    table.writeheader()

    def write(row: Mapping[str, Any]) -> None:
        table.writerow({name: _cell(value) for name, value in row.items()})

    return write


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else output.spreadsheet_safe(value)
