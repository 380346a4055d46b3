"""ChestX-ray8/14: its table and its names, and what is wrong with a copy of it."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from pneumo.auditing.sources import open_set
from pneumo.data.folder import Folder, csv_table
from pneumo.data.nih import Nih
from pneumo.inference.leakage import labelled
from pneumo.labels import NORMAL, PNEUMONIA
from pneumo.shift.sample import unlabelled

FIRST, OTHER = "00000001_000.png", "00000099_000.png"  # of NORMAL, and of another finding


def table(root: Path, *, on_unknown_name: str = "error") -> pd.DataFrame:
    return Nih.open(str(root)).table(patient_key="person", on_unknown_name=on_unknown_name)


@pytest.fixture
def release(nih_set: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(nih_set, tmp_path / "release"))


@pytest.fixture
def folders(nih_set: Path, tmp_path: Path) -> Path:
    """The same images in NORMAL/ and PNEUMONIA/."""
    for label, part in ((NORMAL, "images_001"), (PNEUMONIA, "images_002")):
        shutil.copytree(nih_set / part / "images", tmp_path / "mine" / label)
    (tmp_path / "mine" / PNEUMONIA / OTHER).unlink()
    return tmp_path / "mine"


def test_the_release_and_folders_have_the_same_patients(release: Path, folders: Path) -> None:
    (release / "images_002" / "images" / OTHER).rename(release / OTHER)  # in any folder
    of_release = table(release)
    assert of_release["label"].value_counts().to_dict() == {NORMAL: 24, PNEUMONIA: 24}
    assert of_release["patient"].nunique() == 24  # patient 1 has both labels
    facts = ["label", "subtype", "patient", "source"]
    by_name = of_release.set_index(of_release["path"].map(lambda path: Path(path).name))
    of_folders = table(folders)
    of_folders.index = of_folders["path"].map(lambda path: Path(path).name)
    pd.testing.assert_frame_equal(by_name[facts].sort_index(), of_folders[facts].sort_index())


def test_names_give_the_patients_wherever_images_are_read(folders: Path, nih_set: Path) -> None:
    read = {
        "data=folder": Folder.open(str(folders)).images,
        "evaluate": labelled(folders, patient_key="person")[1],
        "evaluate on the release": labelled(nih_set, patient_key="person")[1],
        "evaluate --unlabelled": unlabelled(folders, patient_key="person")[1],
        "audit": open_set(folders, cache_dir=folders).tables["paper"],
    }
    assert {name: rows["patient"].nunique() for name, rows in read.items()} == dict.fromkeys(
        read, 24
    )
    assert Folder.open(str(folders)).note is None
    csv = folders / "table.csv"
    csv.write_text(
        f"path,label,patient\nNORMAL/{FIRST},normal,anna\nPNEUMONIA/00000014_026.png,pneumonia,\n"
    )
    named = csv_table(csv, folders)
    assert named[["patient", "known_by"]].to_numpy().tolist() == [
        ["anna", "table"],
        ["nih14", "name"],
    ]


def test_a_table_that_contradicts_its_images_is_refused(release: Path, tmp_path: Path) -> None:
    def refused(message: str, root: Path = release) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=f"^[^\n]*{message}[^\n]*$"):
            table(root)

    shutil.copy(release / "images_001" / "images" / FIRST, release)
    refused(f"must be below .* once; not so: '{FIRST}'. Remove the copies")
    (release / FIRST).unlink()
    shutil.rmtree(release / "images_001")
    refused(f"must have an image below .*; not so: '{FIRST}', .* and 19 more. Unp")
    csv = release / "Data_Entry_2017.csv"
    csv.write_text(csv.read_text().replace("Finding L", "L"))
    refused("must be a table with the columns .*")
    shutil.copy(csv, release / "Data_Entry_2017_v2020.csv")
    refused("one table of the release; not so: .*_v2020.csv'. Remove all but one")
    (tmp_path / "bare").mkdir()
    refused(r"must hold Data_Entry_2017\.csv .* or PNEUMO_NIH", tmp_path / "bare")


def test_other_names_among_its_own_are_named_or_skipped(folders: Path) -> None:
    (folders / NORMAL / FIRST).rename(folders / NORMAL / "anna.png")
    with pytest.raises(ValueError, match=r"not so: 'NORMAL/anna.png'. Rename them, leave them out"):
        table(folders)
    assert "NORMAL/anna.png" not in set(table(folders, on_unknown_name="skip")["path"])
