import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pneumo.data.folder import folder_table
from pneumo.inference.leakage import labelled, shared_with_train
from tests.data.test_dicom import dataset, encode

PATIENT_ID = "4711-secret"


def add(root: Path, name: str, *, grey: int) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), grey, np.uint8)).save(path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for grey, name in enumerate(("NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png")):
        add(root, name, grey=grey)
    return root


def patients(root: Path) -> dict[str, str]:
    _, table = labelled(root, patient_key="person")
    return dict(zip(table["path"], table["group"], strict=True))


def test_dicom_files_of_one_patient_id_are_one_patient(data: Path) -> None:
    for name, who in (
        ("NORMAL/1.dcm", PATIENT_ID),
        ("NORMAL/2.dcm", f"{PATIENT_ID} "),
        ("PNEUMONIA/3.dcm", PATIENT_ID),
        ("PNEUMONIA/4.dcm", "other"),
        ("PNEUMONIA/5.dcm", ""),
        ("PNEUMONIA/6.dcm", None),
    ):
        (data / name).write_bytes(encode(dataset(PatientID=who, StudyID=name[-5])))
    (data / "NORMAL/broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    found = patients(data)
    assert found["NORMAL/1.dcm"] == found["NORMAL/2.dcm"] == found["PNEUMONIA/3.dcm"]
    table, _ = folder_table(data)  # as a training run reads it
    assert dict(zip(table["path"], table["patient"], strict=True)) == found
    assert (table["known_by"] == "PatientID").sum() == 4
    assert len(set(found.values())) == len(found) - 2
    digest = hashlib.sha256(PATIENT_ID.encode()).hexdigest()
    assert not any(PATIENT_ID in one or digest[:8] in one for one in found.values())


@pytest.mark.parametrize("moved", [False, True])
def test_paths_are_no_patients_where_bytes_can_be_compared(data: Path, moved: bool) -> None:
    other = data.parent / "other"
    for grey, name in enumerate(("NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png")):
        add(other, name, grey=100 + grey)
    _, table = labelled(data, patient_key="person")
    images = None if moved else data
    run: Any = SimpleNamespace(split=table.assign(split="train"), images=lambda: images)
    shared, _ = shared_with_train(run, *labelled(other, patient_key="person"))
    assert shared == "3 patients (a.png, b.png, c.png)" * moved
    shared, _ = shared_with_train(run, *labelled(data, patient_key="person"))
    assert shared.startswith("3 patients" if moved else "3 identical images (a.png, b.png, c.png)")


def test_identical_files_are_one_group_and_names_of_the_set_stay_patients(data: Path) -> None:
    for name in ("z", "IM-0001-0001", "IM-0002-0001"):
        shutil.copy(data / "NORMAL/a.png", data / f"NORMAL/{name}.png")
    _, table = labelled(data, patient_key="person")
    same = table[table["digest"] == table["digest"].iloc[0]]
    assert set(same["patient"]) >= {"test/IM-1", "test/IM-2"}
    assert (len(same), same["group"].nunique(), table["group"].nunique()) == (4, 1, 3)


def test_names_in_the_sets_layout_need_not_be_the_sets(data: Path) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        shutil.copytree(data / label, data.parent / "parts" / "test" / label)
    shutil.copy(data / "NORMAL/a.png", data.parent / "parts/test/NORMAL/IM-0001-0001.png")
    _, table = labelled(data.parent / "parts", patient_key="person")
    assert set(table["known_by"]) == {"name", ""}
    assert set(table["source"]) == {"test"}
    assert "test/IM-1" in set(table["patient"])
