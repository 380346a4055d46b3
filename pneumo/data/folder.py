"""Radiographs of one's own: folders NORMAL/ and PNEUMONIA/, or a table of paths and labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo import untrusted
from pneumo.data.kermany import COLUMNS, SOURCES, images_in
from pneumo.labels import CLASS_NAMES, NORMAL, SUBTYPES

NUM_SHOWN = 3  # rows or names in a message
OWN_COLUMNS = ("path", "label", "patient", "split", "subtype")  # of a table; others are not read


def folder_table(root: Path) -> tuple[pd.DataFrame, list[str]]:
    """Returns the table of the images below ``root``, and what was left out.

    ``root`` holds NORMAL/ and PNEUMONIA/, or train/, val/ and test/ with them. Columns as of
    `kermany.index`; an image is its own patient, since its name does not tell; subtype is empty
    for PNEUMONIA; source is train, val or test, or empty.

    Raises:
        FileNotFoundError: there is no such folder, or no image of a label.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root must be a folder; there is no folder {root}")
    rows, left_out = [], []
    for source in ("", *SOURCES):
        for label in CLASS_NAMES:
            place = f"{source}/{label}".lstrip("/")
            if (root / place).is_dir():
                images, others = images_in(root / place)
                rows += [_row(f"{place}/{name}", label, source=source) for name in images]
                left_out += [f"{place}/{name}" for name in others]
    return _checked(rows, root), left_out


def csv_table(path: Path, root: Path) -> pd.DataFrame:
    """Returns the table that a CSV file lists: path (relative to ``root``) and label.

    Where it has them, also patient, split (train, val, test) and subtype (normal, bacteria, virus).
    Columns as of folder_table.

    Raises:
        FileNotFoundError: there is no such file, or a path of it is no file.
        ValueError: a column is missing or there twice, a value is not one of those above, or a path
            comes twice.
    """
    columns = csv_columns(path)
    for name in ("path", "label"):
        if name not in columns:
            raise ValueError(
                f"data.csv must have the columns path and label; {path} has {', '.join(columns)}"
            )
    listed = _read_csv(path)
    listed["label"] = listed["label"].str.upper()
    _check_values(listed, "label", CLASS_NAMES)
    _check_values(listed, "split", (*SOURCES, ""))
    _check_values(listed, "subtype", (*SUBTYPES, ""))
    rows = [
        _row(
            row["path"],
            row["label"],
            source=row.get("split", ""),
            patient=row.get("patient", ""),
            subtype=row.get("subtype", ""),
        )
        for row in listed.to_dict("records")
    ]
    gone = [row[0] for row in rows if untrusted.leads_out(row[0]) or not (root / row[0]).is_file()]
    if gone:
        raise FileNotFoundError(
            f"each path of data.csv must be a file below data.root={root}, without .. in it; not "
            f"so {_first(gone)}"
        )
    return _checked(rows, root)


def csv_columns(path: Path) -> list[str]:
    """Returns the names of a CSV file's columns.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table, or one of OWN_COLUMNS is there twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"data.csv must be a file; there is no {path}")
    header = _read_csv(path, header=None, nrows=1).iloc[0]
    twice = sorted(set(header[header.duplicated()]) & {*OWN_COLUMNS})
    if twice:  # pandas gives the second another name
        raise ValueError(
            f"data.csv must have each column once; {path} has two named {twice[0]}. Remove one"
        )
    return list(header)


def _read_csv(path: Path, **how: Any) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False, **how)
    except ValueError as error:
        raise ValueError(f"data.csv must be a table; {path} is broken: {error}") from None
    return table


def _row(
    path: str, label: str, *, source: str, patient: str = "", subtype: str = ""
) -> tuple[str, ...]:
    known = "normal" if label == NORMAL else subtype
    return path, label, known, patient or path, source


def _checked(rows: Sequence[tuple[str, ...]], root: Path) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("path", ignore_index=True)
    twice = table.loc[table["path"].duplicated(), "path"].tolist()
    if twice:
        raise ValueError(f"each image may be listed once; twice there are {_first(twice)}")
    for label in CLASS_NAMES:
        if not (table["label"] == label).any():
            raise FileNotFoundError(
                f"data.root must hold images of both labels, in NORMAL/ and PNEUMONIA/, below "
                f"train/, val/ and test/ or without; got none of {label} in {root}"
            )
    return table


def _check_values(table: pd.DataFrame, column: str, known: Sequence[str]) -> None:
    if column in table and not table[column].isin(known).all():
        wrong = table.loc[~table[column].isin(known), column].tolist()
        shown = ", ".join(name for name in known if name)
        raise ValueError(f"{column} of data.csv must be one of {shown}; got {_first(wrong)}")


def _first(names: Sequence[str]) -> str:
    more = len(names) - NUM_SHOWN
    return ", ".join(map(repr, names[:NUM_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
