"""The chest X-rays of Kermany et al. (2018): patients and subtypes by the names of the files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from pneumo.data.base import DataSet
from pneumo.data.labelled import (
    COLUMNS,
    SOURCES,
    check_unpacked,
    checked,
    shown,
    walk,
)
from pneumo.labels import CLASS_NAMES, NORMAL, SUBTYPES

PATIENT_KEYS = ("person", "split_person", "series")

# The grammar of the names: Kaggle's and Mendeley version 2's first, version 3's last (facts.md)
PERSON = re.compile(r"person(?P<number>\d+)_(?P<subtype>bacteria|virus)_\d+(_\d+)?")
SERIES = re.compile(r"(?P<series>IM|NORMAL2-IM)-(?P<number>\d+)-\d+(-\d+)?")
VERSION_3 = re.compile(r"(?P<subtype>BACTERIA|NORMAL|VIRUS)-(?P<number>\d+)-\d+")


@dataclass(frozen=True)
class KermanyLayout(DataSet):
    """Images in the folders and by the names of Kermany et al."""

    patient_keys = PATIENT_KEYS

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Returns whether a name below train/ or test/ follows the set's grammar."""
        return any(map(parse_name, list_images(place)[0]))

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns one row per image; see `index`."""
        return index(self.root, patient_key=patient_key, on_unknown_name=on_unknown_name)

    def unused(self) -> list[str]:
        """Returns the unused names in and beside the folders, and those outside the grammar."""
        names, beside = list_images(self.root)
        return [*beside, *(name for name in names if parse_name(name) is None)]


@dataclass(frozen=True)
class Kermany(KermanyLayout):
    """The chest X-rays of Kermany et al., Cell 172 (2018) 1122."""

    licence: str = "CC BY 4.0, doi 10.17632/rscbjbr9sj"

    kind = "kermany"
    title = "chest radiographs of children"
    population = "children of one hospital, frontal views"  # Cell 172 (2018) 1122
    ages = (1, 5)  # the same
    of_children = True
    published = True
    citation = (
        "D. Kermany, K. Zhang, M. Goldbaum, Labeled Optical Coherence Tomography (OCT) and Chest "
        "X-Ray Images for Classification, Mendeley Data, 2018, doi 10.17632/rscbjbr9sj"
    )
    limits = (
        "Research only, not a medical device. Children of one hospital; frontal chest radiographs "
        "only; scores at another hospital must be measured there. Accuracy on this set may come "
        "from how radiographs were saved."
    )
    checklist: ClassVar[Mapping[str, str]] = {
        "source": "Kermany et al., doi 10.17632/rscbjbr9sj: routine chest radiographs of children "
        "of one hospital (Guangzhou Women and Children's Medical Center)",
        "retrospective": "retrospective: a published set",
        "eligibility": "those that the set's authors published",
        "labels": "NORMAL, bacterial or viral pneumonia as graded by physicians (Cell 172 (2018) "
        "1122)",
    }

    @classmethod
    def open(cls, root: str) -> "Kermany":
        """Returns the set in the folder ``root``.

        Raises:
            FileNotFoundError: there is no such folder, or it holds no train/ or test/.
            ValueError: it is an archive.
        """
        check_unpacked(Path(root).expanduser())
        place = set_folder(Path(root).expanduser())
        if place is None:
            raise FileNotFoundError(
                f"data.root must be the folder of the data set, which holds train/ and test/; got "
                f"{root}, which does not. Get the set with python -m pneumo.download, or train on "
                "generated images: data=phantom"
            )
        return cls(place)


def index(
    root: Path, *, patient_key: str = "person", on_unknown_name: str = "error"
) -> pd.DataFrame:
    """Returns the table of all images under ``root``, sorted by path.

    Columns, all of str: path (relative to ``root``, with slashes), label (NORMAL, PNEUMONIA),
    subtype (normal, bacteria, virus), patient, source (train, val, test; val is Kaggle's, whose
    images were taken from train). ``root`` may be the set's folder or one that holds it as
    ``chest_xray``; nested second copies and ``__MACOSX`` are left out.

    Raises:
        FileNotFoundError: a label has no image in the layout of the set.
        ValueError: a name does not parse (unless ``on_unknown_name`` is "skip"), or a file has two
            labels; see `checked`.
    """
    names, _ = list_images(root)
    table = index_names(names, patient_key=patient_key, on_unknown_name=on_unknown_name)
    return checked(table, set_folder(root) or root)


def index_names(
    names: Sequence[str], *, patient_key: str = "person", on_unknown_name: str = "error"
) -> pd.DataFrame:
    """Returns the table of ``names``, such as train/NORMAL/IM-0115-0001.jpeg."""
    if patient_key not in PATIENT_KEYS:
        keys = ", ".join(PATIENT_KEYS)
        raise ValueError(f"data.patient_key must be one of {keys}; got {patient_key!r}")
    parsed = [parse_name(name, patient_key=patient_key) for name in names]
    unknown = [name for name, row in zip(names, parsed, strict=True) if row is None]
    if unknown and on_unknown_name == "error":
        raise ValueError(
            "each image's name must follow the set's grammar (person<N>_<bacteria|virus>_<M>, "
            "[NORMAL2-]IM-<N>-<M>, or version 3's BACTERIA-<N>-<M>, in the folder of its label); "
            f"got {shown(unknown)}. Rename them, leave them out with "
            "data.on_unknown_name=skip, or read all as of unknown patients with data=folder"
        )
    table = pd.DataFrame([row for row in parsed if row is not None], columns=list(COLUMNS))
    return table.sort_values("path", ignore_index=True)


def parse_name(name: str, *, patient_key: str = "person") -> tuple[str, ...] | None:
    """Returns the row of one relative path, in the order of COLUMNS; None if it does not parse.

    The patient of a pneumonia image is, by ``patient_key``:
        person: its number alone: 1,674 in the set, the paper's count. Merges most, so it is the
            one that cannot leak.
        split_person: its number within train or test, which reuse numbers: 1,844.
        series: its number within train or test and bacteria or virus: 2,653.
    A NORMAL patient is always the number within its series and source.
    """
    folders, _, file = name.rpartition("/")
    source, _, label = folders.rpartition("/")
    stem = file[: file.rfind(".")]
    if source not in SOURCES or label not in CLASS_NAMES:
        return None
    split = "test" if source == "test" else "train"
    matches = (pattern.fullmatch(stem) for pattern in (PERSON, SERIES, VERSION_3))
    match = next(filter(None, matches), None)
    if match is None:
        return None
    parts = match.groupdict()
    subtype = parts.get("subtype", "normal").lower()
    if (label == NORMAL) != (subtype == "normal"):
        return None
    number = parts["number"].lstrip("0") or "0"
    if subtype == "normal":
        patient = f"{split}/{parts.get('series', 'NORMAL')}-{number}"
    else:
        patient = {
            "person": f"person{number}",
            "split_person": f"{split}/person{number}",
            "series": f"{split}/{subtype}{number}",
        }[patient_key]
    return name, label, subtype, patient, source


def list_images(root: Path) -> tuple[list[str], list[str]]:
    """Returns the images of the set under ``root``, relative to it, sorted, and unused names.

    Only <source>/<label>/<file> is listed, directly under ``root`` or under ``root``/chest_xray:
    a recursive scan would find Kaggle's nested second copy and count every image twice.
    """
    base = set_folder(root)
    return walk(base) if base else ([], [])


def set_folder(root: Path) -> Path | None:
    """Returns the folder that holds train/ and test/: ``root`` or a chest_xray in it, or None."""
    candidates = (root, root / "chest_xray", root / "chest_xray" / "chest_xray")
    return next((c for c in candidates if (c / "train").is_dir() or (c / "test").is_dir()), None)


def targets(table: pd.DataFrame, *, num_classes: int) -> np.ndarray:
    """Returns (N,) int64 class numbers: NORMAL 0, PNEUMONIA 1; of three, bacteria 1 and virus 2."""
    names: Iterable[str] = CLASS_NAMES if num_classes == 2 else SUBTYPES
    column = table["label" if num_classes == 2 else "subtype"]
    if not column.isin(list(names)).all():
        raise ValueError(
            "a network of three classes needs data that distinguish bacterial from viral pneumonia "
            "for every image; these do not. Use two classes: model.num_classes=2"
        )
    return column.map({name: number for number, name in enumerate(names)}).to_numpy(np.int64)


def pneumonia_share(
    train: pd.DataFrame, *, num_classes: int = 2, class_weights: Any = None
) -> float:
    """Returns the share of PNEUMONIA that probabilities are for which were fitted to these rows.

    ``class_weights`` of the loss: None, "balanced", or a number for each class.
    """
    counts = np.bincount(targets(train, num_classes=num_classes), minlength=num_classes)
    balanced = class_weights == "balanced"
    weight = (counts > 0) if balanced else counts * np.asarray(class_weights or 1.0)
    return float(weight[1:].sum() / weight.sum()) if weight.any() else float("nan")
