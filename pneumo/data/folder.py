"""A user's own radiographs: folders NORMAL/ and PNEUMONIA/, or a table of paths and labels."""

import logging
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from pneumo import untrusted
from pneumo.data import dicom_header
from pneumo.data.base import PATIENTS_UNKNOWN, DataSet
from pneumo.data.kermany import parse_name, set_folder
from pneumo.data.labelled import (
    COLUMNS,
    SOURCES,
    check_unpacked,
    checked,
    nih_patient,
    normalised,
    refuse,
    shown,
    walk,
)
from pneumo.labels import CLASS_NAMES, NORMAL, SUBTYPES

log = logging.getLogger(__name__)

UNKNOWN = (
    PATIENTS_UNKNOWN + ": {unknown:,} of {images:,} images have no patient; each counts as a "
    "patient of its own, so several images of one person may be in train and test, and the scores "
    "may be too high. Near-identical images are joined."
)
NAME_THEM = "Name the patients in a table: data.csv=FILE with the columns path, label, patient"
CSV_COLUMNS = ("path", "label", "patient", "split", "subtype")  # others are ignored


@dataclass(frozen=True)
class Folder(DataSet):
    """A user's own radiographs.

    Attributes:
        images: one row per image, with known_by; see `folder_table`.
        left_out: names in its folders that are not used.
    """

    images: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False)
    left_out: tuple[str, ...] = ()

    kind = "folder"

    @classmethod
    def open(cls, root: str, csv: str | None = None, licence: str = "not stated") -> "Folder":
        """Returns the images below ``root``, or those that ``csv`` lists, relative to ``root``.

        Raises:
            FileNotFoundError, ValueError: see folder_table and csv_table.
        """
        place = Path(root).expanduser()
        check_unpacked(place)
        left_out: list[str] = []
        if csv is None:
            images, left_out = folder_table(place)
        else:
            images = csv_table(Path(csv).expanduser(), place)
        unknown, note = int((images["known_by"] == "").sum()), None
        if unknown:
            note = f"{UNKNOWN.format(unknown=unknown, images=len(images))} {NAME_THEM}"
        return cls(place, note, licence, bool(unknown), images, tuple(left_out))

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Returns whether a folder holds NORMAL/ or PNEUMONIA/, below train/ or test/ or not."""
        return set_folder(place) is not None or any((place / name).is_dir() for name in CLASS_NAMES)

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns one row per image; both arguments concern names in another set's grammar."""
        return self.images[list(COLUMNS)]

    def unused(self) -> list[str]:
        """Returns the names in its folders that are not used."""
        return list(self.left_out)


def folder_table(root: Path, *, patient_key: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Returns the table of the images below ``root``, and the names that are not used.

    ``root`` holds NORMAL/ and PNEUMONIA/, or train/, val/ and test/ with them. Columns as of
    `kermany.index`, and known_by: ``name``, ``PatientID`` or "" for an image whose patient is
    unknown, which is its own patient. subtype is empty for PNEUMONIA, source is train, val, test,
    or empty.

    Args:
        root: the folder.
        patient_key: of `kermany.parse_name`, by which file names in that set's grammar give
            patient and subtype; the name of ``root`` then counts as source. None: not parsed.

    Raises:
        FileNotFoundError: there is no such folder, or no image of a label.
        ValueError: a file has both labels; see `checked`.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root must be a folder; there is no folder {root}")
    names, left_out = walk(root, ("", *SOURCES))
    above = root.resolve().name if patient_key and root.resolve().name in SOURCES else ""
    rows = []
    for path in names:
        *source, label, file = path.split("/")
        part = source[0] if source else above
        parsed = None
        if patient_key:
            parsed = parse_name(f"{part or 'test'}/{label}/{file}", patient_key=patient_key)
        subtype, patient = parsed[2:4] if parsed else ("", "")
        rows.append((path, label, subtype, patient, part, "name" if parsed else ""))
    table = pd.DataFrame(rows, columns=[*COLUMNS, "known_by"], dtype="str")
    return _checked(table, root), left_out


def csv_table(path: Path, root: Path) -> pd.DataFrame:
    """Returns the table that a CSV file lists: path (relative to ``root``) and label.

    Optional columns: patient, split (train, val, test) and subtype (normal, bacteria, virus).
    Columns as of folder_table; known_by is ``table`` if the file names a patient. Names and values
    but paths are `normalised`.

    Raises:
        FileNotFoundError: there is no such file, or a path in it is not a file.
        ValueError: a column is missing, a value is not one of those above, or two rows of one file
            differ; see `checked`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"data.csv must be a file; there is no {path}")
    try:
        listed = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
        listed = listed.rename(columns=normalised)
    except ValueError as error:
        raise ValueError(
            f"data.csv must be a table; {path} is broken: {str(error).strip()}"
        ) from None
    if not {"path", "label"} <= set(listed):
        raise ValueError(
            f"data.csv must have the columns path and label; {path} has {', '.join(listed.columns)}"
        )
    listed = listed.reindex(columns=list(CSV_COLUMNS), fill_value="").fillna("")
    for column in CSV_COLUMNS[1:]:
        listed[column] = listed[column].map(normalised)
    listed["label"] = listed["label"].str.upper()
    for column, allowed in (("label", CLASS_NAMES), ("split", SOURCES), ("subtype", SUBTYPES)):
        valid = {*allowed, *([""] * (column != "label"))}
        wrong = listed.loc[~listed[column].isin(valid), column].tolist()
        if wrong:
            values = ", ".join(allowed)
            raise ValueError(f"{column} of data.csv must be one of {values}; got {shown(wrong)}")
    is_contrary = (listed["label"] == NORMAL) != (listed["subtype"] == "normal")
    refuse(
        listed.loc[is_contrary & (listed["subtype"] != ""), "path"],
        "subtype of data.csv must be normal if the label is NORMAL, and bacteria or virus if not",
        "Correct its label or its subtype",
    )
    # the first row is the header's, as a spreadsheet counts
    names = [f"row {number}: {name}" for number, name in enumerate(listed["path"], start=2)]
    table = listed.rename(columns={"split": "source"})[list(COLUMNS)]
    table["path"] = table["path"].map(posixpath.normpath)
    table["known_by"] = np.where(table["patient"] != "", "table", "")
    missing = [
        name for name in table["path"] if untrusted.leads_out(name) or not (root / name).is_file()
    ]
    if missing:
        raise FileNotFoundError(
            f"each path of data.csv must be a file below data.root={root}; missing: "
            f"{shown(missing)}"
        )
    return _checked(table, root, names)


def _checked(table: pd.DataFrame, root: Path, names: Sequence[str] | None = None) -> pd.DataFrame:
    table = table.assign(subtype=table["subtype"].mask(table["label"] == NORMAL, "normal"))
    return with_patients(checked(table, root, names), root)


def with_patients(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Returns ``table`` with a patient in each row.

    Where it has none, a name of ChestX-ray8/14 has it; DICOM files of one PatientID are one
    patient, that of a row with this PatientID and a patient, or else named by the path of the
    first: no PatientID is kept. Any other image is its own patient, named by its path.

    Args:
        table: path, patient ("" if unknown) and known_by, which becomes ``name`` or ``PatientID``.
        root: the folder of the images.
    """
    unknown = table["patient"] == ""
    by_name = table["path"].map(nih_patient).where(unknown, "")
    table = table.assign(
        patient=table["patient"].mask(unknown, by_name),
        known_by=table["known_by"].mask(by_name != "", "name"),
    )
    unknown = table["patient"] == ""
    paths = table["path"] if unknown.any() else table["path"].head(0)
    patient_id = paths.map(lambda path: _patient_id(root / path)).astype("str")
    patient_id = patient_id[patient_id != ""]
    named = table["patient"][patient_id.index][~unknown].groupby(patient_id).nunique()
    patient_id = patient_id[~patient_id.isin(named.index[named > 1])]  # a placeholder
    if len(patient_id) > 1 and patient_id.nunique() == 1:
        log.warning(
            "All %d DICOM files have the same PatientID, so they count as one patient; if it is a "
            "placeholder, give each patient's files a PatientID of their own",
            len(patient_id),
        )
    patient = table["patient"].mask(unknown, table["path"])
    named_first = unknown[patient_id.index].sort_values(kind="stable").index
    first = patient[named_first].groupby(patient_id).transform("first")[unknown]
    known_by = table["known_by"].copy()
    patient[first.index] = first
    known_by[first.index] = "PatientID"
    return table.assign(patient=patient, known_by=known_by)


def _patient_id(path: Path) -> str:
    """Returns PatientID (0010,0020) of a DICOM file; "" of others, and if it cannot be read."""
    try:
        with path.open("rb") as file:
            return normalised(str(dicom_header.tags(file, ["PatientID"]).get("PatientID") or ""))
    except Exception:  # pydicom raises many types on broken files; reading the image reports them
        return ""
