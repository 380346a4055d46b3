"""The DICOM header of a radiograph: identifiers, age, and whether it is a frontal chest image."""

import io
import re
import warnings
from collections.abc import MutableSequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pneumo.data.dicom import DEFLATED, HEADER_BYTES, MODALITIES, is_dicom

IDS = ("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber")
DATES = ("StudyDate", "AcquisitionDate", "ContentDate")
TAGS = [
    *(*IDS, *DATES, "PatientAge", "PatientBirthDate", "Modality"),
    *("ViewPosition", "ViewCodeSequence", "PatientOrientation"),
    *("BodyPartExamined", "AnatomicRegionSequence"),
]
PER_YEAR = {"Y": 1, "M": 12, "W": 52, "D": 365, "": 1}  # of an age (PS3.5, 6.2); "" is RSNA's
# Words of ViewPosition (PS3.3, C.8.1.1 and C.8.11.5) and of a view code's meaning
VIEWS = {
    "decubitus": {"LLD", "RLD", "DECUBITUS"},
    "oblique": {"LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBLIQUE"},
    "lateral": {"LL", "RL", "LAT", "LLAT", "RLAT", "LATERAL"},
}
# Within the names of the chest in several languages, CHESTABDOMEN and "Thoracic structure" too
CHEST = ("CHEST", "THORA", "TORA", "LUNG", "PULM", "POUMON", "POITRINE")
SPINE = ("SPINE", "VERTEBRA", "LUMBAR")  # of the thorax: no chest radiograph
UNKNOWN = ("", "UNKNOWN", "UNSPECIFIED", "OTHER", "NONE", "NA")
MAX_SHOWN = 40  # characters of a value in a reason


@dataclass(frozen=True)
class Header:
    """The tags of an image; an empty string or None stands for a missing one."""

    ids: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(IDS))
    age: int | None = None  # whole years
    modality: str = ""
    body_part: str = ""
    view: str = ""

    @property
    def odd(self) -> list[str]:
        """Why the image is not a frontal chest radiograph; empty tags give no reason."""
        modality, part = self.modality.upper(), self.body_part.upper()
        is_chest = any(n in part for n in CHEST) and not any(n in part for n in SPINE)
        is_known = re.sub("[^A-Z]", "", part) not in UNKNOWN
        words = set(re.findall("[A-Z]+", self.view.upper()))
        view = next((kind for kind, terms in VIEWS.items() if terms & words), "")
        reasons = {
            f"modality: {_short(self.modality)}, expected a radiograph": (
                modality not in ("", *MODALITIES)
            ),
            f"body part: {_short(self.body_part)}, expected the chest": is_known and not is_chest,
            f"{view} view: {_short(self.view)}": bool(view),
        }
        return [reason for reason, holds in reasons.items() if holds]


def read(data: bytes) -> Header:
    """Returns the header of a DICOM file's bytes; an empty one if it cannot be read."""
    try:
        dataset = tags(io.BytesIO(data), TAGS)
        return Header(
            {name: _text(dataset, name) or None for name in IDS},
            _age(dataset),
            _text(dataset, "Modality"),
            _text(dataset, "BodyPartExamined") or _meaning(dataset, "AnatomicRegionSequence"),
            _view(dataset),
        )
    except Exception:  # pydicom raises many types on broken files; decoding reports them
        return Header()


def tags(file: BinaryIO, names: list[str]) -> Any:
    """Returns a pydicom Dataset with these tags of a file; {} if it is deflated or not DICOM."""
    start = file.read(HEADER_BYTES)
    file.seek(0)
    if not is_dicom(start) or DEFLATED in start:  # a deflated file would be inflated whole
        return {}
    import pydicom  # late: an extra

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break the standard's form only
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=names, force=True)


def _age(dataset: Any) -> int | None:
    """Returns whole years by PatientAge, else by the dates of birth and study."""
    match = re.fullmatch(r"(\d{1,4}) ?([DWMY]?)", _text(dataset, "PatientAge").upper())
    if match:
        return int(match[1]) // PER_YEAR[match[2]]
    dates = [_text(dataset, tag) for tag in ("PatientBirthDate", *DATES)]
    birth, *later = [date if re.fullmatch(r"\d{8}", date) else "" for date in dates]
    seen = next((date for date in later if date), "")
    return (int(seen) - int(birth)) // 10_000 if birth and seen >= birth else None


def _view(dataset: Any) -> str:
    """Returns ViewPosition, else the view code's meaning, else lateral by PatientOrientation."""
    view = _text(dataset, "ViewPosition") or _meaning(dataset, "ViewCodeSequence")
    # the directions of rows and columns, such as L\F; A or P leads only in a lateral view
    orientation = _text(dataset, "PatientOrientation").upper()
    lateral = re.fullmatch(r"([AP]\w*\\[HF]\w*)|([HF]\w*\\[AP]\w*)", orientation)
    return view or (f"LATERAL by PatientOrientation {orientation}" if lateral else "")


def _meaning(dataset: Any, sequence: str) -> str:
    items = dataset.get(sequence) or []
    return ", ".join(filter(None, (_text(item, "CodeMeaning") for item in items)))


def _text(dataset: Any, tag: str) -> str:
    """Returns a tag as one line, several values joined by a backslash as in the file."""
    value = dataset.get(tag)
    values = value if isinstance(value, MutableSequence) else [value]
    text = "\\".join("" if each is None else str(each).strip() for each in values).strip("\\")
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
