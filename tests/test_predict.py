import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pneumo.data import image, phantom, reader
from pneumo.data.kermany import index
from pneumo.evaluation import scores
from pneumo.inference import ensemble, ood
from pneumo.inference.networks import Networks
from pneumo.runs import run_folder
from pneumo.runs.run import Run
from tests.conftest import Call, Patch, Refused

# all of it stands on a run that is trained first
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("environment")]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def paths(phantoms: Path) -> list[str]:
    table = index(phantoms)
    return [str(phantoms / path) for path in table["path"][:7]]


def test_probabilities_are_those_of_the_training(
    finished_run: Path, phantoms: Path, call: Call
) -> None:
    known = Run.open(finished_run).of_split("test")
    paths = [str(phantoms / path) for path in known["path"]]
    found = call("predict", finished_run, *paths).rows
    assert [row["path"] for row in found] == paths
    p = np.array([float(row["p_pneumonia"]) for row in found])
    np.testing.assert_allclose(p, known["p_pneumonia"], atol=1e-5)
    np.testing.assert_allclose(1 - p, [float(row["p_normal"]) for row in found], atol=1e-12)
    fixed = ensemble.mean_operating_point([Run.open(finished_run)])
    assert fixed.temperature is not None
    assert {row["threshold_from"] for row in found} == {"validation"}
    for row, value in zip(found, p, strict=True):
        assert float(row["threshold"]) == fixed.threshold
        assert row["decision"] == ("PNEUMONIA" if value >= fixed.threshold else "NORMAL")
        logit = np.log(value / (1 - value)) / fixed.temperature
        assert float(row["p_pneumonia_calibrated"]) == pytest.approx(1 / (1 + np.exp(-logit)))


@pytest.mark.gpu
def test_gpu_and_cpu_agree(finished_run: Path, paths: list[str]) -> None:
    both = []
    for device in ("cpu", "cuda"):
        networks = Networks([Run.open(finished_run)], checkpoint="best", device=device)
        batch = list(reader.read_all(paths, shapes=networks.shapes, threads=2))
        both.append(networks.score(batch).pneumonia)
    np.testing.assert_allclose(both[0], both[1], atol=1e-4)


def test_several_runs_are_averaged_and_a_reference_is_of_its_weights(
    finished_run: Path, run: Path, paths: list[str], call: Call
) -> None:
    state = torch.load(run / run_folder.BEST, weights_only=True)
    state["state_dict"]["network.head.bias"] += torch.tensor([1.0, 0.0])
    torch.save(state, run / run_folder.BEST)
    assert "or a copy of it" in call("predict", finished_run, run, *paths, code=2).err
    text = (run / "metrics.json").read_text()
    (run / "metrics.json").write_text(text.replace('"seed": ', '"seed": 9', 1))
    calls = [
        call("predict", *runs, *paths) for runs in ([finished_run], [run], [finished_run, run])
    ]
    p = [[float(row["p_pneumonia"]) for row in done.rows] for done in calls]
    np.testing.assert_allclose(np.mean(p[:2], axis=0), p[2], atol=1e-9)
    assert all(float(row["ood_score"]) > 0 for row in calls[0].rows)
    assert "note: ood checks files only" in calls[1].err
    assert {row["ood_score"] for row in calls[1].rows} == {""}


def test_json_lines_and_csv_hold_the_same_and_an_output_is_whole_or_not_at_all(
    finished_run: Path, paths: list[str], tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    rows, out = call("predict", finished_run, *paths).rows, tmp_path / "a.jsonl"
    out.write_text("before")
    with monkeypatch.context() as patch:
        patch.setattr(Networks, "score", Mock(side_effect=KeyboardInterrupt))
        call("predict", finished_run, *paths, "--out", out, code=130)
    assert out.read_text() == "before"
    assert call("predict", finished_run, *paths, "--out", out).out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["path"] for line in lines] == paths
    for line, row in zip(lines, rows, strict=True):
        assert line["ood"] is (row["ood"] == "true")
        assert line["p_pneumonia"] == float(row["p_pneumonia"])
        assert line["error"] is None


def test_bad_files_are_rows_and_the_others_go_on(
    finished_run: Path, paths: list[str], tmp_path: Path, call: Call
) -> None:
    whole = Path(paths[0]).read_bytes()
    bad = {
        "cut.jpeg": (whole[: len(whole) // 2], "damaged or truncated"),
        "empty.png": (b"", "must be a PNG, JPEG or DICOM image"),
        "text.png": (b"hello", "must be a PNG, JPEG or DICOM image"),
        "bomb.png": (png(np.zeros((12_000, 12_000), bool)), "1 to 100,000,000 pixels"),
    }
    for name, (data, _) in bad.items():
        (tmp_path / name).write_bytes(data)
    names = [paths[0], *(str(tmp_path / name) for name in bad), "gone.png", "a\0b", paths[1]]
    done = call("predict", finished_run, *names, code=3)
    assert [bool(row["error"]) for row in done.rows] == [False, *[True] * 6, False]
    for row, (_, message) in zip(done.rows[1:5], bad.values(), strict=True):
        assert message in row["error"]
        assert row["p_pneumonia"] == row["decision"] == row["ood"] == ""
    assert "cannot be read (No such file" in done.rows[5]["error"]
    assert "8 files: 0 flagged, 6 unreadable; written to standard output\n" in done.err
    assert "Traceback" not in done.err


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_pictures_are_drawn_beside_the_table_and_odd_names_keep_both(
    finished_run: Path, paths: list[str], tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    pytest.importorskip("captum")
    monkeypatch.chdir(tmp_path)
    Path("broken.png").write_bytes(b"no image")
    names = [os.fsdecode(b"a\xff.jpeg"), "=cmd|x.jpeg"]  # no UTF-8; a formula
    for name in names:
        shutil.copy(paths[0], name)
    given = (*names, "broken.png", "--heatmap", "maps", "--out", "a.csv")
    call("predict", finished_run, *given, code=3)
    found = list(csv.DictReader(Path("a.csv").read_text().splitlines()))
    assert [bool(row["heatmap"]) for row in found] == [True, True, False]
    assert found[1]["path"] == "'=cmd|x.jpeg"
    pictures = [row["heatmap"].removeprefix("'") for row in found if row["heatmap"]]
    assert sorted(p.name for p in Path("maps").glob("*.png")) == sorted(pictures)
    listed = json.loads(Path("maps/heatmaps.json").read_text())["images"]
    for row, one in zip(found, listed, strict=False):
        assert one["probability"] == pytest.approx(float(row["p_pneumonia"]), abs=1e-5)


def test_folders_are_walked_sorted_without_what_is_hidden(paths: list[str], tmp_path: Path) -> None:
    for name in ("b/2.jpeg", "b/1.JPG", "a.jpeg", "__MACOSX/x.jpeg", ".hid/x.jpeg", "b/._1.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(paths[0], tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "1.2.3").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "loop").symlink_to(tmp_path)
    names, others = reader.find([str(tmp_path), "x"])
    inside = [name.removeprefix(f"{tmp_path}/") for name in names]
    assert inside == ["1.2.3", "a.jpeg", "b/1.JPG", "b/2.jpeg", "x"]
    assert others == 2  # the notes, and the link to a folder, which is not followed


def test_standard_input_is_an_image_or_a_list(
    finished_run: Path, paths: list[str], tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    def standard(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    def names(*words: str | Path) -> list[str]:
        return [row["path"] for row in call("predict", finished_run, *words).rows]

    standard(Path(paths[0]).read_bytes())
    one, other = call("predict", finished_run, "-", paths[0]).rows
    assert one["path"] == "-"
    assert one["p_pneumonia"] == other["p_pneumonia"]
    standard(f"{paths[1]}\n\n{paths[2]}\n".encode())
    assert names("--list", "-") == paths[1:3]
    listed, odd = tmp_path / "list", tmp_path / "a\u2028b\u0085c.jpeg"
    shutil.copy(paths[0], odd)
    for encoding in ("utf-8", "utf-8-sig"):  # with a byte order mark
        listed.write_bytes(f"{odd}\r\n{paths[3]}\n".encode(encoding))
        assert names(paths[4], "--list", listed) == [paths[4], str(odd), paths[3]]
    for words in (("-", "--list", "-"), ("-", "-"), ("--list", "gone"), ()):
        assert call("predict", finished_run, *words, code=2).err.count("error: ") == 1


def test_the_users_threshold_counts_and_the_last_checkpoint_has_no_operating_point(
    finished_run: Path, paths: list[str], call: Call
) -> None:
    for threshold, decision in (("0", "PNEUMONIA"), ("1", "NORMAL")):
        rows = call("predict", finished_run, *paths, "--threshold", threshold).rows
        assert {(row["decision"], row["threshold_from"]) for row in rows} == {(decision, "given")}
    with pytest.raises(SystemExit, match="2"):
        call("predict", finished_run, *paths, "--threshold", "nan")
    done = call("predict", finished_run, *paths, "--checkpoint", "last")
    assert "note: no operating point and no calibration: " in done.err
    for row in done.rows:
        assert (row["threshold"], row["threshold_from"]) == ("0.5", "argmax")
        assert row["p_pneumonia_calibrated"] == row["p_normal_calibrated"] == ""


def test_output_replaces_no_part_of_a_run_and_no_image(
    run: Path, paths: list[str], tmp_path: Path, refused: Refused
) -> None:
    radiograph = Path(shutil.copy(paths[0], tmp_path / "radiograph.jpeg"))
    for message, out in (
        ("must not replace a part of a run", run / "metrics.json"),
        ("must not replace a part of a run", run / "checkpoints" / ".." / ".hydra/x"),
        ("--out must name a file", tmp_path),
        ("--out must lie in a folder that exists", tmp_path / "gone" / "a.csv"),
        ("--out must not replace an image that is read", radiograph),
    ):
        refused(message, "predict", run, radiograph, "--out", out, keeps=tmp_path)


# What is unlike the training data


def test_pixels_that_cannot_be_a_radiograph_are_named(paths: list[str], tmp_path: Path) -> None:
    grey = image.decode(Path(paths[0]).read_bytes())
    rng = np.random.default_rng(0)
    coloured = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    cases = {
        "": png(grey),
        " ": png(np.dstack([grey] * 3)),
        "colour": png(coloured),
        "nearly uniform": png(np.full((200, 300), 90, np.uint8)),
        "small: 90 x 40 pixels": png(grey[:40, :90]),
        "shape: 500 x 100 pixels": png(np.tile(grey[:100, :100], (1, 5))),
    }
    for reason, data in cases.items():
        (tmp_path / "radiograph.png").write_bytes(data)
        radiograph = reader.read(str(tmp_path / "radiograph.png"), shapes=[])
        assert not radiograph.error
        assert "; ".join(radiograph.odd) == reason.strip()


def test_the_layout_of_what_is_no_radiograph_is_far(phantoms: Path, tmp_path: Path) -> None:
    """The score of the flag: AUROC of odd pictures against radiographs of new patients."""
    fresh = phantom.generate(tmp_path / "fresh", num_images=60, seed=9, progress=False)
    own, new = (
        np.stack([image.prepare((root / p).read_bytes(), size=64) for p in index(root)["path"]])
        for root in (phantoms, fresh)
    )
    layout, rng = ood.fit_detector(ood.layout(own)), np.random.default_rng(0)
    ordinary = layout.distance(ood.layout(new))
    assert (ordinary > 1).mean() <= 0.05
    small = rng.integers(0, 256, (len(new), 6, 6), dtype=np.uint8)
    for name, pictures in {
        "inverted": 255 - new,
        "upside down": new[:, ::-1],
        "on its side": np.rot90(new, axes=(1, 2)),
        "noise": rng.integers(0, 256, new.shape, dtype=np.uint8),
        "clouds": np.stack([cv2.resize(s, (64, 64), interpolation=cv2.INTER_CUBIC) for s in small]),
    }.items():
        far = layout.distance(ood.layout(np.ascontiguousarray(pictures)))
        label = np.repeat([0, 1], [len(ordinary), len(far)])
        assert scores.auroc(label, np.concatenate([ordinary, far])) > 0.95, name
        assert (far > 1).mean() > 0.7, name
