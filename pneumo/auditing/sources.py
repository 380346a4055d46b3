"""The data set to audit, recognised by layout and names, and its tables."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumo.data.base import DataSet
from pneumo.data.folder import Folder
from pneumo.data.kermany import set_folder
from pneumo.data.labelled import check_names, check_unpacked
from pneumo.data.medmnist import MedMnist
from pneumo.data.phantom import Phantoms
from pneumo.data.sets import class_of, recognise

NAMES = {  # of this command for what the settings of a training run call otherwise
    "data.root": "DIR",
    "data.csv=": "--csv ",
    "data.csv": "--csv",
    "data.on_unknown_name=skip": "--skip-unknown",
    "data=folder": "--kind folder",
}


@dataclass(frozen=True)
class Source:
    """A data set to audit.

    Attributes:
        name: of its folder or file, without the path to it.
        data_set: the set.
        place: folder that is searched for other images; None: none is.
        note: the set's warning in this command's words.
        tables: one row per image, see kermany.index, by protocol: the protocol decides who is one
            patient.
        patients: how many there are, by the way they are identified.
        left_out: names in the folders of the set that are not used.
    """

    name: str
    data_set: DataSet
    place: Path | None
    note: str | None
    tables: dict[str, pd.DataFrame]
    patients: dict[str, int]
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
        place: the set's folder, a user's own folder, or PneumoniaMNIST's .npz file.
        csv: a table of a user's own radiographs, see pneumo.data.folder.csv_table.
        kind: one of pneumo.choices.DATA_SETS; None: by layout and names.
        skip_unknown: leave out images whose names do not follow the set's grammar.
        cache_dir: where a .npz file is unpacked.

    Raises:
        FileNotFoundError, ValueError: there is no such data set, or it cannot be read.
    """
    if csv and kind not in (None, "folder"):
        raise ValueError(f"--csv requires --kind folder or no --kind; got --kind {kind}")
    check_unpacked(place, name="DIR")
    unknown = "skip" if skip_unknown else "error"
    try:
        data_set = _opened(place, csv=csv, kind=kind, cache_dir=cache_dir)
        tables = {
            key: data_set.table(patient_key=key, on_unknown_name=unknown)
            for key in data_set.patient_keys
        }
        unused = data_set.unused()
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(_in_own_words(str(error))) from None
    paper, official = next(iter(tables.values())), list(tables.values())[:2][-1]
    check_names([*paper["path"], *unused])
    return Source(
        name=place.resolve().name,
        data_set=data_set,
        place=place if data_set.owns_folder and csv is None else None,
        note=data_set.note and _in_own_words(data_set.note),
        tables={"paper": paper, "official": official},
        patients={key: int(table["patient"].nunique()) for key, table in tables.items()},
        left_out=tuple(unused),
    )


def _opened(place: Path, *, csv: Path | None, kind: str | None, cache_dir: Path) -> DataSet:
    cls = Folder if csv else recognise(place)
    if kind and not (kind == "kermany" and cls is Phantoms):  # generated images stay such
        cls = class_of(kind)
    if cls is None:
        raise FileNotFoundError(
            "DIR must hold NORMAL/ and PNEUMONIA/, below train/ and test/ or without; "
            f"got {place}. Name the folder that holds them, list the images with --csv FILE, or "
            "get the set with python -m pneumo.download"
        )
    if csv:
        return Folder.open(str(place), str(csv))
    if issubclass(cls, MedMnist):
        return cls.open(str(place), str(cache_dir))
    return cls(set_folder(place) or place) if issubclass(cls, Phantoms) else cls.open(str(place))


def _in_own_words(text: str) -> str:
    for setting, name in NAMES.items():
        text = text.replace(setting, name)
    return text
