"""The contract of a data set: its table of images, and its facts for commands and reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import pandas as pd

PATIENTS_UNKNOWN = "PATIENTS UNKNOWN"  # begins the note of a set that does not name each patient
CHECKLIST_FACTS = ("source", "retrospective", "eligibility", "labels")


@dataclass(frozen=True)
class DataSet:
    """A data set. Another one is a subclass with its facts and ``table``, and a YAML that names it.

    The facts below are class attributes, so that a report, which has only a finished run, finds
    them by the run's ``kind`` (`pneumo.data.sets.class_of`).

    Attributes:
        root: folder that paths are relative to.
        note: warning at the start and the end of a run; None for none.
        licence: of the images; metrics.json, exported files and cards state it.
        near_duplicates: whether the patients of nearly identical images are joined before the
            split, for a set with unknown patients.
    """

    root: Path
    note: str | None = None
    licence: str = "not stated"
    near_duplicates: bool = False

    kind: ClassVar[str] = ""  # name of the set; a report compares runs of one kind
    title: ClassVar[str] = "chest radiographs"
    population: ClassVar[str] = ""  # patients and views; "" if not known
    ages: ClassVar[tuple[int, int] | None] = None  # youngest and oldest patient, whole years
    of_children: ClassVar[bool] = False
    generated: ClassVar[bool] = False  # drawn by a program: no score means anything medically
    published: ClassVar[bool] = False  # scores of pneumo.evaluation.published are on these images
    citation: ClassVar[str] = ""  # to be cited with weights that were trained on the images
    limits: ClassVar[str] = (  # of a network trained on the images
        "Research only, not a medical device. Frontal chest radiographs only; scores at another "
        "hospital must be measured there. Accuracy may come from how radiographs were saved."
    )
    checklist: ClassVar[Mapping[str, str]] = MappingProxyType({})  # by CHECKLIST_FACTS
    patient_keys: ClassVar[tuple[str, ...]] = ("own",)  # ways to identify patients
    owns_folder: ClassVar[bool] = True  # other images below root can only be copies or leftovers

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Returns whether a folder or file holds this set, by its layout and names."""
        del place
        return False

    @classmethod
    def open(cls, root: str) -> "DataSet":
        """Returns the set in ``root``; subclasses may take other arguments."""
        return cls(Path(root).expanduser())

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns one row per image: path, label, subtype, patient, source; see `kermany.index`.

        Args:
            patient_key: one of ``patient_keys``; sets with one way ignore it.
            on_unknown_name: "error" or "skip", for names outside the set's grammar.
        """
        raise NotImplementedError

    def unused(self) -> list[str]:
        """Returns the names in the set's folders that `table` leaves out."""
        return []

    def boxes(self) -> pd.DataFrame:
        """Returns a row per image: path, boxes (N, 4) in its pixels, width, height; see data.boxes.

        Raises:
            ValueError: the set has none.
        """
        raise ValueError(
            f"task=detection needs data with boxes around the opacities; {self.kind} has none. Use "
            "data=rsna data.root=DIR, or generated images: data=phantom"
        )
