"""Radiographs become rows of a table, by classifiers or detectors, with files beside it."""

import csv
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TextIO

from pneumo import cli
from pneumo.data.dicom_header import IDS
from pneumo.data.reader import Radiograph, Shape
from pneumo.inference import ood
from pneumo.inference.networks import batches, read_shown, shapes
from pneumo.runs import output
from pneumo.runs.run import Run

Row = dict[str, Any]
Write = Callable[[Row], None]


class Predictor(ABC):
    """The networks of some runs, and their decision; ``ids``: see `rows`."""

    batch_size: int = 32  # images at once through a network
    notes: Sequence[str]  # for the user, before the first row
    common: Mapping[str, Any] = {}  # cells of every row

    def __init__(self, runs: Sequence[Run], *, ids: bool) -> None:
        self.runs, self.ids = list(runs), IDS if ids else ()

    @property
    def shapes(self) -> list[Shape]:
        """The shapes that radiographs must be prepared in."""
        return shapes(self.runs)

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """The keys of a row."""

    @abstractmethod
    def cells(self, batch: Sequence[Radiograph]) -> Iterator[tuple[Row, list[str]]]:
        """Yields some cells of each readable radiograph, and why it is out of distribution."""

    def rows(self, batch: Sequence[Radiograph]) -> Iterator[Row]:
        """Yields a row for each radiograph, by column; unknown values are None.

        With ids a row has the identifiers of pneumo.data.dicom_header.IDS.
        """
        readable = [radiograph for radiograph in batch if not radiograph.error]
        cells = iter(self.cells(readable) if readable else ())
        data = [run.metrics["data"] for run in self.runs]
        for radiograph in batch:
            of_image, far = ({}, []) if radiograph.error else next(cells)
            reasons = [*ood.file_reasons(radiograph, data), *far]
            yield {
                **dict.fromkeys(self.columns),
                **self.common,
                **of_image,
                **(radiograph.header.ids if self.ids else {}),
                "ood": bool(reasons) if reasons or not radiograph.error else None,
                "ood_reason": "; ".join(reasons) or None,
                "path": output.printable(radiograph.name),
                "error": output.printable(radiograph.error) or None,
            }

    def writer(self, file: TextIO, *, form: str, attachments: Sequence[str]) -> Write:
        """Returns a function that writes a row; ``form``: csv or jsonl."""
        if form == "jsonl":
            return lambda row: print(json.dumps(row, allow_nan=False), file=file)
        return csv_writer(file, [*self.columns, *attachments])


class Attachment(Protocol):
    """A file beside the table for each radiograph, such as a picture."""

    kind: str  # picture or report
    column: str  # of the table, with the file's name

    def add(self, radiograph: Radiograph, row: Row) -> str:
        """Writes the file and returns its name; ValueError if it cannot be written."""


Folder = AbstractContextManager[Attachment]  # takes its place at the end, whole or not at all


def write_rows(
    predictor: Predictor,
    names: Sequence[str],
    write: Write,
    *,
    attachments: Sequence[Attachment],
    threads: int,
    bar: bool = True,
) -> Counter[str]:
    """Writes the rows of radiographs; returns how many are flagged, unreadable and incomplete.

    An incomplete one lacks the file of an attachment.
    ``names``: files, or - for standard input. ``threads``: that decode ahead. ``bar``: whether a
    terminal shows the progress.
    """
    counts = Counter[str]()
    stream = read_shown(names, "predicting", shapes=predictor.shapes, threads=threads, bar=bar)
    for batch in batches(stream, batch_size=predictor.batch_size):
        for radiograph, row in zip(batch, predictor.rows(batch), strict=True):
            for attachment in attachments:
                row[attachment.column] = None
                if not radiograph.error:
                    try:
                        row[attachment.column] = attachment.add(radiograph, row)
                    except ValueError as error:
                        cli.note(f"no {attachment.kind} of {error}")
                        counts["incomplete"] += 1
            write(row)
            counts["unreadable"] += bool(radiograph.error)
            counts["flagged"] += bool(row["ood"])
    return counts


def csv_writer(file: TextIO, columns: Sequence[str]) -> Write:
    """Returns a function that writes a row of CSV; it writes the header."""
    table = csv.DictWriter(file, columns, lineterminator="\n")
    table.writeheader()
    return lambda row: table.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else output.spreadsheet_safe(value)
