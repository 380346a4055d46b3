"""Folders and tables of labelled images, and the checks that every table passes."""

import logging
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pneumo.data.image import SUFFIXES
from pneumo.labels import CLASS_NAMES

log = logging.getLogger(__name__)

COLUMNS = ("path", "label", "subtype", "patient", "source")  # of a table of images
SOURCES = ("train", "val", "test")
# Folders that are used, Kaggle's and macOS's copies, and the folder of a disk's repair
KNOWN = {*CLASS_NAMES, *SOURCES, "chest_xray", "__MACOSX", "lost+found"}
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".xz", ".7z", ".rar")
NUM_SHOWN = 5  # names in a message
FACTS = {"label": "label", "source": "split", "subtype": "subtype", "patient": "patient"}
# Names of ChestX-ray8/14: patient, 1 to 30,805, and follow-up. No date begins with 000
NIH_NAME = re.compile(r"(000[0-3]\d{4})_\d{3}")


def check_unpacked(place: Path, *, name: str = "data.root") -> None:
    """Raises ValueError if ``place``, the value of the argument ``name``, is an archive."""
    if place.suffix.lower() in ARCHIVES and place.is_file():
        zipped = place.suffix.lower() == ".zip"
        how = f", by: python -m zipfile -e {shlex.quote(str(place))} DIR" if zipped else ""
        raise ValueError(
            f"{name} must be a folder; {place} is an archive. Unpack it{how}, then name its folder"
        )


def walk(base: Path, sources: Sequence[str] = SOURCES) -> tuple[list[str], list[str]]:
    """Returns the images in <source>/<label>/, sorted, and the unused names there and beside.

    Hidden files are in neither list; folders in <source>/<label>/ are not entered.
    """
    names: list[str] = []
    left_out = _beside(base, "")
    for source in (source for source in sources if (base / source).is_dir()):
        for place in (f"{source}/{label}".lstrip("/") for label in CLASS_NAMES):
            for entry in _visible(base / place) if (base / place).is_dir() else []:
                is_image = entry.name.lower().endswith(SUFFIXES) and entry.is_file()
                (names if is_image else left_out).append(f"{place}/{entry.name}")
        if source:
            left_out += _beside(base, f"{source}/")
    return sorted(names), left_out


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return [entry for entry in entries if not entry.name.startswith(".")]


def _beside(base: Path, place: str) -> list[str]:
    """Returns the images and folders (with a slash) in a place that are not of the set."""
    return [
        f"{place}{entry.name}" + "/" * entry.is_dir()
        for entry in _visible(base / place)
        if entry.name not in KNOWN and (entry.is_dir() or entry.name.lower().endswith(SUFFIXES))
    ]


def checked(table: pd.DataFrame, root: Path, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Returns ``table`` with one row for each file, by path; logs how many rows are left out.

    Two paths name one file if they resolve to it: by ``./`` or ``..``, or by a link.

    Args:
        table: path (relative to ``root``), FACTS and maybe known_by, "" if unknown; a row an
            image.
        root: the folder of the images.
        names: of the rows in a message; None: their paths.

    Raises:
        ValueError: two rows of one file differ in one of FACTS.
        FileNotFoundError: a label has no image.
    """
    files = table["path"].map(lambda path: os.path.realpath(root / path)).astype("str")
    twice = files.duplicated()
    if twice.any():
        named = table.assign(path=list(names)) if names else table
        for column in FACTS:
            _check_one_value(named, column, files, same="are the same file")
        columns = [name for name in (*FACTS, "known_by") if name in table]
        values = table[columns].mask(table[columns] == "").groupby(files).transform("first")
        log.warning(
            "%d of %d rows name the file of another row, which counts once: %s",
            *(twice.sum(), len(table), shown(named.loc[twice, "path"].tolist())),
        )
        table = table.assign(**values.fillna("").astype("str"))[~twice]
    for label in CLASS_NAMES:
        if not (table["label"] == label).any():
            raise FileNotFoundError(
                f"data.root must hold images of both labels, directly in NORMAL/ and PNEUMONIA/, "
                f"below train/, val/ and test/ or without; got none of {label} in {root}"
            )
    return table.sort_values("path", ignore_index=True)


def with_groups(table: pd.DataFrame, digests: Sequence[str]) -> pd.DataFrame:
    """Returns ``table`` with the columns digest and group, see `join_duplicates`.

    Raises:
        ValueError: files of the same bytes have different labels.
    """
    bytes_of = pd.Series(list(digests), index=table.index)
    _check_one_value(table, "label", bytes_of, same="have the same bytes")
    return table.assign(digest=bytes_of, group=join_duplicates(table, digests))


def join_duplicates(table: pd.DataFrame, digests: Sequence[str]) -> pd.Series:
    """Returns the group of each row: its patient, joined with all who share an identical image.

    Args:
        table: with a column ``patient``.
        digests: a digest of each image's bytes, in the order of ``table``.

    Returns:
        str, the name of the alphabetically first patient of the group.
    """
    patients, patient = np.unique(table["patient"].to_numpy(str), return_inverse=True)
    images, image = np.unique(np.asarray(digests), return_inverse=True)
    # a graph of patients and images, an edge where a patient has an image
    size = len(patients) + len(images)
    edges = coo_array((np.ones(len(table)), (patient, image + len(patients))), shape=(size, size))
    _, component = connected_components(edges, directed=False)
    first = pd.Series(patients).groupby(component[: len(patients)]).transform("min")
    return pd.Series(first.to_numpy()[patient], index=table.index, dtype="str")


def check_names(paths: Sequence[str]) -> None:
    """Raises ValueError if a name is not UTF-8, which no CSV or JSON file can hold."""
    printable = {path: os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths}
    refuse(
        (name for path, name in printable.items() if name != path),
        "names of images must be UTF-8",
        "Rename them, such as by: convmv -f latin1 -t utf8 --notest -r DIR",
    )


def normalised(text: str) -> str:
    """Returns ``text`` in Unicode's form NFC, without invisible characters.

    Blanks around it and invisible characters (category Cf, such as a zero-width space) are
    removed, blanks within it become one space. Its case stays.
    """
    visible = (c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")
    return " ".join("".join(visible).split())


def nih_patient(path: str) -> str:
    """Returns the patient of a file that is named as in ChestX-ray8/14, or "".

    >>> nih_patient("NORMAL/00001280_004.png"), nih_patient("NORMAL/20240131_004.png")
    ('nih1280', '')
    """
    match = NIH_NAME.fullmatch(PurePosixPath(path).stem)
    return f"nih{int(match[1])}" if match else ""


def refuse(names: Iterable[str], rule: str, way: str) -> None:
    """Raises ValueError with a rule, the first of the names that break it, and the way out."""
    if broken := list(dict.fromkeys(names)):
        raise ValueError(f"{rule}; not so: {shown(broken)}. {way}")


def shown(names: Sequence[str]) -> str:
    """Returns the first NUM_SHOWN of some names, quoted, and how many more there are."""
    more = len(names) - NUM_SHOWN
    return ", ".join(map(repr, names[:NUM_SHOWN])) + (f" and {more:,} more" if more > 0 else "")


def _check_one_value(table: pd.DataFrame, column: str, key: pd.Series, *, same: str) -> None:
    """Raises ValueError if rows of one ``key`` differ in a column; "" is unknown."""
    values = table[column].mask(table[column] == "")
    several = values.groupby(key).transform("nunique") > 1
    if several.any():
        rows = table[(table[column] != "") & (key == key[several].iloc[0])]
        pair = rows.drop_duplicates(column)[["path", column]].iloc[:2].to_numpy()
        first, second = (f"{path} ({value})" for path, value in pair)
        raise ValueError(
            f"an image must have one {FACTS[column]}; {first} and {second} {same}. Remove the "
            "wrong one"
        )
