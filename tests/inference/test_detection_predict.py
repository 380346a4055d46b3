"""Boxes of detectors for image files, by untrained networks or by the answer of a test."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pneumo import api
from pneumo.data import boxes as geometry
from pneumo.data import fingerprint, image
from pneumo.evaluation.detection import NO_BOX
from pneumo.inference import fusion
from pneumo.models.detector import Detector
from pneumo.runs.run import Run
from tests.conftest import Call, Patch, Refused, full_disk
from tests.detection_runs import make_detector

SIZE, FILE = 64, (200, 100)  # pixels of a prepared image; width and height of the files
MODEL = {
    "_target_": "pneumo.models.detector.Detector",
    "architecture": "retinanet",
    "backbone": "mobilenet_v3_large",
    "width": 64,
    "image_size": "${data.image_size}",
    "pretrained": True,  # not fetched: the checkpoint has the weights
    "options": {"score_thresh": 0.01, "detections_per_img": 20},
}


@pytest.fixture(scope="module")
def network() -> Detector:
    torch.manual_seed(0)
    arguments = {k: v for k, v in MODEL.items() if k != "_target_"}
    detector = Detector(**arguments | {"image_size": SIZE, "pretrained": False})  # type: ignore[arg-type]
    for weight in detector.body.get_submodule("head.classification_head.cls_logits").parameters():
        torch.nn.init.normal_(weight, std=0.5)  # otherwise all scores are equal
    return detector.eval()


def finish(folder: Path, network: Detector, *, aspect: str = "pad", **changed: Any) -> Path:
    """A finished detector's run with the network's weights."""
    preprocessing = fingerprint.take(size=SIZE, aspect=aspect, mean=network.mean, std=network.std)
    make_detector(folder, **{"preprocessing": preprocessing} | changed)
    data = {"image_size": SIZE, "aspect": aspect, "source": {}}
    model, views = MODEL | {"name": "retinanet"}, {"scales": [1], "mirror": False}
    config = {"task": "detection", "model": model, "views": views, "data": data}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "checkpoints").mkdir()
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, folder / "checkpoints" / "best.ckpt")
    return folder


@pytest.fixture
def run(network: Detector, tmp_path: Path) -> Path:
    return finish(tmp_path / "run", network)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.jpeg"):
        pixels = rng.integers(0, 255, FILE[::-1], dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return sorted(folder.iterdir())


def answer(patch: Patch, boxes: Any, scores: Any) -> None:
    """Replaces the network: the same boxes, in prepared pixels, for each image."""
    predicted = {"boxes": torch.tensor(boxes).reshape(-1, 4), "scores": torch.tensor(scores)}
    patch.setattr(Detector, "forward", lambda _, x: [predicted] * len(x))


# pad: 200 x 100 becomes 64 x 32 in the middle of 64 x 64, 3.125 pixels of the file for one
BOXES = [[16.0, 24, 32, 40], [0, 20, 8, 30], [40, 0, 50, 10]]  # the last lies in the padding
SCORES = [0.9, 0.6, 0.8]


def test_a_dicom_header_is_flagged_and_ids_are_columns(
    run: Path, rsna_set: Path, images: list[Path], call: Call, refused: Refused
) -> None:
    pydicom = pytest.importorskip("pydicom")
    image = pydicom.dcmread(next(rsna_set.rglob("*.dcm")))
    image.ViewPosition = "LL"
    image.save_as(images[0].with_suffix(".dcm"))
    given = ("predict", run, images[0].with_suffix(".dcm"), images[1], "--ids")
    rows = {row["path"]: row for row in call(*given).rows}
    lateral, other = rows.values()
    assert (lateral["ood"], lateral["ood_reason"]) == ("true", "lateral view: LL")
    assert lateral["SOPInstanceUID"] == image.SOPInstanceUID
    assert (other["ood_reason"], other["SOPInstanceUID"]) == ("", "")
    refused("--format rsna has no columns for --ids", *given, "--format", "rsna")


def test_boxes_of_the_network_are_written_in_pixels_of_the_file(
    network: Detector, run: Path, images: list[Path], call: Call
) -> None:
    opened = Run.open(run)
    assert (opened.image_size, opened.aspect, opened.confidence) == (SIZE, "pad", 0.5)
    row = json.loads(call("predict", run, images[0], "--threshold", "0", "--format", "jsonl").out)
    prepared = image.resize(np.array(Image.open(images[0])), size=SIZE, aspect="pad").copy()
    with torch.inference_mode():
        (expected,) = network(torch.from_numpy(prepared)[None, None])
    sides = geometry.to_file(expected["boxes"].double().numpy(), FILE, size=SIZE, aspect="pad")
    inside = (sides[:, :2] < sides[:, 2:]).all(1)
    assert inside.any()
    written = [[box[name] for name in geometry.SIDES] for box in row["boxes"]]
    np.testing.assert_allclose(written, sides[inside], atol=0.01)
    scores = [box["score"] for box in row["boxes"]]
    np.testing.assert_allclose(scores, expected["scores"].numpy()[inside], rtol=1e-4)


def test_a_box_is_a_row_from_the_confidence_on_and_so_is_an_image_without(
    run: Path, images: list[Path], monkeypatch: Patch, call: Call
) -> None:
    answer(monkeypatch, BOXES, SCORES)
    done = call("predict", run, *images)
    rows = done.rows
    assert [Path(row["path"]).name for row in rows] == ["a.png", "a.png", "b.jpeg", "b.jpeg"]
    sides = [[float(row[name]) for name in geometry.SIDES] for row in rows[:2]]
    assert sides == [[50, 25, 100, 75], [0, 12.5, 25, 43.75]]
    assert float(rows[0]["score"]) == pytest.approx(0.9)
    fixed = {(row["boxes"], row["threshold"], row["threshold_from"]) for row in rows}
    assert fixed == {("2", "0.5", "validation")}
    assert "at least 0.5000, fixed on validation images" in done.err
    (row,) = call("predict", run, images[0], "--threshold", "0.7").rows
    assert (row["boxes"], row["threshold"], row["threshold_from"]) == ("1", "0.7", "given")
    given = ("predict", run, images[0], "missing.png", "--threshold", "0.95")
    empty, missing = call(*given, code=3).rows
    assert (empty["boxes"], empty["score"], empty["x_min"], empty["error"]) == ("0", "", "", "")
    assert (missing["boxes"], missing["ood"], missing["error"] != "") == ("", "", True)
    lines = call(*given, "--format", "jsonl", code=3).out.splitlines()
    assert [json.loads(line)["boxes"] for line in lines] == [[], None]


def test_the_challenges_prediction_string(
    run: Path,
    images: list[Path],
    rsna_set: Path,
    monkeypatch: Patch,
    call: Call,
    refused: Refused,
) -> None:
    answer(monkeypatch, BOXES, SCORES)
    rsna = ("--format", "rsna")
    done = call("predict", run, *images, "missing.png", *rsna, code=3)
    assert done.out == (
        "patientId,PredictionString\n"
        "a,0.9 50 25 50 50 0.6 0 12.5 25 31.25\n"
        "b,0.9 50 25 50 50 0.6 0 12.5 25 31.25\n"
    )
    assert "no row for missing.png" in done.err
    message = f"without its ending; {images[0]} has no unique name"
    refused(message, "predict", run, images[0], "other/a.dcm", *rsna)
    answer(monkeypatch, [], [])
    assert call("predict", run, images[0], *rsna).out == "patientId,PredictionString\na,\n"
    pydicom = pytest.importorskip("pydicom")
    path = next((rsna_set / "stage_2_train_images").iterdir())
    tags = pydicom.dcmread(path)
    answer(monkeypatch, [[0.0, 0, 64, 64]], [0.9])  # in pixels of the DICOM file
    shown = call("predict", run, path, *rsna).out
    assert shown.endswith(f"{path.stem},0.9 0 0 {tags.Columns} {tags.Rows}\n")


def test_a_detector_without_a_confidence_is_noted_and_last_needs_a_threshold(
    network: Detector, run: Path, images: list[Path], tmp_path: Path, call: Call, refused: Refused
) -> None:
    none = finish(tmp_path / "none", network, confidence=NO_BOX)
    err = call("predict", none, images[0]).err
    assert f"no box counts of {none}: at no confidence is the challenge score" in err
    err = call("predict", none, images[0], "--threshold", "0.1").err
    assert "score of at least 0.1000, as given" in err
    (run / "checkpoints" / "best.ckpt").rename(run / "checkpoints" / "last.ckpt")
    last = ("predict", run, images[0], "--checkpoint", "last")
    refused("fixed for its best checkpoint", *last)
    call(*last, "--threshold", "0.3")


def test_overlays_are_a_picture_of_each_image(
    run: Path, images: list[Path], tmp_path: Path, monkeypatch: Patch, call: Call, refused: Refused
) -> None:
    answer(monkeypatch, BOXES, SCORES)
    seen = tmp_path / "seen"
    for _ in range(2):  # a second call replaces them
        rows = call("predict", run, *images, "--overlays", seen).rows
    assert [row["overlay"] for row in rows] == 2 * ["a.png.boxes.png"] + 2 * ["b.jpeg.boxes.png"]
    listed = json.loads((seen / "overlays.json").read_text())["images"]
    assert [entry["boxes"] for entry in listed] == [2, 2]
    with_boxes = np.asarray(Image.open(seen / "a.png.boxes.png").convert("RGB")).astype(int)
    coloured = (with_boxes.max(2) - with_boxes.min(2) > 60).nonzero()
    assert with_boxes.shape == (400, 800, 3)  # 4 for a pixel of the file
    assert coloured[1].max() == pytest.approx(4 * 100, abs=8)
    assert coloured[0].max() == pytest.approx(4 * 75, abs=8)
    given = (run, *images, "--out", tmp_path / "table.csv", "--overlays")
    with full_disk(tmp_path, at=2):
        refused("No space left on device", "predict", *given, seen, keeps=tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    refused("--overlays must be new", "predict", *given, tmp_path / "mine", keeps=tmp_path)


def test_options_and_commands_of_the_other_task_are_refused(
    run: Path, images: list[Path], tmp_path: Path, refused: Refused
) -> None:
    for options in ("--coverage 0.9", "--calibration mine", "--dicom-sr reports", "--heatmap maps"):
        message = f"error: {options.split()[0]} needs classifiers"
        refused(message, "predict", run, images[0], *options.split())
    for options in ("--overlays seen", "--format rsna"):
        given = ("pretrained:compact-robust", images[0], *options.split())
        refused("needs detectors", "predict", *given)
    for command, *arguments in (
        ("heatmap", run, images[0], "--out", tmp_path / "maps"),
        ("export", run),
        ("calibrate", run, "--data", images[0].parent),
    ):
        refused(f"pneumo.predict {run}", str(command), *arguments)
    refused("detector", "evaluate", run, "--data", images[0].parent)
    with pytest.raises(ValueError, match=r"api\.predict takes a classifier; .* is a detector"):
        api.predict(images, run=run)


def test_several_are_fused_with_weights_and_confidence_of_validation(
    network: Detector, run: Path, images: list[Path], tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    pytest.importorskip("ensemble_boxes")
    other = finish(tmp_path / "other", network, seed=1, aspect="stretch")
    answer(monkeypatch, [[16.0, 24, 32, 40]], [0.8])  # stretch: 50, 37.5, 100, 62.5 in the file
    given = ("predict", run, other, images[0], "--format", "jsonl")
    done = call(*given, "--threshold", "0.1")
    assert "fused from 2 detectors with the weights" in done.err
    fixed = fusion.fit([Run.open(place) for place in (run, other)])
    assert " ".join(f"{weight:.3f}" for weight in fixed["weights"]) in done.err
    boxes = json.loads(done.out)["boxes"]  # IoU 0.5: two boxes, each of one member
    assert sorted(box["y_min"] for box in boxes) == pytest.approx([25, 37.5])
    assert max(box["score"] for box in boxes) < 0.8
    assert json.loads(call(*given).out)["threshold"] == fixed["confidence"]
    answer(monkeypatch, [[0.0, 0, 64, 64]], [0.8])  # the whole file in both
    (box,) = json.loads(call(*given, "--threshold", "0.1").out)["boxes"]
    assert [box[name] for name in geometry.SIDES] == pytest.approx([0, 0, *FILE])
    assert box["score"] == pytest.approx(0.8)


def test_trust_and_preprocessing_are_checked(run: Path) -> None:
    path, config = run / "metrics.json", run / ".hydra" / "config.yaml"
    metrics, settings = json.loads(path.read_text()), yaml.safe_load(config.read_text())
    metrics["preprocessing"]["mean"] += 1
    path.write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="must be standardised as in its training"):
        Run.open(run).detector()
    for target, message in (("os.system", "which is not run"), ("torch.nn.Identity", "a detector")):
        config.write_text(yaml.safe_dump(settings | {"model": {"_target_": target}}))
        with pytest.raises(ValueError, match=message):
            Run.open(run).detector()
