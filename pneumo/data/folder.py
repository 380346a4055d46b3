"""Radiographs of one's own: folders NORMAL/ and PNEUMONIA/, or a table of paths and labels."""

import logging
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from pneumo import untrusted
from pneumo.data.kermany import COLUMNS, SOURCES, beside, images_in, parse_name
from pneumo.data.labelled import normalised, one_row_a_file, shown
from pneumo.data.patient_id import with_patients
from pneumo.labels import CLASS_NAMES, NORMAL, SUBTYPES

log = logging.getLogger(__name__)

NUM_SHOWN = 3  # names in a message
# the nested copy and a Mac's folder of the published set among them
NOT_LEFT_OUT = (*CLASS_NAMES, *SOURCES, "chest_xray", "__MACOSX")
OWN_COLUMNS = ("path", "label", "patient", "split", "subtype")  # of a table; others are not read


def folder_table(root: Path, *, patient_key: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Returns the table of the images below ``root``, and what was left out.

    ``root`` holds NORMAL/ and PNEUMONIA/, or train/, val/ and test/ with them. Columns as of
    `kermany.index`, and known_by: ``name``, ``PatientID`` or "" for an image whose patient is
    unknown, which is its own patient. subtype is empty for PNEUMONIA, source is train, val, test,
    or empty.

    Args:
        root: the folder.
        patient_key: of `kermany.parse_name`, where names of that set name a patient and subtype;
            the name of ``root`` then counts as source. None: names say nothing.

    Raises:
        FileNotFoundError: there is no such folder, or no image of a label.
        ValueError: a file has both labels; see one_row_a_file.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root must be a folder; there is no folder {root}")
    rows, left_out = [], beside(root, known=NOT_LEFT_OUT)
    is_source = patient_key is not None and root.resolve().name in SOURCES
    for source in ("", *SOURCES):
        if source and (root / source).is_dir():
            others = beside(root / source, known=CLASS_NAMES)
            left_out += [f"{source}/{name}" for name in others]
        for label in CLASS_NAMES:
            place = f"{source}/{label}".lstrip("/")
            if (root / place).is_dir():
                images, others = images_in(root / place)
                part = source or (root.resolve().name if is_source else "")
                names = [f"{place}/{name}" for name in images]
                rows += [_named_row(name, label, part, patient_key) for name in names]
                left_out += [f"{place}/{name}" for name in others]
    return _checked(rows, root), left_out


def csv_table(path: Path, root: Path) -> pd.DataFrame:
    """Returns the table that a CSV file lists: path (relative to ``root``) and label.

    Where it has them, also patient, split (train, val, test) and subtype (normal, bacteria, virus).
    Columns as of folder_table; known_by is ``table`` where the file names a patient. Names are
    `normalised`, and it is logged how many that changes.

    Raises:
        FileNotFoundError: there is no such file, or a path of it is no file.
        ValueError: a column is missing or there twice, a value is not one of those above, or two
            rows of one file differ; see one_row_a_file.
    """
    listed = _read_csv(path)
    listed["label"] = listed["label"].str.upper()
    _check_values(listed, "label", CLASS_NAMES)
    _check_values(listed, "split", (*SOURCES, ""))
    _check_values(listed, "subtype", (*SUBTYPES, ""))
    rows = [
        _row(
            posixpath.normpath(row["path"]),
            row["label"],
            source=row.get("split", ""),
            patient=row.get("patient", ""),
            subtype=row.get("subtype", ""),
            known_by="table",
        )
        for row in listed.to_dict("records")
    ]
    gone = [row[0] for row in rows if untrusted.leads_out(row[0]) or not (root / row[0]).is_file()]
    if gone:
        raise FileNotFoundError(
            f"each path of data.csv must be a file below data.root={root}; not so {shown(gone)}"
        )
    # the first row is the header's, as a spreadsheet counts
    names = [f"row {number}: {name}" for number, name in enumerate(listed["path"], start=2)]
    return _checked(rows, root, names)


def _read_csv(path: Path) -> pd.DataFrame:
    """Returns those of OWN_COLUMNS that a CSV file has, their names and values normalised."""
    if not path.is_file():
        raise FileNotFoundError(f"data.csv must be a file; there is no {path}")
    try:
        cells = pd.read_csv(path, dtype=str, keep_default_na=False, header=None).fillna("")
    except ValueError as error:
        raise ValueError(f"data.csv must be a table; {path} is broken: {error}") from None
    header = [normalised(name) for name in cells.iloc[0]]
    _check_header(header, path)
    columns = [name for name in OWN_COLUMNS if name in header]
    table = cells.iloc[1:].set_axis(header, axis=1)[columns]
    normal = table.assign(**{name: table[name].map(normalised) for name in columns[1:]})
    _log_changed(
        {"column names": sum(a != b for a, b in zip(header, cells.iloc[0], strict=True))}
        | {f"values of {name}": int((normal[name] != table[name]).sum()) for name in columns}
    )
    return normal


def _check_header(header: Sequence[str], path: Path) -> None:
    if not {"path", "label"} <= set(header):
        raise ValueError(
            f"data.csv must have the columns path and label; {path} has {', '.join(header)}"
        )
    twice = [name for name in OWN_COLUMNS if header.count(name) > 1]
    if twice:
        raise ValueError(
            f"data.csv must have each column once; {path} has two named {twice[0]}. Remove one"
        )


def _log_changed(changed: Mapping[str, int]) -> None:
    counts = ", ".join(f"{number:,} {name}" for name, number in changed.items() if number)
    if counts:
        log.warning(
            "data.csv: blanks and invisible characters were removed, and letters with accents "
            "unified, in %s",
            counts,
        )


def _row(
    path: str, label: str, *, source: str, patient: str = "", subtype: str = "", known_by: str = ""
) -> tuple[str, ...]:
    known = "normal" if label == NORMAL else subtype
    return path, label, known, patient, source, known_by if patient else ""


def _named_row(path: str, label: str, source: str, patient_key: str | None) -> tuple[str, ...]:
    """The row of a file in a folder; with a key, with the patient that its name says."""
    parsed = None
    if patient_key is not None:
        name = f"{source or 'test'}/{label}/{path.rpartition('/')[2]}"
        parsed = parse_name(name, patient_key=patient_key)
    if parsed is None:
        return _row(path, label, source=source)
    return _row(path, label, source=source, patient=parsed[3], subtype=parsed[2], known_by="name")


def _checked(
    rows: Sequence[tuple[str, ...]], root: Path, names: Sequence[str] | None = None
) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[*COLUMNS, "known_by"], dtype="str")
    table = one_row_a_file(table, root, names).sort_values("path", ignore_index=True)
    for label in CLASS_NAMES:
        if not (table["label"] == label).any():
            raise FileNotFoundError(
                f"data.root must hold images of both labels, in NORMAL/ and PNEUMONIA/, below "
                f"train/, val/ and test/ or without; got none of {label} in {root}"
                f"{_folders_within(root, label)}"
            )
    return with_patients(table, root)


def _folders_within(root: Path, label: str) -> str:
    """What to say of a label without an image whose folder holds folders; "" where none."""
    others = images_in(root / label)[1] if (root / label).is_dir() else []
    folders = [name for name in others if (root / label / name).is_dir()]
    if not folders:
        return ""
    return (
        f". Folders within {label}/ ({', '.join(folders[:NUM_SHOWN])}"
        f"{', …' * (len(folders) > NUM_SHOWN)}) are not looked into: move their images up"
    )


def _check_values(table: pd.DataFrame, column: str, known: Sequence[str]) -> None:
    if column in table and not table[column].isin(known).all():
        wrong = table.loc[~table[column].isin(known), column].tolist()
        values = ", ".join(name for name in known if name)
        raise ValueError(f"{column} of data.csv must be one of {values}; got {shown(wrong)}")
