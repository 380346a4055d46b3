"""The RSNA Pneumonia Detection Challenge: radiographs as DICOM files, boxes around opacities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pneumo.data import dicom
from pneumo.data.base import DataSet
from pneumo.data.boxes import SIDES, per_image
from pneumo.data.kermany import COLUMNS, check_unpacked
from pneumo.labels import NORMAL, PNEUMONIA

IMAGES = "stage_2_train_images"
LABELS = "stage_2_train_labels.csv"  # a row a box; a patient without one has a row without numbers
CLASSES = "stage_2_detailed_class_info.csv"  # a row for each of LABELS
SIDES_IN_FILE = ["x", "y", "width", "height"]  # upper left corner and size, pixels
LABEL_COLUMNS = ["patientId", *SIDES_IN_FILE, "Target"]
CLASS_COLUMNS = ["patientId", "class"]
OPACITY = "Lung Opacity"  # the class of patients with boxes
OTHERS = ("Normal", "No Lung Opacity / Not Normal")  # those of patients without
NUM_SHOWN = 3  # patients in a message
LICENCE = (
    "RSNA Pneumonia Detection Challenge, its terms of use; Shih et al., doi 10.1148/ryai.2019180041"
)


@dataclass(frozen=True)
class Rsna(DataSet):
    """The challenge's training images, whose labels are public."""

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns a row an image; both arguments are of names in another set's grammar.

        Subtypes of pneumonia are not known, and the set has no split of its own.

        Raises:
            FileNotFoundError: a table or the images are missing.
            ValueError: the tables are broken, at odds with each other or with the images.
        """
        labels = read_labels(self.root).drop_duplicates("patientId").sort_values("patientId")
        label = np.where(labels["Target"] == 1, PNEUMONIA, NORMAL)
        subtype = np.where(labels["Target"] == 1, "", "normal")
        patient = labels["patientId"]
        columns = (patient.map(path_of), label, subtype, patient, "")
        found = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
        return found.reset_index(drop=True)

    def boxes(self) -> pd.DataFrame:
        """Returns a row an image: path, boxes, width, height; see pneumo.data.boxes.

        Raises:
            ValueError: a box is outside of its image, or an image's header cannot be read.
        """
        labels = read_labels(self.root)
        sizes = {patient: self._size(patient) for patient in labels["patientId"].unique()}
        labels = labels.assign(path=labels["patientId"].map(path_of))
        file = pd.DataFrame(labels["patientId"].map(sizes).tolist(), columns=["across", "down"])
        corner = labels[["x", "y"]].to_numpy()
        far = corner + labels[["width", "height"]].to_numpy()
        labels[SIDES] = np.hstack([corner, far])
        outside = (corner < 0).any(1) | (far > file.to_numpy()).any(1)
        _refuse(
            labels.loc[outside, "patientId"],
            f"each box of {LABELS} must lie within its image",
            "Correct or remove its row",
        )
        return per_image(labels.assign(width=file["across"], height=file["down"]))

    def _size(self, patient: str) -> tuple[int, int]:
        path = self.root / path_of(patient)
        return dicom.size(path, name=path_of(patient))


def rsna(root: str) -> Rsna:
    """Returns the challenge's images and boxes in the folder ``root``.

    Raises:
        FileNotFoundError: it lacks the tables or the images.
        ValueError: it is an archive.
    """
    folder = Path(root).expanduser()
    check_unpacked(folder)
    missing = [name for name in (LABELS, CLASSES, IMAGES) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"data.root must hold {LABELS}, {CLASSES} and the folder {IMAGES}; {root} lacks "
            f"{', '.join(missing)}. The set is at "
            "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge; generated images in its "
            "layout: python -m pneumo.data.phantom --layout rsna --out DIR"
        )
    return Rsna(folder, "rsna", licence=LICENCE)


def path_of(patient: str) -> str:
    """Returns the path of a patient's image below the root."""
    return f"{IMAGES}/{patient}.dcm"


def read_labels(root: Path) -> pd.DataFrame:
    """Returns LABEL_COLUMNS, a row a box, checked against CLASSES and the images.

    Of patients without boxes, a row with NaN for its numbers and 0 for Target.

    Raises:
        ValueError: a rule is broken; the first patients that do are named.
    """
    labels = _read(root / LABELS, LABEL_COLUMNS)
    classes = _read(root / CLASSES, CLASS_COLUMNS)
    try:
        labels[LABEL_COLUMNS[1:]] = labels[LABEL_COLUMNS[1:]].apply(pd.to_numeric)
    except ValueError as error:
        raise ValueError(f"{root / LABELS} must have numbers after patientId: {error}") from None
    _check_rows(labels, root)
    _check_classes(labels, classes)
    _check_images(labels, root)
    return labels


def _check_rows(labels: pd.DataFrame, root: Path) -> None:
    patient, target = labels["patientId"], labels["Target"]
    given = labels[SIDES_IN_FILE].notna()
    _refuse(
        patient[~target.isin([0, 1])],
        f"Target of {LABELS} must be 0 or 1",
        f"Take {LABELS} anew from the challenge",
    )
    _refuse(
        patient[(given.any(axis=1) != (target == 1)) | (given.any(axis=1) != given.all(axis=1))],
        f"a row of {LABELS} must have all of x, y, width and height where Target is 1, else none",
        f"Take {LABELS} anew from the challenge",
    )
    without_area = (target == 1) & ~(labels[["width", "height"]] > 0).all(axis=1)
    _refuse(
        patient[without_area],
        f"each box of {LABELS} must have a width and a height above 0",
        "Correct or remove its row",
    )
    _refuse(
        patient[(target == 1) & labels.duplicated()],
        f"each box of {LABELS} must be listed once",
        "Remove the other row",
    )
    several = (target == 0) & patient.duplicated(keep=False)
    _refuse(
        patient[several],
        f"a patient of {LABELS} has boxes (Target 1), or one row without (Target 0)",
        "Remove one of its rows",
    )


def _check_classes(labels: pd.DataFrame, classes: pd.DataFrame) -> None:
    known = classes["class"].isin([OPACITY, *OTHERS])
    _refuse(
        classes.loc[~known, "patientId"],
        f"class of {CLASSES} must be one of {', '.join((OPACITY, *OTHERS))}",
        f"Take {CLASSES} anew from the challenge",
    )
    one = classes.drop_duplicates(CLASS_COLUMNS)
    _refuse(
        one.loc[one["patientId"].duplicated(), "patientId"],
        f"a patient must have one class in {CLASSES}",
        f"Take {CLASSES} anew from the challenge",
    )
    opaque = one.set_index("patientId")["class"] == OPACITY
    target = labels.drop_duplicates("patientId").set_index("patientId")["Target"] == 1
    both = pd.DataFrame({"opaque": opaque, "target": target})
    wrong = both.isna().any(axis=1) | (both["opaque"] != both["target"])
    _refuse(
        both.index[wrong],
        f"{LABELS} and {CLASSES} must have the same patients, those of class {OPACITY} with boxes",
        "Take both anew from the challenge",
    )


def _check_images(labels: pd.DataFrame, root: Path) -> None:
    there = {path.stem for path in (root / IMAGES).glob("*.dcm")}
    listed = set(labels["patientId"])
    _refuse(
        sorted(listed - there),
        f"each patient of {LABELS} must have an image in {IMAGES}",
        "Take the images anew, or remove its rows from both tables",
    )
    _refuse(
        sorted(there - listed),
        f"each image in {IMAGES} must have a row in {LABELS}",
        "Take the table anew, or remove the image",
    )


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, na_values=[""], keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} must be a table; it is broken: {error}") from None
    if missing := [name for name in columns if name not in table]:
        raise ValueError(
            f"{path} must have the columns {', '.join(columns)}; it lacks {missing[0]}"
        )
    if table.empty:
        raise ValueError(
            f"{path} must have rows; it has none. Take the table anew from the challenge"
        )
    names = table["patientId"].fillna("")
    _refuse(
        names[~names.str.fullmatch(r"[\w.-]+")],
        f"patientId of {path.name} must be the name of an image",
        "Take the table anew from the challenge",
    )
    return table[list(columns)]


def _refuse(patients: "pd.Series[str] | pd.Index[str] | list[str]", rule: str, way: str) -> None:
    """Raises ValueError with a rule and the first of the patients that break it, if any does."""
    names = list(dict.fromkeys(patients))
    if names:
        more = len(names) - NUM_SHOWN
        shown = ", ".join(names[:NUM_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        raise ValueError(f"{rule}; not so: {shown}. {way}")
