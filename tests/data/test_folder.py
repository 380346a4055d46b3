"""A user's own data: folders, tables and PneumoniaMNIST, from index to card."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumo.data import medmnist
from pneumo.data.folder import Folder, csv_table, folder_table
from pneumo.data.kermany import Kermany
from pneumo.data.sets import images_of
from tests.conftest import SMALL, Call, Capture, Command, Refused

RNG = np.random.default_rng(0)


def draw(path: Path, *, bright: bool, seed: int) -> None:
    """A picture that a network can learn at once: bright or dark in its lower half."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 120, (40, 48), dtype=np.uint8)
    pixels[20:] += np.uint8(120 * bright)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(np.repeat(pixels, 2, 0), 2, 1)).save(path)


@pytest.fixture
def radiographs(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for number in range(40):
        label = ("NORMAL", "PNEUMONIA")[number % 2]
        draw(root / label / f"radiograph {number}.png", bright=bool(number % 2), seed=number)
    (root / "NORMAL" / "notes.txt").write_text("no image")
    return root


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def listed(radiographs: Path) -> list[tuple[int, str, str]]:
    """Number, path and label of the images, sorted."""
    paths = sorted(p.relative_to(radiographs).as_posix() for p in radiographs.rglob("*.png"))
    return [(number, path, path.partition("/")[0]) for number, path in enumerate(paths)]


def test_labels_patients_and_splits_of_folders_and_tables(
    radiographs: Path, tmp_path: Path
) -> None:
    table, left_out = folder_table(radiographs)
    assert table["label"].value_counts().to_dict() == {"NORMAL": 20, "PNEUMONIA": 20}
    assert (table["patient"] == table["path"]).all()
    assert left_out == ["NORMAL/notes.txt"]
    for part in ("train", "test"):
        draw(tmp_path / "parts" / part / "NORMAL" / "a.png", bright=False, seed=1)
        draw(tmp_path / "parts" / part / "PNEUMONIA" / "a.png", bright=True, seed=2)
    table, _ = folder_table(tmp_path / "parts")
    assert sorted(set(table["source"])) == ["test", "train"]
    rows = [
        {"path": path, "label": label.lower(), "patient": f"p{n // 2}", "split": "train"}
        for n, path, label in listed(radiographs)
    ]
    table = csv_table(write_csv(tmp_path / "a.csv", rows), radiographs)
    assert table["patient"].nunique() == 20
    assert set(table["source"]) == {"train"}
    assert set(table["label"]) == {"NORMAL", "PNEUMONIA"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "sick"}, "label of data.csv must be one of NORMAL, PNEUMONIA; got 'SICK'"),
        ({"split": "valid"}, "split of data.csv must be one of train, val, test; got 'valid'"),
        ({"subtype": "virus"}, "subtype of data.csv .* not so: 'NORMAL/radiograph 2.png'. Correct"),
        ({"label": "PNEUMONIA", "subtype": "normal"}, "subtype of data.csv .*; not so: 'NORMAL/ra"),
        ({"path": "gone.png"}, r"must be a file below data\.root=.*; missing: 'gone\.png'"),
        (
            {"path": "./NORMAL/radiograph 0.png", "label": "PNEUMONIA"},
            r"must have one label; row 2: NORMAL/radiograph 0\.png \(NORMAL\) and "
            r"row 3: \./NORMAL/radiograph 0\.png \(PNEUMONIA\) are the same file",
        ),
        (
            {"path": "NORMAL/../NORMAL/radiograph 0.png", "patient": "b"},
            r"must have one patient; row 2: .* \(a\) and row 3: .* \(b\) are the same file",
        ),
        ({"path": "../mine/NORMAL/radiograph 0.png"}, "must be a file below data"),
    ],
)
def test_wrong_rows(
    radiographs: Path, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    plain = {"label": "NORMAL", "split": "train", "subtype": "", "patient": "a"}
    rows = [{"path": f"NORMAL/radiograph {n}.png", **plain} for n in (0, 2)]
    rows[1] |= change
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        csv_table(write_csv(tmp_path / "a.csv", rows), radiographs)


def test_a_file_counts_once(
    radiographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (radiographs / "NORMAL" / "link.png").symlink_to(radiographs / "NORMAL" / "radiograph 0.png")
    table, _ = folder_table(radiographs)
    assert len(table) == 40
    spelled = ["NORMAL/link.png", "NORMAL//radiograph 0.png"]
    spelled += ["PNEUMONIA/../NORMAL/radiograph 0.png"]
    rows = [{"path": p, "label": p.partition("/")[0], "patient": ""} for p in table["path"]]
    rows += [{"path": p, "label": "NORMAL", "patient": "a"} for p in spelled]
    listed = csv_table(write_csv(tmp_path / "a.csv", rows), radiographs)
    assert list(listed["path"]) == list(table["path"])
    assert listed["patient"][listed["known_by"] == "table"].tolist() == ["a"]
    assert [message[:7] for message in caplog.messages] == ["1 of 41", "3 of 43"]


def test_one_image_under_both_labels(
    train: Command, radiographs: Path, capsys: Capture, call: Call
) -> None:
    (radiographs / "PNEUMONIA").rename(radiographs / "sick")
    draw(radiographs / "PNEUMONIA" / "y.png", bright=True, seed=99)
    path, other = radiographs / "NORMAL" / "radiograph 0.png", radiographs / "PNEUMONIA" / "x.png"
    message = "an image must have one label; NORMAL/radiograph 0.png (NORMAL) and PNEUMONIA/x.png "
    message += "(PNEUMONIA) {}. Remove the wrong one"
    other.symlink_to(path)
    assert train("data=folder", f"data.root={radiographs}", "protocol=holdout", *SMALL) == 2
    assert message.format("are the same file") in capsys.readouterr().err
    linked = call("audit", radiographs, "--out", "audit", code=2)
    assert message.format("are the same file") in linked.err
    other.unlink()
    shutil.copy(path, other)
    copied = call("evaluate", "pretrained:compact-robust", "--data", radiographs, code=2)
    assert message.format("have the same bytes") in copied.err
    # the audit is to find all of them
    across = "1 across labels, which train, evaluate and calibrate refuse"
    assert across in call("audit", radiographs, "--out", "audit").text


def test_names_are_compared_without_what_cannot_be_seen(radiographs: Path, tmp_path: Path) -> None:
    names = ["pat7", "pat7 ", "\u00a0pat7", "pat\u200b7", "Jos\u00e9", "Jose\u0301", "PAT7"]
    names += ["pat 7"]
    rows = [
        {"path ": f"NORMAL/radiograph {2 * n}.png", "label": "Normal ", "patient": name}
        for n, name in enumerate(names)
    ]
    rows += [rows[0] | {"path ": "PNEUMONIA/radiograph 1.png", "label": "PNEUMONIA"}]
    table = csv_table(write_csv(tmp_path / "a.csv", rows), radiographs)
    counts = table["patient"].value_counts().to_dict()
    assert counts == {"pat7": 5, "Jos\u00e9": 2, "PAT7": 1, "pat 7": 1}


def test_patients_without_a_name_are_unknown(radiographs: Path, tmp_path: Path) -> None:
    for unknown in (0, 12, 40):
        rows = [
            {"path": path, "label": label, "patient": " " if n < unknown else f"p{n // 2}"}
            for n, path, label in listed(radiographs)
        ]
        data_set = Folder.open(str(radiographs), str(write_csv(tmp_path / "a.csv", rows)))
        note = f"PATIENTS UNKNOWN: {unknown} of 40 images" if unknown else ""
        assert (data_set.note or "").startswith(note)
        assert bool(data_set.note) == data_set.near_duplicates == (unknown > 0)
        table = data_set.table(patient_key="person", on_unknown_name="error")
        assert table["patient"].nunique() == unknown + (40 - unknown) // 2


def test_names_that_are_not_utf8_are_refused(radiographs: Path, refused: Refused) -> None:
    latin = os.fsdecode(b"caf\xe9.png")
    (radiographs / "NORMAL" / "radiograph 0.png").rename(radiographs / "NORMAL" / latin)
    refused("names of images must be UTF-8; not so: 'NORMAL/caf", "audit", radiographs)


@pytest.mark.slow
def test_a_folder_goes_the_whole_way(
    train: Command, radiographs: Path, tmp_path: Path, call: Call, capsys: Capture
) -> None:
    few = ("data=folder", f"data.root={radiographs}", "protocol=holdout", "trainer.max_epochs=2")
    licence = "data.licence='CC0'"
    assert train("hydra.run.dir=run", *few, licence, "data.batch_size=4", *SMALL) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("PATIENTS UNKNOWN: 40 of 40 images have no patient") == 2
    assert "Left out 1 unused file: 'NORMAL/notes.txt'" in shown
    for command in ("evaluate", "export", "report"):
        call(command, "run")
    card = (tmp_path / "run/export/model-card.md").read_text()
    assert "Licence of the data: CC0" in card
    assert "Guangzhou" not in card
    page = (tmp_path / "run/report/report.html").read_text()
    lists = (tmp_path / "run/export/model-checklists.md").read_text()
    assert "PATIENTS UNKNOWN: 40 of 40" in card
    assert "PATIENTS UNKNOWN: 40 of 40" in page
    assert "No patient is in two splits" not in card
    assert "| Level at which splits are disjoint | to write |" in lists
    assert "Kermany" not in page


def archive(path: Path, **changed: Any) -> Path:
    arrays: dict[str, Any] = {}
    for source, number in (("train", 40), ("val", 12), ("test", 16)):
        labels = np.arange(number)[:, None] % 2
        images = RNG.integers(0, 120, (number, 28, 28), dtype=np.uint8)
        images[labels.ravel() == 1, 14:] += np.uint8(120)
        arrays |= {f"{source}_images": images, f"{source}_labels": labels}
    np.savez(path, **{k: v for k, v in (arrays | changed).items() if v is not None})
    return path


@pytest.mark.parametrize("kind", [bool, np.float64])
def test_pneumoniamnist_has_its_own_split_and_labels_of_any_type(tmp_path: Path, kind: Any) -> None:
    labels = np.arange(40)[:, None] % 2
    path = archive(tmp_path / "a.npz", train_labels=labels.astype(kind))
    data_set = medmnist.MedMnist.open(str(path), str(tmp_path / "cache"))
    table = data_set.table(patient_key="person", on_unknown_name="error")
    assert table["source"].value_counts().to_dict() == {"train": 40, "test": 16, "val": 12}
    sick = table.loc[(table["source"] == "train") & (table["label"] == "PNEUMONIA"), "path"]
    assert [int(Path(name).stem) for name in sick] == list(range(1, 40, 2))
    assert data_set.near_duplicates
    assert str(data_set.note).startswith("PATIENTS UNKNOWN: 68 of 68 images")
    assert data_set.licence.startswith("CC BY 4.0")
    assert (data_set.population, data_set.ages) == (Kermany.population, (1, 5))
    source = {"root": str(path), "cache_dir": str(tmp_path / "cache")}
    assert images_of(source) == data_set.root


def test_other_archives_are_refused(tmp_path: Path) -> None:
    for changed in (
        {"train_labels": np.array([[0.0], [np.nan]] * 20)},
        {"val_images": None},
        {"train_images": np.zeros((40, 28, 28, 3), np.uint8)},
    ):
        path = archive(tmp_path / "a.npz", **changed)
        with pytest.raises(ValueError, match=r"data\.root must be PneumoniaMNIST's file"):
            medmnist.unpack(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("medmnist-*/*"))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        medmnist.unpack(tmp_path / "gone.npz", tmp_path / "cache")
