"""ChestX-ray8/14 of the NIH Clinical Center: labels from reports, many images per patient."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from pneumo.data.base import DataSet
from pneumo.data.folder import folder_table
from pneumo.data.image import SUFFIXES
from pneumo.data.labelled import (
    COLUMNS,
    SOURCES,
    check_unpacked,
    checked,
    nih_patient,
    refuse,
    walk,
)
from pneumo.labels import NORMAL, PNEUMONIA

TABLE = "Data_Entry_2017*.csv"  # of the release; its later version is Data_Entry_2017_v2020.csv
NAME, FINDINGS = "Image Index", "Finding Labels"  # its columns that are read
NO_FINDING, FINDING = "No Finding", "Pneumonia"


@dataclass(frozen=True)
class Nih(DataSet):
    """Radiographs of ChestX-ray8/14: the release's table, or folders NORMAL/ and PNEUMONIA/."""

    # the release's own README
    note: str | None = (
        "LABELS FROM REPORTS: the labels were text-mined from the radiologists' reports; the set's "
        "authors expect more than 90 % of them to be correct."
    )
    licence: str = "free to use with attribution to the NIH Clinical Center; Wang et al., CVPR 2017"

    kind = "nih"
    title = "chest radiographs of the NIH Clinical Center"
    population = "patients of one hospital, mostly adults, PA and AP views, many images per patient"
    citation = (
        "X. Wang, Y. Peng, L. Lu, Z. Lu, M. Bagheri, R. M. Summers, ChestX-ray8: Hospital-scale "
        "Chest X-ray Database and Benchmarks on Weakly-Supervised Classification and Localization "
        "of Common Thorax Diseases, CVPR 2017, doi 10.1109/CVPR.2017.369; images provided by the "
        "NIH Clinical Center"
    )
    limits = (
        "Research only, not a medical device. Frontal chest radiographs of one hospital, mostly of "
        "adults; labels by text mining of reports, not by reading the images. Accuracy may come "
        "from how radiographs were taken and saved."
    )
    checklist: ClassVar[Mapping[str, str]] = {
        "source": "ChestX-ray8/14, Wang et al., doi 10.1109/CVPR.2017.369: chest radiographs of "
        "one hospital (NIH Clinical Center)",
        "retrospective": "retrospective: a published set",
        "eligibility": "images with the finding Pneumonia, alone or with others, and images with "
        "No Finding",
        "labels": "NORMAL (No Finding) or PNEUMONIA (Pneumonia among the findings) by text mining "
        "of the radiologists' reports, which the set's authors expect to be right in more than "
        "90 %",
    }
    owns_folder = False  # images of other findings lie beside

    @classmethod
    def open(cls, root: str) -> "Nih":
        """Returns the images in the folder ``root``.

        Raises:
            FileNotFoundError: it holds neither the release's table nor images in labelled folders.
            ValueError: it is an archive, or holds several tables.
        """
        folder = Path(root).expanduser()
        check_unpacked(folder)
        if not cls.recognises(folder):
            raise FileNotFoundError(
                f"data.root must hold Data_Entry_2017.csv and the release's images, or NORMAL/ and "
                f"PNEUMONIA/ with names such as 00001280_004.png; got {root}. Name the folder with "
                "data.root=DIR or PNEUMO_NIH"
            )
        refuse(
            [path.name for path in release_tables(folder)][1:],
            f"{root} must hold one table of the release",
            "Remove all but one",
        )
        return cls(folder)

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Returns whether a folder holds the release's table, or a name in its grammar."""
        if not place.is_dir():
            return False
        return bool(release_tables(place)) or any(map(nih_patient, walk(place, ("", *SOURCES))[0]))

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns one row per image, its patient by its name; see `DataSet.table`.

        Of the release, images with No Finding are NORMAL and those whose findings include Pneumonia
        are PNEUMONIA; images of other findings have no row. Subtypes of pneumonia are unknown.

        Raises:
            FileNotFoundError: a label has no image.
            ValueError: a name does not follow the grammar (unless ``on_unknown_name`` is "skip"),
                or table and images contradict each other.
        """
        release = release_tables(self.root)
        table = _of_release(self.root, release[0]) if release else folder_table(self.root)[0]
        is_named = table["path"].map(nih_patient) != ""
        if on_unknown_name == "error":
            refuse(
                table.loc[~is_named, "path"],
                "each image's name must be of ChestX-ray8/14, such as 00001280_004.png: patient "
                "1280, follow-up 4",
                "Rename them, leave them out with data.on_unknown_name=skip, or read labelled "
                "folders with data=folder",
            )
        return checked(table.loc[is_named, list(COLUMNS)], self.root)

    def unused(self) -> list[str]:
        """Returns the names in labelled folders that are not used, and those outside the grammar.

        Images of the release with other findings are not among them.
        """
        if release_tables(self.root):
            return []
        names, beside = walk(self.root, ("", *SOURCES))
        return [*beside, *(name for name in names if not nih_patient(name))]


def release_tables(root: Path) -> list[Path]:
    """Returns the tables of the release in a folder, sorted by name."""
    return sorted(root.glob(TABLE))


def _of_release(root: Path, path: Path) -> pd.DataFrame:
    """Returns the rows of NORMAL and PNEUMONIA; ValueError: see `Nih.table`."""
    try:
        listed = pd.read_csv(path, usecols=[NAME, FINDINGS], dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(
            f"{path} must be a table with the columns {NAME} and {FINDINGS}; {error}"
        ) from None
    findings = listed[FINDINGS].str.split("|").map(set)
    well, sick = (findings.map(lambda row, f=f: f in row) for f in (NO_FINDING, FINDING))
    files = [
        path
        for path in sorted(root.rglob("[!.]*"))  # in any folder
        if path.suffix.lower() in SUFFIXES
    ]
    place = {path.name: path.relative_to(root).as_posix() for path in files}
    names = pd.Series([path.name for path in files], dtype="str")
    refuse(names[names.duplicated()], f"each image must be below {root} once", "Remove the copies")
    listed = listed.assign(label=np.where(sick, PNEUMONIA, NORMAL))[well | sick]
    refuse(
        listed.loc[~listed[NAME].isin(place.keys()), NAME],
        f"each row of {path.name} with {NO_FINDING} or {FINDING} must have an image below {root}",
        "Unpack all parts of the release, or remove its row",
    )
    return listed.assign(
        path=listed[NAME].map(place),
        subtype=np.where(listed["label"] == NORMAL, "normal", ""),
        patient=listed[NAME].map(nih_patient),
        source="",
    )
