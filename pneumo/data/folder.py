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
from pneumo.data.base import DataSet
from pneumo.data.kermany import COLUMNS, parse_name, set_folder
from pneumo.data.labelled import NUM_SHOWN, nih_patient, normalised, one_row_a_file, shown
from pneumo.data.listing import SOURCES, check_unpacked, images_in, walk
from pneumo.labels import CLASS_NAMES, NORMAL, SUBTYPES

log = logging.getLogger(__name__)

UNKNOWN = (
    "PATIENTS UNKNOWN: each image counts as a patient of its own, so several images of one person "
    "may be in train and test, and the scores may be too good. Near-identical images are joined."
)
PARTLY_UNKNOWN = (
    "PATIENTS PARTLY UNKNOWN: {unknown:,} of {images:,} images have no patient; each counts as a "
    "patient of its own, so several images of one person may be in train and test, and the scores "
    "may be too good. Near-identical images are joined."
)
NAME_THEM = "Name the patients in a table: data.csv=FILE with the columns path, label, patient"
CSV_COLUMNS = ("path", "label", "patient", "split", "subtype")  # others are ignored


@dataclass(frozen=True)
class Folder(DataSet):
    """A user's own radiographs.

    Attributes:
        images: a row an image, with known_by; see `folder_table`.
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
        unknown = int((images["known_by"] == "").sum())
        note = None
        if unknown:
            partly = PARTLY_UNKNOWN.format(unknown=unknown, images=len(images))
            note = f"{UNKNOWN if unknown == len(images) else partly} {NAME_THEM}"
        return cls(place, note, licence, bool(unknown), images, tuple(left_out))

    @classmethod
    def at(cls, place: Path, *, cache_dir: Path) -> DataSet:
        """Returns the set in a folder; see `open`."""
        del cache_dir
        return cls.open(str(place))

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Returns whether a folder holds NORMAL/ or PNEUMONIA/, below train/ or test/ or not."""
        return set_folder(place) is not None or any((place / name).is_dir() for name in CLASS_NAMES)

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns a row an image; both arguments concern names in another set's grammar."""
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
        ValueError: a file has both labels; see one_row_a_file.
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
    Columns as of folder_table; known_by is ``table`` if the file names a patient. Names are
    `normalised`, and the number of changed ones is logged.

    Raises:
        FileNotFoundError: there is no such file, or a path in it is not a file.
        ValueError: a column is missing or there twice, a value is not one of those above, or two
            rows of one file differ; see one_row_a_file.
    """
    listed = _read_csv(path)
    listed["label"] = listed["label"].str.upper()
    for column, allowed in (("label", CLASS_NAMES), ("split", SOURCES), ("subtype", SUBTYPES)):
        valid = {*allowed, *([""] * (column != "label"))}
        wrong = listed.loc[~listed[column].isin(valid), column].tolist()
        if wrong:
            values = ", ".join(allowed)
            raise ValueError(f"{column} of data.csv must be one of {values}; got {shown(wrong)}")
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
            f"each path of data.csv must be a file below data.root={root}; not so {shown(missing)}"
        )
    return _checked(table, root, names)


def _read_csv(path: Path) -> pd.DataFrame:
    """Returns CSV_COLUMNS of a file, "" if absent, their names and values normalised."""
    if not path.is_file():
        raise FileNotFoundError(f"data.csv must be a file; there is no {path}")
    try:
        cells = pd.read_csv(path, dtype=str, keep_default_na=False, header=None).fillna("")
    except ValueError as error:
        raise ValueError(f"data.csv must be a table; {path} is broken: {error}") from None
    header = [normalised(name) for name in cells.iloc[0]]
    if not {"path", "label"} <= set(header):
        raise ValueError(
            f"data.csv must have the columns path and label; {path} has {', '.join(header)}"
        )
    if twice := [name for name in CSV_COLUMNS if header.count(name) > 1]:
        raise ValueError(
            f"data.csv must have each column once; {path} has two named {twice[0]}. Remove one"
        )
    columns = [name for name in CSV_COLUMNS if name in header]
    table = cells.iloc[1:].set_axis(header, axis=1)[columns]
    normal = table.assign(**{name: table[name].map(normalised) for name in columns[1:]})
    changed = (normal != table).sum()
    if listed := ", ".join(
        f"{number:,} values of {name}" for name, number in changed.items() if number
    ):
        log.warning(
            "data.csv: blanks and invisible characters were removed, and letters with accents "
            "unified, in %s",
            listed,
        )
    return normal.reindex(columns=list(CSV_COLUMNS), fill_value="").reset_index(drop=True)


def _checked(table: pd.DataFrame, root: Path, names: Sequence[str] | None = None) -> pd.DataFrame:
    table = table.assign(subtype=table["subtype"].mask(table["label"] == NORMAL, "normal"))
    table = one_row_a_file(table, root, names).sort_values("path", ignore_index=True)
    for label in CLASS_NAMES:
        if not (table["label"] == label).any():
            others = images_in(root / label)[1] if (root / label).is_dir() else []
            folders = [name for name in others if (root / label / name).is_dir()]
            listed = ", ".join(folders[:NUM_SHOWN])
            nested = f". Folders within {label}/ ({listed}) are not looked into: move their images"
            raise FileNotFoundError(
                f"data.root must hold images of both labels, in NORMAL/ and PNEUMONIA/, below "
                f"train/, val/ and test/ or without; got none of {label} in {root}"
                + (f"{nested} up" if folders else "")
            )
    return with_patients(table, root)


def with_patients(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Returns ``table`` with a patient in each row.

    Where it has none, a name of ChestX-ray8/14 has it; DICOM files of one PatientID are one
    patient, named by the path of the first: no PatientID is kept. Any other image is its own
    patient, named by its path.

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
    ids = [_patient_id(root / path) for path in table["path"][unknown]]
    patient_id = pd.Series(ids, index=table.index[unknown], dtype="str")
    patient_id = patient_id[patient_id != ""]
    if len(patient_id) > 1 and patient_id.nunique() == 1:
        log.warning(
            "All %d DICOM files have the same PatientID, so they count as one patient; if it is a "
            "placeholder, give each patient's files a PatientID of their own",
            len(patient_id),
        )
    first = table["path"][patient_id.index].groupby(patient_id).transform("first")
    patient = table["patient"].mask(unknown, table["path"])
    known_by = table["known_by"].copy()
    patient[first.index], known_by[first.index] = first, "PatientID"
    return table.assign(patient=patient, known_by=known_by)


def _patient_id(path: Path) -> str:
    """Returns PatientID (0010,0020) of a DICOM file; "" of others, and if it cannot be read."""
    try:
        with path.open("rb") as file:
            return normalised(str(dicom_header.tags(file, ["PatientID"]).get("PatientID") or ""))
    except Exception:  # pydicom raises many types on broken files; reading the image reports them
        return ""
