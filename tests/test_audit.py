"""The audit: its counts, findings and sentences, and bad input."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumo import audit
from pneumo.auditing import copies, findings, shortcuts
from pneumo.auditing.copies import ACROSS, identical, near_identical, sheet, summary
from pneumo.auditing.files import read_files
from pneumo.auditing.page import TABLES
from pneumo.auditing.sources import open_set
from pneumo.data.image import jpeg_quality, saved_as
from pneumo.data.kermany import index
from pneumo.report.report_folder import audit_link
from tests.conftest import Call, Patch, Refused


def save(
    path: Path, *, seed: int, size: tuple[int, int] = (64, 64), bright: int = 0, quality: int = 75
) -> Path:
    """A smooth picture of its own, which compression hardly changes."""
    rng = np.random.default_rng(seed)
    grid = Image.fromarray(rng.integers(0, 150 + bright, (8, 8), dtype=np.uint8) + np.uint8(bright))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.resize(size, Image.Resampling.BICUBIC).save(path, quality=quality)
    return path


def make_set(root: Path, *, num: int = 40, **how: Callable[[bool], Any]) -> Path:
    """The set's layout, one image per patient, a quarter of them in test, half of them NORMAL.

    ``how``: arguments of save, each a function of whether the image is of PNEUMONIA.
    """
    for number in range(num):
        sick = bool(number % 2)
        source = "test" if number % 8 < 2 else "train"
        name = f"PNEUMONIA/person{number}_virus_{number}" if sick else f"NORMAL/IM-{number:04}-0001"
        arguments = {key: value(sick) for key, value in how.items()}
        save(root / source / f"{name}.jpeg", seed=number, **arguments)
    return root


def numbers(out: Path) -> dict[str, Any]:
    found = json.loads((out / "audit.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def spoiled(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated radiographs with all that an audit looks for: copies, a broken file, a Mac's."""
    root = tmp_path_factory.mktemp("spoiled") / "set"
    shutil.copytree(phantoms, root)
    normal = sorted((root / "train" / "NORMAL").glob("*.jpeg"))[10]
    # one person's radiograph in test as well, and under the other label
    shutil.copy(normal, root / "test" / "NORMAL" / "IM-9001-0001.jpeg")
    shutil.copy(normal, root / "train" / "PNEUMONIA" / "person9002_virus_9002.jpeg")
    other = sorted((root / "train" / "PNEUMONIA").glob("*.jpeg"))[20]
    with Image.open(other) as opened:
        half = opened.resize((opened.width // 2, opened.height // 2))
        half.save(root / "test" / "PNEUMONIA" / "person9003_bacteria_9003.jpeg", quality=60)
    (root / "train" / "NORMAL" / "IM-9004-0001.jpeg").write_bytes(b"\xff\xd8\xff no image")
    (root / "train" / "NORMAL" / "notes.txt").write_text("no image")
    shutil.copytree(root / "test" / "NORMAL", root / "chest_xray" / "test" / "NORMAL")
    save(root / "chest_xray" / "train" / "NORMAL" / "IM-0001-0001.jpeg", seed=1)
    mac = root / "__MACOSX" / "train" / "NORMAL"
    mac.mkdir(parents=True)
    (mac / "._IM-0001-0001.jpeg").write_bytes(b"\0\5\26\7")
    return root


@pytest.fixture(scope="module")
def out(spoiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audit of it."""
    folder = tmp_path_factory.mktemp("audits") / "audit"
    assert audit.main([str(spoiled), "--out", str(folder)]) == 3  # a file cannot be read
    return folder


def test_counts_and_files_that_are_not_used(out: Path, spoiled: Path) -> None:
    found = numbers(out)
    counted = {row["source"]: row for row in found["counts"]}
    assert counted["all"]["images"] == found["data"]["images"] == 123
    assert counted["test"]["NORMAL"] == len(list((spoiled / "test" / "NORMAL").iterdir()))
    assert counted["train"]["images"] + counted["test"]["images"] == 123
    assert found["data"]["patients"]["person"] == index(spoiled)["patient"].nunique()
    ((path, why),) = (broken.values() for broken in found["unreadable"])
    assert path == "train/NORMAL/IM-9004-0001.jpeg"
    assert "IM-9004" not in why
    assert found["left_out"] == ["train/NORMAL/notes.txt"]
    listed = pd.read_csv(out / "files.csv").set_index("path")
    assert len(listed) == 123
    path = "test/PNEUMONIA/person9003_bacteria_9003.jpeg"
    row = listed.loc[path]
    assert (row["quality"], row["bytes"]) == (60, (spoiled / path).stat().st_size)
    with Image.open(spoiled / path) as opened:
        assert (row["width"], row["height"], row["mode"]) == (*opened.size, opened.mode)


def test_copies_across_patients_labels_splits_and_folders(out: Path, spoiled: Path) -> None:
    found, same = numbers(out), pd.read_csv(out / "identical.csv")
    first = same[same["set"] == 1]  # what crosses most comes first
    assert {"test/NORMAL/IM-9001-0001.jpeg", "train/PNEUMONIA/person9002_virus_9002.jpeg"} < {
        *first["path"]
    }
    assert len(first) == 3
    assert first[[f"across_{name}" for name in ("patients", "labels", "own_split")]].all(axis=None)
    assert not first["across_random_split"].any()  # since their patients are joined
    total = {"sets": same["set"].nunique(), "files": len(same)}
    assert total.items() < found["identical"].items()
    assert found["identical"]["across"]["own_split"] == 1
    near = pd.read_csv(out / "near_identical.csv")  # of another size and quality
    (row,) = near[near["correlation"] >= 0.99].to_dict("records")
    assert "test/PNEUMONIA/person9003_bacteria_9003.jpeg" in (row["path"], row["other_path"])
    assert row["across_own_split"] and row["across_patients"]
    assert found["near_identical"]["as_copies"] == 1
    num = len(list((spoiled / "test" / "NORMAL").iterdir()))
    assert found["nested"] == [{"folder": "chest_xray", "images": num + 1, "identical": num}]


def test_the_page_is_whole_and_loads_nothing(out: Path) -> None:
    text = (out / "audit.html").read_text()
    assert text.rstrip().endswith("</html>")
    assert "<script" not in text
    pictures = re.findall(r'<img src="([^"]*)" alt="[^"]', text)
    assert 2 < len(pictures) <= 24
    assert all(source.startswith("data:") for source in pictures)
    links = [link for link in re.findall(r'(?:src|href)="([^"]*)"', text) if link[:5] != "data:"]
    assert links == ["audit.json", *TABLES]
    assert {path.name for path in out.iterdir()} == {"audit.html", *links}
    said = numbers(out)["findings"]
    assert said[0] == findings.GENERATED
    assert "AUROC" in said[1] or "No baseline could be scored" in said[1]
    assert f'<p class="lead">{said[0]}</p>' in text
    assert "GENERATED IMAGES" in text
    assert str(out.parent) not in text


@pytest.mark.parametrize(
    ("how", "num", "auroc", "finding"),
    [
        (
            {"quality": lambda sick: 75 if sick else 95},
            80,
            {"header": (1, 1), "size": (0.5, 0.5)},
            "a classifier of only a file's size, mode and JPEG quality, without pixels, "
            "reaches 1.000 there",
        ),
        (
            {"bright": lambda sick: 60 * sick},
            80,
            {"header": (0.5, 0.5), "thumbnail": (0.9, 1)},
            "learns nothing, since these are the same for all files of the train split, and a",
        ),
        ({}, 60, {"header": (0.5, 0.5)}, "This audit finds no shortcut, which does not show that"),
    ],
    ids=["a header that separates", "brightness that separates", "no shortcut"],
)
def test_the_first_finding_is_what_a_score_is_worth(
    how: Any, num: int, auroc: dict[str, Any], finding: str, tmp_path: Path, call: Call
) -> None:
    root = make_set(tmp_path / "set", num=num, **how)
    shown = call("audit", root, "--out", tmp_path / "audit").out
    found = numbers(tmp_path / "audit")
    for name, (low, high) in auroc.items():
        baseline = found["protocols"]["paper"]["baselines"][name]
        assert low <= baseline["auroc"] <= high
        assert baseline.get("all_alike", False) == ((low, high) == (0.5, 0.5))
    assert finding in found["findings"][0]
    assert " ".join(shown.split()).startswith(found["findings"][0])
    assert max(len(line) for line in shown.splitlines() if str(tmp_path) not in line) <= 80
    qualities = {(row["source"], row["label"]): row["quality"] for row in found["saved"]}
    assert set(qualities["train", "NORMAL"]) == {"95" if "quality" in how else "75"}
    number = len(list((root / "test" / "PNEUMONIA").iterdir()))
    assert qualities["test", "PNEUMONIA"] == {"75": number}


def test_baselines_are_trained_on_the_train_split_only(tmp_path: Path) -> None:
    source = open_set(make_set(tmp_path / "set", num=60), cache_dir=tmp_path)
    files = read_files(source.data_set.root, source.tables["paper"]["path"].tolist())
    table = shortcuts.split_by("paper", source, files)
    assert isinstance(table, pd.DataFrame)
    before = shortcuts.score(table, files)["baselines"]["thumbnail"]["auroc"]
    test = table["split"] == "test"
    swapped = table["label"].map({"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"})
    turned = table.assign(label=table["label"].mask(test, swapped))
    after = shortcuts.score(turned, files)["baselines"]["thumbnail"]["auroc"]
    assert after == pytest.approx(1 - before)


def test_a_users_folder_without_a_test_folder(tmp_path: Path, call: Call) -> None:
    mine, out = tmp_path / "mine", tmp_path / "audit"
    for number in range(60):
        label = ("NORMAL", "PNEUMONIA")[number % 2]
        save(mine / label / f"a{number}.jpg", seed=number)
    with Image.open(mine / "NORMAL" / "a0.jpg") as opened:  # a copy saved again
        opened.save(mine / "NORMAL" / "copy.jpg", quality=60)
    shown = call("audit", mine, "--out", out)
    found = numbers(out)
    assert (found["data"]["kind"], found["data"]["patients"]) == ("folder", {"own": 61})
    why_not = "the set has no train and test folder of its own"
    assert found["protocols"]["official"] == {"why_not": why_not}
    scored = found["protocols"]["paper"]
    assert scored["train"]["patients"] + scored["test"]["patients"] == 60  # the copy is joined
    assert found["near_identical"]["across"]["random_split"] == 0
    assert "! PATIENTS UNKNOWN" in shown.out
    assert "table: --csv FILE with the columns path, label, patient" in shown.text
    assert "not scored; the set has no train and test folder" in (out / "audit.html").read_text()


def test_tables_archives_and_the_challenges_set_have_their_own_patients_and_splits(
    rsna_set: Path, tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    lines = ["path,label,patient,split"]
    arrays: dict[str, Any] = {}
    for n in range(40):
        save(tmp_path / "mine" / f"{n}.jpg", seed=n)
        part = "test" if n % 8 < 2 else "train"
        lines.append(f"{n}.jpg,{('normal', 'pneumonia')[n % 2]},p{n % 2}-{n // 4},{part}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    out = ("--out", tmp_path / "audit")
    call("audit", tmp_path / "mine", "--csv", tmp_path / "table.csv", *out)
    found = numbers(tmp_path / "audit")
    assert (found["data"]["patients"], found["data"]["note"]) == ({"own": 20}, None)
    assert found["protocols"]["official"]["test"]["images"] == 10
    for source, number in (("train", 60), ("val", 10), ("test", 20)):
        pixels = np.random.default_rng(number).integers(0, 255, (number, 28, 28), dtype=np.uint8)
        arrays |= {f"{source}_images": pixels, f"{source}_labels": np.arange(number)[:, None] % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    monkeypatch.setenv("PNEUMO_CACHE", str(tmp_path / "cache"))
    call("audit", tmp_path / "a.npz", *out)
    found = numbers(tmp_path / "audit")
    assert (found["data"]["name"], found["data"]["kind"]) == ("a.npz", "medmnist")
    sizes = [found["protocols"]["official"][split]["images"] for split in ("train", "test")]
    assert sizes == [70, 20]
    call("audit", rsna_set, *out)
    found = numbers(tmp_path / "audit")
    assert (found["data"]["kind"], found["data"]["patients"]) == ("rsna", {"own": 32})
    assert not found["unreadable"]
    assert set(pd.read_csv(tmp_path / "audit" / "files.csv")["format"]) == {"DICOM"}


def test_copies_and_what_they_cross(tmp_path: Path, monkeypatch: Patch) -> None:
    N, P = "NORMAL", "PNEUMONIA"  # noqa: N806
    facts = [("a", N, "1", "train"), ("b", N, "1", "val"), ("c", P, "2", "test")]
    facts += [("d", P, "3", "train"), ("e", N, "4", "train")]
    table = pd.DataFrame(facts, columns=["path", "label", "patient", "source"])
    for path in table["path"]:
        Image.new("L", (9, 9)).save(tmp_path / path, "PNG")
    table["own_split"] = table["source"].replace("val", "train")
    table["random_split"] = ["train", "train", "test", "train", "test"]
    same = identical(table, pd.Series(["x", "x", "y", "y", "z"]))
    assert same["path"].tolist() == ["c", "d", "a", "b"]
    assert same["set"].tolist() == [1, 1, 2, 2]
    crossed = same.drop_duplicates("set")[[f"across_{name}" for name in ACROSS]]
    # Kaggle took val from train, so a and b cross nothing
    assert crossed.to_numpy().tolist() == [[True, False, True, True], [False] * 4]
    hashes = np.array([0, 1, 2**40 - 1, 2**50 - 1, 3], np.uint64)
    thumbnails = np.random.default_rng(0).integers(0, 255, (5, 4, 4), dtype=np.uint8)
    thumbnails[4] = thumbnails[1] // 2
    near = near_identical(table, pd.Series(["v", "v", "x", "y", "z"]), hashes, thumbnails)
    pairs = near[["path", "other_path", "bits"]].to_numpy().tolist()
    assert pairs == [["b", "e", 1], ["a", "e", 2]]
    assert near["correlation"][0] > 0.99
    across = {"patients": 2, "labels": 0, "own_split": 0, "random_split": 2}
    assert summary(same, near)["near_identical"] == {"pairs": 2, "as_copies": 1, "across": across}
    shown = sheet(tmp_path, same, near)
    assert [pair.paths for pair in shown] == [("c", "d"), ("b", "e"), ("a", "e"), ("a", "b")]
    assert shown[0].caption.startswith("identical bytes; different patients; in train and test")
    assert shown[-1].caption == "identical bytes; same patient"
    assert all(pair.picture.startswith("data:image/jpeg;base64,") for pair in shown)
    monkeypatch.setattr(copies, "MOST_PAIRS", 1)
    assert len(sheet(tmp_path, same, near)) == 1


def test_the_quality_is_that_of_the_libjpeg_tables() -> None:
    for quality in (1, 30, 75, 95, 100):
        file = io.BytesIO()
        Image.new("L", (30, 20)).save(file, "JPEG", quality=quality)
        size = {"format": "JPEG", "mode": "L", "width": 30, "height": 20}
        assert saved_as(file.getvalue()) == size | {"quality": str(quality)}
    assert jpeg_quality([*[1] * 63, 2]) == "about 100"


def test_a_mistake_leaves_nothing(tmp_path: Path, refused: Refused, monkeypatch: Patch) -> None:
    monkeypatch.setenv("PNEUMO_CACHE", str(tmp_path / "cache"))
    odd, good = (make_set(tmp_path / name, num=24) for name in ("odd", "good"))
    save(odd / "train" / "NORMAL" / "anna.jpeg", seed=1)
    save(tmp_path / "one" / "NORMAL" / "a.jpeg", seed=1)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.npz").write_text("b")
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "broken" / label).mkdir(parents=True)
        (tmp_path / "broken" / label / "a.png").write_bytes(b"a")
    for message, *words in (
        ("DIR must hold NORMAL/ and PNEUMONIA/", tmp_path / "gone"),
        ("got none of PNEUMONIA", tmp_path / "one"),
        ("DIR must be PneumoniaMNIST's file", tmp_path / "a.txt"),
        ("DIR must be PneumoniaMNIST's file", tmp_path / "b.npz"),
        ("one image must be readable; none of 2 is: NORMAL", tmp_path / "broken"),
        ("got 'train/NORMAL/anna.jpeg'", odd),
        ("--csv must be a file; there is no", good, "--csv", tmp_path / "no.csv"),
        ("--csv requires --kind folder or no", good, "--csv", "a", "--kind", "kermany"),
        ("--out must be new, empty or hold an earlier audit", good, "--out", good),
    ):
        where = () if "--out" in words else ("--out", tmp_path / "audit")
        refused(message, "audit", *words, *where)
        assert not (tmp_path / "audit").exists()
    assert not list(tmp_path.glob(".audit*"))


def test_unknown_names_can_be_skipped_or_be_of_unknown_patients(tmp_path: Path, call: Call) -> None:
    odd, out = make_set(tmp_path / "odd", num=40), ("--out", tmp_path / "audit")
    save(odd / "train" / "NORMAL" / "anna.jpeg", seed=100)
    call("audit", odd, "--skip-unknown", *out)
    found = numbers(tmp_path / "audit")
    assert found["data"]["images"] == 40
    assert found["left_out"] == ["train/NORMAL/anna.jpeg"]
    assert found["nested"] == []
    call("audit", odd, "--kind", "folder", *out)  # in its place
    assert numbers(tmp_path / "audit")["data"]["images"] == 41


def test_the_report_links_an_audit_of_its_own_data(out: Path, tmp_path: Path) -> None:
    link = audit_link(out, report=out.parent / "a b" / "report", kinds={"phantom"})
    assert [*link.values()] == ["set", findings.GENERATED, "../../audit/audit.html"]
    with pytest.raises(
        ValueError, match=r"--audit must be of the runs' data set \(kermany\); .* ph"
    ):
        audit_link(out, report=out, kinds={"kermany"})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"--audit must be a folder that python -m pneumo\.au"):
            audit_link(tmp_path, report=out, kinds={"phantom"})
        (tmp_path / "audit.json").write_text('{"data": []}')


@pytest.mark.realdata
@pytest.mark.slow
def test_the_real_set(real_data: Path, tmp_path: Path, call: Call) -> None:
    call("audit", real_data, "--out", tmp_path / "audit")
    found = numbers(tmp_path / "audit")
    assert found["data"]["images"] == 5856
    assert found["data"]["patients"] == {
        "person": 1674 + 1444, "split_person": 1844 + 1444, "series": 2653 + 1444
    }  # fmt: skip
    assert (found["identical"]["sets"], found["identical"]["files"]) == (30, 62)
    assert found["identical"]["across"] == {
        "patients": 1, "labels": 0, "own_split": 0, "random_split": 0
    }  # fmt: skip
    assert found["near_identical"]["as_copies"] == 0  # of 17 million pairs
    crossing = pd.read_csv(tmp_path / "audit/identical.csv").query("set == 1")["path"]
    assert [re.sub(r".*IM-(\d+).*", r"\1", path) for path in crossing] == ["0095", "0096"]
    paper, official = (found["protocols"][name] for name in ("paper", "official"))
    assert (official["train"]["images"], official["test"]["images"]) == (5232, 624)
    assert paper["baselines"]["thumbnail"]["auroc"] == pytest.approx(0.985, abs=0.005)
    assert official["baselines"]["thumbnail"]["auroc"] == pytest.approx(0.914, abs=0.01)
    assert found["findings"][0].startswith("A network's AUROC near or below 0.98")
