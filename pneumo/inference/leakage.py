"""Reads a labelled folder as a table to score, and finds its overlap with a run's train split."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pneumo import cli, untrusted
from pneumo.data import split
from pneumo.data.folder import folder_table
from pneumo.data.kermany import set_folder
from pneumo.data.labelled import SOURCES, check_unpacked, shown, with_groups
from pneumo.data.nih import Nih, release_tables
from pneumo.data.sets import class_of
from pneumo.labels import CLASS_NAMES
from pneumo.runs.run import Run

log = logging.getLogger(__name__)

Reader = Callable[..., tuple[Path, pd.DataFrame]]  # of a folder, see `labelled`
LOST = "that run is not there"
OWN = "are validation and test images of"


class Overlap(NamedTuple):
    """The images that a folder shares with the train split of a run."""

    of: str  # the run
    shared: str  # "" for none
    compared: str  # patients and bytes


def labelled(root: Path, *, patient_key: str) -> tuple[Path, pd.DataFrame]:
    """Returns the folder that paths are relative to, and the table of its images, sorted by path.

    ``root`` has the layout of the set (train/NORMAL/…), holds NORMAL and PNEUMONIA itself, or is
    the release of ChestX-ray8/14. The table is that of `pneumo.data.folder.folder_table`, with
    digest and group, which joins the patients of files with the same bytes.

    Raises:
        FileNotFoundError, ValueError: there is no such folder, it has neither layout, a label has
            no image, or a file, or the same bytes, have both labels.
    """
    base = (set_folder(root) if root.is_dir() else None) or root
    is_release = bool(release_tables(base))
    folders = (root / name for name in (*CLASS_NAMES, *SOURCES))
    if base == root and not is_release and not any(folder.is_dir() for folder in folders):
        raise FileNotFoundError(
            "--data must be a folder with NORMAL and PNEUMONIA in it, or with train/NORMAL, "
            f"test/NORMAL and so on; got {root}. Images without labels can only be compared with "
            "the run's own: python -m pneumo.evaluate RUN --data DIR --unlabelled"
        )
    left_out: list[str] = []
    try:
        if is_release:
            table = Nih.open(str(base)).table(patient_key=patient_key, on_unknown_name="error")
            table = table.assign(known_by="name")
        else:
            table, left_out = folder_table(base, patient_key=patient_key)
        table = with_groups(table, digests([base / path for path in table["path"]]))
    except (FileNotFoundError, ValueError) as error:  # this command's option
        raise type(error)(str(error).replace("data.root", "--data")) from None
    if left_out:
        log.warning("Left out %s: %s", cli.counted(len(left_out), "unused file"), shown(left_out))
    return base, table


def new_images(
    runs: Sequence[Run],
    data: Path,
    *,
    read: Reader = labelled,
    allow_overlap: bool,
    instead: str,
) -> tuple[Path, pd.DataFrame, list[Overlap]]:
    """Returns the root and the table that ``read`` returns for the first run, and all overlaps.

    They are with the runs and with those whose weights these started from (init). ``instead``: the
    way out, in the message.

    Raises:
        FileNotFoundError, ValueError: see ``read``; or there is an overlap and not
            ``allow_overlap``.
    """
    check_unpacked(data, name="--data")
    tables: dict[str, tuple[Path, pd.DataFrame]] = {}  # by the key that defines a patient
    overlaps = []
    for run in runs:
        trained, lost = lineage(run)
        for each in trained:
            of = each.name if each is run else f"{each.name}, from which {run.name} started"
            key = str(each.metrics["data"].get("patient_key", "person"))
            if key not in tables:
                tables[key] = read(data, patient_key=key)
            overlap = Overlap(of, *shared_with_train(each, *tables[key]))
            if overlap.shared and not allow_overlap:
                raise ValueError(
                    f"--data must be new to the run; it shares {overlap.shared} with the train "
                    f"split of {of}. {instead}"
                )
            overlaps.append(overlap)
        if lost:
            of = f"{lost}, from which {run.name} started"
            overlaps.append(Overlap(of, "", f"nothing, since {LOST}"))
    return *next(iter(tables.values())), overlaps


def lineage(run: Run) -> tuple[list[Run], str]:
    """Returns the run and those whose weights it started from, and the name of a missing one."""
    runs, names = [run], [run.name]
    while (init := runs[-1].config.get("init")) and init not in names:
        names.append(init)
        try:
            start = Run.open(init)
            _ = start.split
        except (OSError, ValueError):
            return runs, init
        runs.append(start)
    packed = runs[-1].metrics.get("init")  # a package does not name its place
    return runs, packed["run"] if packed and not init else ""


def shared_with_train(run: Run, root: Path, table: pd.DataFrame) -> tuple[str, str]:
    """Returns the overlap of a folder with a run's train split ("" for none), and the comparison.

    Patients are compared by the names in file names; if the folder is not known to be the set's
    train or test split, a number in either counts. Files are compared by their bytes with those of
    the run's own images that are still there, or that have moved into this folder. If all are, an
    unknown patient, who is named by a path, does not count.
    """
    train = run.split[run.split["split"] == "train"]
    exact = bool((table["source"] != "").all())
    folder = run.image_folder
    own = [path for p in train["path"] if folder and untrusted.is_file(path := folder / p)]
    if not own and _holds(root, run):  # they have moved
        own = [root / path for path in train["path"]]

    def named(rows: pd.DataFrame) -> set[str]:
        names = set(rows["patient"]) - set(rows["path"] if len(own) == len(train) else ())
        return {name if exact else name.rpartition("/")[2] for name in names}

    is_drawn = class_of(run.metrics["data"]["kind"]).generated  # under the names of the set
    train_patients, patients = set[str]() if is_drawn else named(train), named(table)
    shared = sorted(train_patients & patients)
    compared = f"{len(patients):,} patients by name with {len(train_patients):,} of the train split"
    same: list[str] = []
    if own:
        paths = [*own, *(root / path for path in table["path"])]
        bytes_of = digests(paths)
        run_digests = set(bytes_of[: len(own)])
        others = zip(paths[len(own) :], bytes_of[len(own) :], strict=True)
        same = [path.name for path, digest in others if digest in run_digests]
        compared += f"; the bytes of {len(table):,} files with {len(own):,}"
    else:
        compared += "; no bytes, since the run's images moved"
    held_out = run.split.loc[run.split["split"] != "train", "path"]
    places = {(folder / path).resolve() for path in held_out} if folder else set[Path]()
    if num_own := sum((root / path).resolve() in places for path in table["path"]):
        compared += f"; {num_own:,} of these images {OWN} {run.name}"
    overlap = [
        f"{cli.counted(len(names), what)} ({shown(names)})"
        for what, names in (("patient", shared), ("identical image", same))
        if names
    ]
    return " and ".join(overlap), compared


def _holds(root: Path, run: Run) -> bool:
    """Returns whether all of the run's images are below ``root``, by their paths and bytes."""
    if not all((root / path).is_file() for path in run.split["path"]):
        return False
    return images_digest(root, run.split) == run.metrics["data"].get("images_sha256")


def digests(paths: Sequence[Path]) -> list[str]:
    """Returns a digest of each file's bytes; for a size that no other has, the size alone."""
    sizes = [path.stat().st_size for path in paths]
    times = Counter(sizes)
    pairs = zip(paths, sizes, strict=True)
    return [_digest(path) if times[size] > 1 else str(size) for path, size in pairs]


def images_digest(root: Path, table: pd.DataFrame) -> str:
    """Returns the SHA-256 of the paths below ``root`` and the bytes of the images in a table."""
    return split.digest(table.assign(digest=[_digest(root / p) for p in table["path"]]), "digest")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
