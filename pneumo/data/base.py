"""Data sets: where the images come from, who they are of, under which licence; said loudly."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumo.data import folder as own
from pneumo.data import medmnist as archive
from pneumo.data import phantom as generator
from pneumo.data.kermany import check_unpacked, index, set_folder

log = logging.getLogger(__name__)

LOUD = (
    "GENERATED IMAGES: no real data set was found in {root}, so this run uses {count} phantoms. "
    "Its scores say nothing about pneumonia. Get the real set with python -m pneumo.download, or "
    "name its folder: data=kermany data.root=DIR"
)
QUIET = "GENERATED IMAGES: {count} phantoms. Scores on them say nothing about pneumonia."


UNKNOWN = (
    "PATIENTS UNKNOWN: each image counts as a patient of its own, so several images of one person "
    "may be in train and test, and the scores may be too good. Near-identical images are joined."
)
NAME_THEM = "Name the patients in a table: data.csv=FILE with the columns path, label, patient"
KERMANY_LICENCE = "CC BY 4.0, doi 10.17632/rscbjbr9sj"
POPULATION = "children of one hospital, frontal views"  # Kermany et al., Cell 172 (2018) 1122
AGES = (1, 5)  # years, the same


@dataclass(frozen=True)
class DataSet:
    """A data set. Another one is a subclass with its own ``table``, and a YAML that names it.

    Attributes:
        root: the folder that paths are relative to.
        kind: its name, by which runs are told apart; the report compares runs of one kind.
        note: what must be said at the start and the end of a run.
        licence: of the images, for the files that are made of them.
        near_duplicates: join images that look the same, for a set that does not tell its patients.
        population: who the images are of and which views they have; "" where that is not known.
        ages: the youngest and the oldest patient, whole years; None where that is not known.
    """

    root: Path
    kind: str
    note: str | None = None
    licence: str = "not stated"
    near_duplicates: bool = False
    population: str = ""
    ages: tuple[int, int] | None = None

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns a row an image: path, label, subtype, patient, source; see kermany.index."""
        return index(self.root, patient_key=patient_key, on_unknown_name=on_unknown_name)

    def boxes(self) -> pd.DataFrame:
        """Returns a row an image: path, boxes (N, 4) in its pixels, width, height; see data.boxes.

        Raises:
            ValueError: the set has none.
        """
        raise ValueError(
            f"task=detection needs data with boxes around the opacities; {self.kind} has none. Use "
            "data=rsna data.root=DIR, or generated images: data=phantom"
        )


@dataclass(frozen=True)
class Phantoms(DataSet):
    """Generated radiographs, whose opacities are where they were drawn."""

    def boxes(self) -> pd.DataFrame:
        """Returns where the opacities are; see phantom.draw_boxes."""
        return generator.boxes(self.root)


@dataclass(frozen=True)
class Folder(DataSet):
    """Radiographs of one's own.

    Attributes:
        csv: a table of the images; None: the folders say their labels.
    """

    csv: Path | None = None

    def table(self, *, patient_key: str, on_unknown_name: str) -> pd.DataFrame:
        """Returns a row an image; both arguments are of names in another set's grammar."""
        if self.csv:
            return own.csv_table(self.csv, self.root)
        table, left_out = own.folder_table(self.root)
        if left_out:
            shown = ", ".join(left_out[: own.NUM_SHOWN])
            log.warning("Left out %d that are no images: %s", len(left_out), shown)
        return table


def folder(root: str, csv: str | None = None, licence: str = "not stated") -> Folder:
    """Returns the images below ``root``, or those that ``csv`` lists, relative to ``root``.

    Raises:
        FileNotFoundError, ValueError: see pneumo.data.folder.
    """
    place = Path(root).expanduser()
    check_unpacked(place)
    if csv is None:
        return Folder(place, "folder", f"{UNKNOWN} {NAME_THEM}", licence, near_duplicates=True)
    path = Path(csv).expanduser()
    known = "patient" in own.csv_columns(path)
    note = None if known else f"{UNKNOWN} {NAME_THEM}"
    return Folder(place, "folder", note, licence, near_duplicates=not known, csv=path)


def medmnist(root: str, cache_dir: str) -> Folder:
    """Returns PneumoniaMNIST of a .npz file, the same radiographs made smaller, unpacked once.

    Its images are those of Kermany et al. without their names, cut to the short edge. Raises as
    pneumo.data.medmnist.unpack.
    """
    unpacked = archive.unpack(Path(root).expanduser(), Path(cache_dir).expanduser())
    licence = "CC BY 4.0, doi 10.1038/s41597-022-01721-8"
    return Folder(unpacked, "medmnist", UNKNOWN, licence, population=POPULATION, ages=AGES)


def kermany(root: str) -> DataSet:
    """Returns the real set in ``root``, never another.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no train/ or test/.
        ValueError: it is an archive.
    """
    folder = Path(root).expanduser()
    check_unpacked(folder)
    found = set_folder(folder)
    if found is None:
        what = "it holds neither train/ nor test/" if folder.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"data.root must be the folder of the data set, which holds train/ and test/; got "
            f"{root}: {what}. Get the set with python -m pneumo.download, or train on generated "
            "images: data=phantom"
        )
    licence = KERMANY_LICENCE
    return DataSet(found, "kermany", licence=licence, population=POPULATION, ages=AGES)


def phantom(num_images: int, seed: int, cache_dir: str, *, note: str = QUIET) -> Phantoms:
    """Returns ``num_images`` generated radiographs, kept in ``cache_dir`` for the next run."""
    folder = Path(cache_dir).expanduser() / f"phantom-{generator.VERSION}-{num_images}-{seed}"
    root = generator.generate(folder, num_images=num_images, seed=seed)
    told = note.format(count=num_images, root="")
    return Phantoms(root, "phantom", told, licence="generated by pneumo, MIT")


def auto(root: str, cache_dir: str) -> DataSet:
    """Returns the real set where ``root`` exists, otherwise the default phantoms."""
    if Path(root).expanduser().exists():
        return kermany(root)
    note = LOUD.replace("{root}", root)
    return phantom(generator.NUM_IMAGES, 0, cache_dir, note=note)
