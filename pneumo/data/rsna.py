"""The RSNA Pneumonia Detection Challenge: radiographs as DICOM files, boxes around opacities."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pneumo.data import dicom_header
from pneumo.data.base import DataSet
from pneumo.data.boxes import SIDES, per_image
from pneumo.data.labelled import COLUMNS, check_unpacked, refuse
from pneumo.labels import NORMAL, PNEUMONIA

IMAGES = "stage_2_train_images"
LABELS = "stage_2_train_labels.csv"  # a row per box; without one, a row without numbers
SIDES_IN_FILE = ["x", "y", "width", "height"]  # upper left corner and size, pixels
LABEL_COLUMNS = ["patientId", *SIDES_IN_FILE, "Target"]


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
            FileNotFoundError: it lacks the table or the images.
            ValueError: it is an archive.
        """
        folder = Path(root).expanduser()
        check_unpacked(folder)
        missing = [name for name in (LABELS, IMAGES) if not (folder / name).exists()]
        if missing:
            raise FileNotFoundError(
                f"data.root must hold {LABELS} and the folder {IMAGES}; {root} lacks "
                f"{', '.join(missing)}. The set is at "
                "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge; generated images in "
                "its layout: python -m pneumo.data.phantom --layout rsna --out DIR"
            )
        return cls(folder)

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Returns whether a folder holds the challenge's table."""
        return (place / LABELS).is_file()

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns one row per image; both arguments concern names in another set's grammar.

        Subtypes of pneumonia are unknown, and the set has no split of its own.

        Raises:
            ValueError: the table is broken or contradicts the images.
        """
        labels = read_labels(self.root).drop_duplicates("patientId")
        table = labels.rename(columns={"patientId": "patient"}).assign(
            path=labels["patientId"].map(path_of),
            label=np.where(labels["Target"] == 1, PNEUMONIA, NORMAL),
            subtype=np.where(labels["Target"] == 1, "", "normal"),
            source="",
        )
        return table[list(COLUMNS)].sort_values("patient", ignore_index=True)

    def boxes(self) -> pd.DataFrame:
        """Returns one row per image: path, boxes, width, height; see pneumo.data.boxes.

        Raises:
            ValueError: a box is outside of its image.
        """
        labels = read_labels(self.root)
        labels = labels.assign(path=labels["patientId"].map(path_of))
        sizes = {path: _size(self.root / path) for path in labels["path"].unique()}
        file = np.array([sizes[path] for path in labels["path"]])
        corner = labels[["x", "y"]].to_numpy()
        far = corner + labels[["width", "height"]].to_numpy()
        labels[SIDES] = np.hstack([corner, far])
        outside = (corner < 0).any(1) | (far > file).any(1)
        refuse(
            labels.loc[outside, "patientId"],
            f"each box of {LABELS} must lie within its image",
            "Correct or remove its row",
        )
        return per_image(labels.assign(width=file[:, 0], height=file[:, 1]))


def _size(path: Path) -> tuple[int, int]:
    """Returns width and height in pixels by the header of a DICOM file."""
    with path.open("rb") as file:
        header = dicom_header.tags(file, ["Rows", "Columns"])
    return int(header.Columns), int(header.Rows)


def path_of(patient: str) -> str:
    """Returns the path of a patient's image below the root."""
    return f"{IMAGES}/{patient}.dcm"


def read_labels(root: Path) -> pd.DataFrame:
    """Returns LABEL_COLUMNS, one row per box, checked against the images.

    Patients without boxes have a row with NaN for its numbers and 0 for Target.

    Raises:
        ValueError: a rule is broken; the first patients that break it are named.
    """
    path = root / LABELS
    try:
        labels = pd.read_csv(path, dtype={"patientId": str})[LABEL_COLUMNS]
        labels = labels.astype(dict.fromkeys(LABEL_COLUMNS[1:], np.float64))
    except (ValueError, KeyError) as error:
        columns = ", ".join(LABEL_COLUMNS)
        raise ValueError(
            f"{path} must be a table of {columns}, all but the first of numbers; {error}"
        ) from None
    patient, target = labels["patientId"].fillna(""), labels["Target"]
    filled = labels[SIDES_IN_FILE].notna().sum(axis=1)
    flat = ~(labels[["width", "height"]] > 0).all(axis=1)
    has_boxes = target == 1
    stored = pd.Series(sorted(path.stem for path in (root / IMAGES).glob("*.dcm")))
    row, again = "Correct or remove its row", "Download it again, or remove the image or its rows"
    for broken, rule, way in (
        (patient[~target.isin([0, 1])], f"{LABELS}: Target must be 0 or 1", row),
        (
            patient[filled != 4 * has_boxes],
            f"{LABELS}: a row must have all of x, y, width and height where Target is 1, else none",
            row,
        ),
        (patient[has_boxes & flat], f"{LABELS}: a box must have a width and height above 0", row),
        (patient[has_boxes & labels.duplicated()], f"{LABELS}: a box must be listed once", row),
        (
            patient[~has_boxes & patient.duplicated(keep=False)],
            f"{LABELS}: a patient has boxes (Target 1), or one row without (Target 0)",
            row,
        ),
        (patient[~patient.isin(stored)], f"each row of {LABELS} must have an image", again),
        (stored[~stored.isin(patient)], f"each image must have a row in {LABELS}", again),
    ):
        refuse(broken, rule, way)
    return labels
