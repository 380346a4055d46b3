"""A labelled folder becomes a table to score, once it is known to be new to the runs."""

import hashlib
import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pneumo.data.dicom import DEFLATED, HEADER_BYTES, is_dicom
from pneumo.data.kermany import (
    SOURCES,
    beside,
    images_in,
    index,
    join_duplicates,
    parse_name,
    set_folder,
)
from pneumo.inference.ensemble import Member, own_images
from pneumo.labels import CLASS_NAMES

log = logging.getLogger(__name__)

COLUMNS = ("path", "label", "subtype", "patient", "source")
NUM_SHOWN = 3  # names in a message
CHUNK_BYTES = 1 << 20


def labelled(
    root: Path, *, patient_key: str, or_unlabelled: bool = True
) -> tuple[Path, pd.DataFrame]:
    """Returns the folder that paths are relative to, and the table of its images, sorted by path.

    ``root`` has the layout of the set (train/NORMAL/…) or holds NORMAL and PNEUMONIA itself. In the
    second, files need not be named as the set's; one that is not has no subtype. Of these, DICOM
    files of one PatientID are one patient, and so are files of the same bytes, and each other file
    is a patient of its own. A patient is called by the first such file: no PatientID is kept. The
    folder's own name counts as source if it is one. The column group is of `with_groups`.
    ``or_unlabelled``: the command has --unlabelled for a folder of neither layout.

    Raises:
        FileNotFoundError: there is no such folder, or it has neither layout.
        ValueError: a label has no image, or the same bytes have both labels.
    """
    base = set_folder(root) if root.is_dir() else None
    if base is not None:
        return base, with_groups(base, index(root, patient_key=patient_key))
    if not any((root / label).is_dir() for label in CLASS_NAMES):
        advice = ". Images without labels are compared with the run's own by --unlabelled"
        raise FileNotFoundError(
            "--data must be a folder with NORMAL and PNEUMONIA in it, or with train/NORMAL, "
            f"test/NORMAL and so on; got {root}{advice if or_unlabelled else ''}"
        )
    source = root.resolve().name if root.resolve().name in SOURCES else ""
    rows, left_out = [], beside(root, known=CLASS_NAMES)
    for label in (label for label in CLASS_NAMES if (root / label).is_dir()):
        images, others = images_in(root / label)
        rows += [_row(root / label / name, label, source, patient_key) for name in images]
        left_out += [f"{label}/{name}" for name in others]
    if left_out:
        log.warning("Left out %d that are not used: %s", len(left_out), ", ".join(left_out[:5]))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("path", ignore_index=True)
    for label in CLASS_NAMES:
        if not (table["label"] == label).any():
            raise ValueError(
                f"the data need images of both labels; got none of {label} in {root}"
                f"{_folders_within(root, label)}"
            )
    return root, _with_patients(root, table)


def with_groups(root: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with a column group: each patient, joined with all who share a file."""
    digests = _digests([root / path for path in table["path"]])
    return table.assign(group=join_duplicates(table, digests))


def _folders_within(root: Path, label: str) -> str:
    """What to say of a label without an image whose folder holds folders; "" where none."""
    others = images_in(root / label)[1] if (root / label).is_dir() else []
    folders = [name for name in others if (root / label / name).is_dir()]
    if not folders:
        return ""
    return (
        f". Folders within {label}/ ({', '.join(folders[:NUM_SHOWN])}"
        f"{', …' * (len(folders) > NUM_SHOWN)}) are not looked into: move their images up"
    )


def _row(path: Path, label: str, source: str, patient_key: str) -> tuple[str, ...]:
    name = f"{label}/{path.name}"
    parsed = parse_name(f"{source or 'test'}/{name}", patient_key=patient_key)
    if parsed is None:
        return name, label, "", name, source
    return name, label, parsed[2], parsed[3], source


def _with_patients(root: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the patients of names that are not the set's, see `labelled`."""
    paths = [root / path for path in table["path"]]
    digests = pd.Series(_digests(paths), index=table.index)
    _check_labels(table, digests)
    foreign = table["subtype"] == ""
    known = [_patient_id(path) if own else "" for path, own in zip(paths, foreign, strict=True)]
    patient_id = pd.Series(known, index=table.index)
    _warn_of_placeholder(patient_id[patient_id != ""])
    first = table["path"].groupby(patient_id).transform("first")
    table = table.assign(patient=table["patient"].where(patient_id == "", first))
    group = join_duplicates(table, digests.tolist())
    # a name of the set's stays, since it is compared with the train split's
    named = table["patient"].mask(foreign).groupby(group).transform("first").fillna(group)
    return table.assign(patient=table["patient"].mask(foreign, named), group=group)


def _check_labels(table: pd.DataFrame, digests: pd.Series) -> None:
    both = table[table["label"].groupby(digests).transform("nunique") > 1]
    if len(both):
        same = both["path"][digests[both.index] == digests[both.index[0]]]
        raise ValueError(
            f"--data must have an image under one label; {same.iloc[0]} and {same.iloc[-1]} are "
            "the same file. Take the wrong one out"
        )


def _warn_of_placeholder(patient_id: pd.Series) -> None:
    if len(patient_id) > 1 and patient_id.nunique() == 1:
        log.warning(
            "All %d DICOM files have the same PatientID, so they count as one patient; if it is a "
            "placeholder, give each patient's files one of their own",
            len(patient_id),
        )


def _patient_id(path: Path) -> str:
    """PatientID (0010,0020) of a DICOM file; "" of others, and where it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
        if not is_dicom(start) or DEFLATED in start:  # which would be inflated whole
            return ""
        import pydicom  # late: an extra

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=["PatientID"], force=True
            )
            return str(header.get("PatientID") or "").strip()
    except Exception:  # of many kinds on broken files; scoring says which
        return ""


def shared_with_train(member: Member, root: Path, table: pd.DataFrame) -> tuple[str, str]:
    """Returns what a folder shares with the run's train split ("" for nothing), and what was asked.

    Patients are compared by the names that the files' names give; where a folder does not say
    whether it is the set's train or test split, a number in either counts. Files are compared by
    their bytes, if the run's own images are still where it found them.
    """
    train = member.split[member.split["split"] == "train"]
    known = bool((table["source"] != "").all())
    ours, theirs = (_patients(one, exact=known) for one in (train, table))
    shared = sorted(ours & theirs)
    compared = f"{len(theirs):,} patients by name with {len(ours):,} of the train split"
    own = own_images(member)
    if own is None:
        compared += "; no bytes, since the run's images are not where it found them"
        same: list[str] = []
    else:
        same = _identical([own / p for p in train["path"]], [root / p for p in table["path"]])
        compared += f"; the bytes of {len(table):,} files with {len(train):,}"
    found = [
        f"{len(names):,} {what} ({', '.join(names[:NUM_SHOWN])}{', …' * (len(names) > NUM_SHOWN)})"
        for what, names in (("patients", shared), ("identical images", same))
        if names
    ]
    return " and ".join(found), compared


def _patients(table: pd.DataFrame, *, exact: bool) -> set[str]:
    names = set(table["patient"])
    return names if exact else {name.rpartition("/")[2] for name in names}


def _identical(train: Sequence[Path], others: Sequence[Path]) -> list[str]:
    """Names of ``others`` with the bytes of one of ``train``; only files of one size are read."""
    by_size: defaultdict[int, list[Path]] = defaultdict(list)
    for path in train:
        by_size[path.stat().st_size].append(path)
    digests: dict[int, set[str]] = {}
    same = []
    for path in others:
        size = path.stat().st_size
        if size in by_size:
            if size not in digests:
                digests[size] = {_digest(one) for one in by_size[size]}
            if _digest(path) in digests[size]:
                same.append(path.name)
    return same


def _digests(paths: Sequence[Path]) -> list[str]:
    """A digest of each file's bytes; of a size that no other has, the size alone."""
    sizes = [path.stat().st_size for path in paths]
    times = Counter(sizes)
    return [
        _digest(path) if times[size] > 1 else str(size)
        for path, size in zip(paths, sizes, strict=True)
    ]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
