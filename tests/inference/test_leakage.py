import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pneumo.data import split
from pneumo.data.folder import csv_table, folder_table
from pneumo.inference import scoring
from pneumo.inference.leakage import images_digest, labelled, new_images, shared_with_train
from pneumo.runs.run import Run
from pneumo.training import fit
from tests.conftest import Capture, Patch
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


def test_a_dicom_file_without_a_patient_in_the_table_has_that_of_its_patient_id(data: Path) -> None:
    for name, who in (
        ("NORMAL/0.dcm", PATIENT_ID),
        ("NORMAL/1.dcm", PATIENT_ID),
        ("NORMAL/2.dcm", "other"),
        *((f"PNEUMONIA/{number}.dcm", "a placeholder") for number in range(3)),
    ):
        (data / name).write_bytes(encode(dataset(PatientID=who, StudyID=name[-5])))
    rows = [["NORMAL/0.dcm", "NORMAL", ""], ["NORMAL/1.dcm", "NORMAL", "Smith"]]
    rows += [["NORMAL/2.dcm", "NORMAL", ""], ["PNEUMONIA/c.png", "PNEUMONIA", ""]]
    rows += [[f"PNEUMONIA/{n}.dcm", "PNEUMONIA", who] for n, who in enumerate(("A", "B", ""))]
    csv = data / "table.csv"
    pd.DataFrame(rows, columns=["path", "label", "patient"]).to_csv(csv, index=False)
    table = csv_table(csv, data)
    assert dict(zip(table["path"], table["patient"], strict=True)) == {
        "NORMAL/0.dcm": "Smith", "NORMAL/1.dcm": "Smith",
        "NORMAL/2.dcm": "NORMAL/2.dcm", "PNEUMONIA/c.png": "PNEUMONIA/c.png",
        "PNEUMONIA/0.dcm": "A", "PNEUMONIA/1.dcm": "B", "PNEUMONIA/2.dcm": "PNEUMONIA/2.dcm",
    }  # fmt: skip


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


def make_run(run_dir: Path, data: Path, *, init: Path | None = None) -> Run:
    """Leaves what is read of a run on a, b and c in ``data``, whose table names their patients."""
    table, _ = folder_table(data)
    table = table.assign(patient=["x", "y", "z"], group=["x", "y", "z"], split="train")
    table["split"] = table["split"].mask(table["path"] == "NORMAL/b.png", "test")
    epoch = {"epoch": 0, "test": {}}
    about = {
        "kind": "folder",
        "split_sha256": split.digest(table),
        "images_sha256": images_digest(data, table),
    }
    metrics = {"schema": 1, "model": "tiny", "protocol": "holdout", "data": about}
    (run_dir / ".hydra").mkdir(parents=True)
    config = {"data": {"source": {"root": str(data)}}, "init": init and str(init)}
    (run_dir / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    table[split.COLUMNS].to_csv(run_dir / "split.csv", index=False)
    content = metrics | {"best": epoch, "last": epoch}
    (run_dir / "metrics.json").write_text(json.dumps(content))
    return Run.open(run_dir)


def test_its_own_images_are_known_by_their_bytes_also_where_they_have_moved(
    data: Path, tmp_path: Path
) -> None:
    run, copy = make_run(tmp_path / "run", data), tmp_path / "copy"
    shutil.copytree(data, copy)

    def shared(root: Path) -> str:
        return shared_with_train(run, *labelled(root, patient_key="person"))[0]

    same = "2 identical images ('a.png', 'c.png')"
    assert shared(copy) == same
    own = f"; 1 of these images are validation and test images of {run.name}"
    for root, end in ((data, True), (copy, False)):
        compared = shared_with_train(run, *labelled(root, patient_key="person"))[1]
        assert compared.endswith(own) == end
    (data / "NORMAL/b.png").unlink()  # the run's folder is no longer whole
    assert shared(copy) == same
    data.rename(tmp_path / "away")
    assert shared(copy) == same
    add(copy, "NORMAL/b.png", grey=200)  # other images may have these names
    assert shared(copy) == ""


def test_drawn_images_have_the_names_of_the_set_and_no_patients(data: Path, tmp_path: Path) -> None:
    run, real = make_run(tmp_path / "run", data), tmp_path / "real"
    names = ("test/NORMAL/IM-0001-0001.png", "test/PNEUMONIA/person7_virus_9.png")
    for grey, name in enumerate(names, 100):
        add(real, name, grey=grey)
    images = labelled(real, patient_key="person")
    run.__dict__["split"] = run.split.assign(patient="person7")
    for kind, shared in (("kermany", "1 patient ('person7')"), ("phantom", "")):
        run.metrics["data"]["kind"] = kind
        assert shared_with_train(run, *images)[0] == shared


def test_paths_are_no_patients_where_all_bytes_can_be_compared(data: Path, tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "run", data), tmp_path / "other"
    run.__dict__["split"] = run.split.assign(patient=run.split["path"])  # unknown ones
    for grey, name in enumerate(("NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png"), 100):
        add(other, name, grey=grey)
    images = labelled(other, patient_key="person")
    assert shared_with_train(run, *images)[0] == ""
    (data / "NORMAL/a.png").unlink()
    assert shared_with_train(run, *images)[0] == "2 patients ('a.png', 'c.png')"
    _, note = scoring.other_images([run], other, allow_overlap=True).notes
    assert note.startswith("3 of these 3 images have no known patient; each counts as one of its")
    run.metrics["data"]["note"] = "LABELS BY CHANCE"
    for own, of in ((True, ""), (False, "of the images of the training: ")):
        notes = scoring.warnings([run], own=own, checkpoint="best")
        assert notes == [f"{of}LABELS BY CHANCE"]


def test_images_of_the_run_that_it_started_from_are_not_new(data: Path, tmp_path: Path) -> None:
    first, other = make_run(tmp_path / "first", data), tmp_path / "other"
    for grey, name in enumerate(("NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png"), 100):
        add(other, name, grey=grey)
    run = make_run(tmp_path / "run", other, init=first.run_dir)
    how: dict[str, Any] = {"allow_overlap": False, "instead": "Leave them out"}
    with pytest.raises(ValueError, match=r"split of \S*first, from which \S*run started. Leave"):
        new_images([run], data, **how)
    next_one = make_run(tmp_path / "next", other, init=run.run_dir)
    _, table = labelled(data, patient_key="person")
    with pytest.raises(ValueError, match=r"init must not have been trained on .*first was"):
        fit.check_init(next_one, data, table.assign(split="test"))
    first.run_dir.rename(tmp_path / "away")
    _, _, (_, lost) = new_images([run], data, **how)
    assert lost.compared == "nothing, since that run is not there"


@pytest.mark.slow
def test_a_note_states_that_the_run_s_images_have_other_bytes(
    finished_run: Path, phantoms: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    for folder, noted in ((phantoms, False), (tmp_path / "saved-again", True)):
        if noted:
            shutil.copytree(phantoms, folder)
            changed = next(folder.rglob("*.jpeg"))
            changed.write_bytes(changed.read_bytes() + b"\0")
        monkeypatch.setenv("PNEUMO_DATA", str(folder))
        for _ in range(2):
            assert scoring.own_root(Run.open(finished_run)) == folder
        assert capsys.readouterr().err.count("other bytes") == noted
