"""Which data set a folder or file is, and its tables: told by the layout and the names."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumo.data import base, kermany, rsna
from pneumo.data.labelled import check_names, one_row_a_file
from pneumo.data.phantom import STAMP
from pneumo.labels import CLASS_NAMES

PHANTOM = "GENERATED IMAGES: drawn by a program. Scores on them say nothing about pneumonia."
NUM_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Source:
    """A data set to audit.

    Attributes:
        name: of its folder or file, without the way to it.
        kind: kermany, phantom, folder, medmnist or rsna.
        place: what was named, below which other images are looked for; None: not looked for.
        root: the folder that paths are relative to.
        tables: a row an image, see kermany.index, by protocol: who is one patient depends on it.
        patients: how many there are, by what tells them apart.
        near_duplicates: images that look the same are joined, since patients are not known.
        note: what must be said.
        left_out: in the folders of the set, and not used.
    """

    name: str
    kind: str
    place: Path | None
    root: Path
    tables: dict[str, pd.DataFrame]
    patients: dict[str, int]
    near_duplicates: bool = False
    note: str | None = None
    left_out: tuple[str, ...] = ()


def open_set(
    place: Path,
    *,
    csv: Path | None = None,
    kind: str | None = None,
    skip_unknown: bool = False,
    cache_dir: Path,
) -> Source:
    """Returns the data set in ``place``.

    Args:
        place: the set's folder, a folder of one's own, or PneumoniaMNIST's .npz file.
        csv: a table of one's own radiographs, see pneumo.data.folder.csv_table.
        kind: one of pneumo.choices.DATA_SETS; None: a file is medmnist; a folder with the
            challenge's table is rsna; one with train/ or test/ in which a name follows the set's
            grammar is kermany; another is folder.
        skip_unknown: leave out images whose names do not follow that grammar.
        cache_dir: where a .npz file is unpacked.

    Raises:
        FileNotFoundError, ValueError: there is no such data set, or it cannot be read.
    """
    _check_place(place, csv)
    source = _open(place, csv=csv, kind=kind, skip_unknown=skip_unknown, cache_dir=cache_dir)
    check_names([*source.tables["paper"]["path"], *source.left_out])
    return source


def _open(
    place: Path, *, csv: Path | None, kind: str | None, skip_unknown: bool, cache_dir: Path
) -> Source:
    if csv and kind not in (None, "folder"):
        raise ValueError(f"--csv goes with --kind folder, or without --kind; got --kind {kind}")
    name = place.resolve().name
    try:
        kind = kind or _guess(place, csv)
        if kind == "kermany":
            return _kermany(place, name, skip_unknown=skip_unknown)
        if kind == "medmnist":
            return _own(base.medmnist(str(place), str(cache_dir)), name, place=None)
        if kind == "rsna":
            return _rsna(place, name)
        listed = str(csv) if csv else None
        return _own(base.folder(str(place), listed), name, place=None if csv else place)
    except (FileNotFoundError, ValueError) as error:  # this command's names of the same things
        told = str(error).replace("data.root", "DIR").replace("data.csv", "--csv")
        raise type(error)(told) from None


def _check_place(place: Path, csv: Path | None) -> None:
    if not place.exists():
        raise FileNotFoundError(
            f"DIR must be a folder of radiographs or PneumoniaMNIST's .npz file; there is no "
            f"{place}. Get the set with python -m pneumo.download"
        )
    kermany.check_unpacked(place, name="DIR")
    if place.is_file() and place.suffix != ".npz":
        raise ValueError(f"DIR must be a folder, or a file that ends in .npz; got the file {place}")
    if csv and place.is_file():
        raise ValueError(f"--csv lists the images below a folder; DIR is the file {place}")
    if place.is_dir():
        _entries(place)


def _entries(place: Path) -> list[str]:
    try:
        return sorted(os.listdir(place))  # noqa: PTH208  (names will do)
    except OSError as error:
        raise ValueError(f"DIR must be readable; {place} is not ({error.strerror})") from None


def _guess(place: Path, csv: Path | None) -> str:
    if place.is_file():
        return "medmnist"
    if csv:
        return "folder"
    if (place / rsna.LABELS).is_file():
        return "rsna"
    base_folder = kermany.set_folder(place)
    if base_folder is None:
        if not any((place / label).is_dir() for label in CLASS_NAMES):
            raise FileNotFoundError(
                "DIR must hold NORMAL/ and PNEUMONIA/, below train/ and test/ or without; "
                f"got {place}. Name the folder that holds them, or list the images with --csv FILE"
            )
        return "folder"
    names, _ = kermany.list_images(place)
    return "kermany" if any(map(kermany.parse_name, names)) else "folder"


def _kermany(place: Path, name: str, *, skip_unknown: bool) -> Source:
    names, left_out = kermany.list_images(place)
    tables = {}
    for key in kermany.PATIENT_KEYS:
        tables[key], unknown = kermany.index_names(names, patient_key=key, on_unknown_name="skip")
    if unknown and not skip_unknown:
        raise ValueError(
            "each image's name must follow the set's grammar (person<N>_<bacteria|virus>_<M>, "
            "[NORMAL2-]IM-<N>-<M>, or version 3's BACTERIA-<N>-<M>, in the folder of its label); "
            f"got {_first(unknown)}. Rename them, leave them out with --skip-unknown, or read all "
            "as of unknown patients with --kind folder"
        )
    root = kermany.set_folder(place) or place
    paths = one_row_a_file(tables["person"], root)["path"]
    for key, table in tables.items():
        tables[key] = table[table["path"].isin(paths)].reset_index(drop=True)
    _check_labels(tables["person"], place)
    generated = (root / STAMP).is_file()
    return Source(
        name=name,
        kind="phantom" if generated else "kermany",
        place=place,
        root=root,
        tables={"paper": tables["person"], "official": tables["split_person"]},
        patients={key: int(table["patient"].nunique()) for key, table in tables.items()},
        note=PHANTOM if generated else None,
        left_out=(*left_out, *unknown),
    )


def _rsna(place: Path, name: str) -> Source:
    data_set = rsna.rsna(str(place))
    table = data_set.table(patient_key="person", on_unknown_name="error")
    _check_labels(table, place)
    return Source(
        name=name,
        kind=data_set.kind,
        place=None,  # the challenge's test images, which have no labels, lie beside
        root=data_set.root,
        tables={"paper": table, "official": table},
        patients={"own": len(table)},
    )


def _own(data_set: base.Folder, name: str, *, place: Path | None) -> Source:
    table = data_set.images[list(kermany.COLUMNS)]
    return Source(
        name=name,
        kind=data_set.kind,
        place=place,
        root=data_set.root,
        tables={"paper": table, "official": table},
        patients={"own": int(table["patient"].nunique())},
        near_duplicates=data_set.near_duplicates,
        note=data_set.note and data_set.note.replace("data.csv=", "--csv "),
        left_out=data_set.left_out,
    )


def _check_labels(table: pd.DataFrame, place: Path) -> None:
    for label in CLASS_NAMES:
        if not (table["label"] == label).any():
            raise ValueError(f"DIR must hold images of both labels; got none of {label} in {place}")


def _first(names: Sequence[str]) -> str:
    more = len(names) - NUM_SHOWN
    return ", ".join(names[:NUM_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
