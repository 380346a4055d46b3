"""The RSNA Pneumonia Detection Challenge: radiographs as DICOM files, boxes around opacities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pneumo.data import dicom
from pneumo.data.base import DataSet
from pneumo.data.boxes import SIDES, per_image
from pneumo.data.kermany import COLUMNS
from pneumo.data.labelled import shown
from pneumo.data.listing import check_unpacked
from pneumo.labels import NORMAL, PNEUMONIA

IMAGES = "stage_2_train_images"
LABELS = "stage_2_train_labels.csv"  # a row a box; a patient without one has a row without numbers
CLASSES = "stage_2_detailed_class_info.csv"  # a row for each of LABELS
SIDES_IN_FILE = ["x", "y", "width", "height"]  # upper left corner and size, pixels
LABEL_COLUMNS = ["patientId", *SIDES_IN_FILE, "Target"]
CLASS_COLUMNS = ["patientId", "class"]
OPACITY = "Lung Opacity"  # the class of patients with boxes
OTHERS = ("Normal", "No Lung Opacity / Not Normal")  # those of patients without


@dataclass(frozen=True)
class Rsna(DataSet):
    """The challenge's training images, whose labels are public."""

    licence: str = (
        "RSNA Pneumonia Detection Challenge, its terms of use; Shih et al., doi "
        "10.1148/ryai.2019180041"
    )

    kind = "rsna"
    owns_folder = False  # the challenge's test images, which have no labels, lie beside

    @classmethod
    def open(cls, root: str) -> "Rsna":
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
                "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge; generated images in "
                "its layout: python -m pneumo.data.phantom --layout rsna --out DIR"
            )
        return cls(folder)

    @classmethod
    def at(cls, place: Path, *, cache_dir: Path) -> DataSet:
        """Returns the set in a folder; see `open`."""
        del cache_dir
        return cls.open(str(place))

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Returns whether a folder holds the challenge's table."""
        return (place / LABELS).is_file()

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns a row an image; both arguments concern names in another set's grammar.

        Subtypes of pneumonia are unknown, and the set has no split of its own.

        Raises:
            FileNotFoundError: a table or the images are missing.
            ValueError: the tables are broken, or contradict each other or the images.
        """
        labels = read_labels(self.root).drop_duplicates("patientId").sort_values("patientId")
        label = np.where(labels["Target"] == 1, PNEUMONIA, NORMAL)
        subtype = np.where(labels["Target"] == 1, "", "normal")
        patient = labels["patientId"]
        columns = (patient.map(path_of), label, subtype, patient, "")
        table = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
        return table.reset_index(drop=True)

    def boxes(self) -> pd.DataFrame:
        """Returns a row an image: path, boxes, width, height; see pneumo.data.boxes.

        Raises:
            ValueError: a box is outside of its image, or an image's header cannot be read.
        """
        labels = read_labels(self.root)
        labels = labels.assign(path=labels["patientId"].map(path_of))
        sizes = {path: dicom.size(self.root / path, name=path) for path in labels["path"].unique()}
        file = np.array([sizes[path] for path in labels["path"]])
        corner = labels[["x", "y"]].to_numpy()
        far = corner + labels[["width", "height"]].to_numpy()
        labels[SIDES] = np.hstack([corner, far])
        outside = (corner < 0).any(1) | (far > file).any(1)
        _refuse(
            labels.loc[outside, "patientId"],
            f"each box of {LABELS} must lie within its image",
            "Correct or remove its row",
        )
        return per_image(labels.assign(width=file[:, 0], height=file[:, 1]))


def path_of(patient: str) -> str:
    """Returns the path of a patient's image below the root."""
    return f"{IMAGES}/{patient}.dcm"


def read_labels(root: Path) -> pd.DataFrame:
    """Returns LABEL_COLUMNS, a row a box, checked against CLASSES and the images.

    Patients without boxes have a row with NaN for its numbers and 0 for Target.

    Raises:
        ValueError: a rule is broken; the first patients that break it are named.
    """
    labels = _read(root / LABELS, LABEL_COLUMNS)
    classes = _read(root / CLASSES, CLASS_COLUMNS)
    try:
        labels[LABEL_COLUMNS[1:]] = labels[LABEL_COLUMNS[1:]].apply(pd.to_numeric)
    except ValueError as error:
        raise ValueError(f"{root / LABELS} must have numbers after patientId: {error}") from None
    _check_rows(labels)
    _check_classes(labels, classes)
    stored, listed = {path.stem for path in (root / IMAGES).glob("*.dcm")}, {*labels["patientId"]}
    _refuse(
        sorted(listed - stored),
        f"each patient of {LABELS} must have an image in {IMAGES}",
        "Download the images again, or remove its rows from both tables",
    )
    _refuse(
        sorted(stored - listed),
        f"each image in {IMAGES} must have a row in {LABELS}",
        "Download the table again, or remove the image",
    )
    return labels


def _check_rows(labels: pd.DataFrame) -> None:
    patient, target = labels["patientId"], labels["Target"]
    filled = labels[SIDES_IN_FILE].notna()
    flat = ~(labels[["width", "height"]] > 0).all(axis=1)
    rules = (
        (~target.isin([0, 1]), "Target must be 0 or 1"),
        (
            (filled.any(axis=1) != (target == 1)) | (filled.any(axis=1) != filled.all(axis=1)),
            "a row must have all of x, y, width and height where Target is 1, else none",
        ),
        ((target == 1) & flat, "each box must have a width and a height above 0"),
        ((target == 1) & labels.duplicated(), "each box must be listed once"),
        (
            (target == 0) & patient.duplicated(keep=False),
            "a patient has boxes (Target 1), or one row without (Target 0)",
        ),
    )
    for broken, rule in rules:
        _refuse(patient[broken], f"{LABELS}: {rule}", "Correct or remove its row")


def _check_classes(labels: pd.DataFrame, classes: pd.DataFrame) -> None:
    allowed = classes["class"].isin([OPACITY, *OTHERS])
    again = f"Download {CLASSES} again from the challenge"
    _refuse(
        classes.loc[~allowed, "patientId"],
        f"class of {CLASSES} must be one of {', '.join((OPACITY, *OTHERS))}",
        again,
    )
    pairs = classes.drop_duplicates(CLASS_COLUMNS)
    twice = pairs.loc[pairs["patientId"].duplicated(), "patientId"]
    _refuse(twice, f"a patient must have one class in {CLASSES}", again)
    opaque = pairs.set_index("patientId")["class"] == OPACITY
    target = labels.drop_duplicates("patientId").set_index("patientId")["Target"] == 1
    both = pd.DataFrame({"opaque": opaque, "target": target})
    wrong = both.isna().any(axis=1) | (both["opaque"] != both["target"])
    _refuse(
        both.index[wrong],
        f"{LABELS} and {CLASSES} must have the same patients, those of class {OPACITY} with boxes",
        "Download both again from the challenge",
    )


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, na_values=[""], keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} must be a table; it is broken: {error}") from None
    again = f"Download {path.name} again from the challenge"
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path} must have the columns {', '.join(columns)}; it lacks {missing}")
    if table.empty:
        raise ValueError(f"{path} must have rows; it has none. {again}")
    names = table["patientId"].fillna("")
    bad = names[~names.str.fullmatch(r"[\w.-]+")]
    _refuse(bad, f"patientId of {path.name} must be the name of an image", again)
    return table[list(columns)]


def _refuse(patients: "pd.Series[str] | pd.Index[str] | list[str]", rule: str, way: str) -> None:
    """Raises ValueError with a rule and the first of the patients that break it, if any."""
    names = list(dict.fromkeys(patients))
    if names:
        raise ValueError(f"{rule}; not so: {shown(names)}. {way}")
