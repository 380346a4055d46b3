"""Artificial shifts are found, and none where there is none."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumo import atomic
from pneumo.data.kermany import index
from pneumo.data.reader import read as read_image
from pneumo.inference import ood
from pneumo.shift import page, sample, two_sample
from pneumo.shift.compare import compare
from pneumo.shift.page import lines
from pneumo.shift.sample import MEASURES, Sample
from pneumo.shift.sentences import sentences
from tests.conftest import Patch
from tests.data.test_dicom import dataset, encode

SIZE = 64
Change = Callable[[np.ndarray], np.ndarray]


def cropped(pixels: np.ndarray) -> np.ndarray:
    inner = pixels[SIZE // 8 : -SIZE // 8, SIZE // 8 : -SIZE // 8]
    return np.asarray(cv2.resize(inner, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def blurred(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.2))


def brighter(pixels: np.ndarray) -> np.ndarray:
    values: np.ndarray = np.round(255 * (pixels / 255) ** 0.7).astype(np.uint8)
    return values


@pytest.fixture(scope="module")
def drawn(phantoms: Path) -> tuple[pd.DataFrame, np.ndarray, list[dict[str, float]]]:
    """A table of 120 images of 120 people or fewer, their pixels, and what their files say."""
    table = index(phantoms)
    images = [read_image(str(phantoms / p), shapes=[(SIZE, "stretch")]) for p in table["path"]]
    pixels = np.stack([one.prepared[SIZE, "stretch"] for one in images])
    return table.assign(group=table["patient"]), pixels, [sample.of_file(one) for one in images]


def made(drawn: Any, rows: np.ndarray, change: Change = np.asarray, **columns: Any) -> Sample:
    """A sample without a network: its features are the layout's first numbers."""
    table, pixels, files = drawn
    pixels = np.stack([change(pixels[row]) for row in rows])
    values = [
        files[row] | sample.of_picture(one) | {"p_pneumonia": 0.5}
        for row, one in zip(rows, pixels, strict=True)
    ]
    facts = table.iloc[rows][["path", "group", "label"]].reset_index(drop=True)
    layout = ood.layout(pixels)
    known = pd.concat([facts, pd.DataFrame(values)], axis=1).assign(**columns)
    return Sample(known, layout[:, :16].astype(np.float32), layout)


def joined(*parts: Sample) -> Sample:
    tables = pd.concat([part.table for part in parts], ignore_index=True)
    features, layout = ([getattr(part, name) for part in parts] for name in ("features", "layout"))
    return Sample(tables, np.concatenate(features), np.concatenate(layout))


def halves(seed: int = 0, size: int = 120) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(120)[:size]
    return order[::2], order[1::2]


@pytest.mark.parametrize(
    ("change", "measure", "more"),
    [(blurred, "sharpness", False), (cropped, "edge", True), (brighter, "mean", True)],
)
def test_a_shift_is_found_and_named(drawn: Any, change: Change, measure: str, more: bool) -> None:
    first, second = halves()
    found = compare(made(drawn, first, label=""), made(drawn, second, change, label=""))
    assert found["differ"]
    assert sentences(found)[0].startswith("These images differ from the training hospital's")
    (row,) = (row for row in found["measures"] if row["measure"] == measure)
    assert row["differs"]
    assert (row["larger_here"] > 0.5) is more
    way = "higher" if more else "lower"
    assert f"{way} {MEASURES[measure].title} (median" in " ".join(sentences(found))
    spaces = {row["space"]: row for row in found["spaces"]}
    assert spaces["picture"]["differs"]
    assert not spaces["file"]["differs"]


def test_files_of_another_format_are_counted(drawn: Any) -> None:
    first, second = halves()
    mostly = (np.arange(len(second)) % 5 > 1).astype(float)  # the median is 1
    other = made(drawn, second, label="", jpeg=mostly, colour=1.0)
    found = compare(made(drawn, first, label="", colour=0.0), other)
    share = {row["measure"]: row["here"][1] for row in found["measures"]}["jpeg"]
    assert 0.5 < share < 0.7
    assert "higher share saved in colour (1.00 instead of 0.00)" in " ".join(sentences(found))


@pytest.mark.parametrize("label", [True, False])
def test_no_shift_is_not_found(drawn: Any, label: bool) -> None:
    unknown: dict[str, Any] = {} if label else {"label": ""}
    for seed in range(2):
        found = compare(*(made(drawn, rows, **unknown) for rows in halves(seed)), seed=seed)
        assert not found["differ"]
    first = sentences(found)[0]
    assert first.startswith("No difference from the training hospital's images was detected (")
    assert "A classifier must reach an AUROC above about" in first
    assert not any(line.startswith("!") for line in lines(found))


def test_another_share_of_pneumonia_is_no_shift_where_labels_are_known(drawn: Any) -> None:
    label = (drawn[0]["label"] == "PNEUMONIA").to_numpy()
    sick, well = np.flatnonzero(label), np.flatnonzero(~label)
    first = np.concatenate([sick[::2], well[: len(well) // 2][::3]])
    second = np.concatenate([sick[1::8], well[len(well) // 2 :]])
    found = compare(made(drawn, first), made(drawn, second))
    assert [group["group"] for group in found["groups"]] == ["NORMAL", "PNEUMONIA"]
    assert not found["differ"]


def test_only_the_class_that_was_changed_differs(drawn: Any) -> None:
    first, second = halves()
    own = made(drawn, first)
    well = (drawn[0]["label"] == "PNEUMONIA").to_numpy()[second]
    other = joined(made(drawn, second[well], blurred), made(drawn, second[~well]))
    found = compare(own, other)
    assert {row["group"] for row in found["measures"] if row["differs"]} == {"PNEUMONIA"}
    assert not any(line.startswith("NORMAL images have") for line in sentences(found))


def test_files_saved_again_differ_and_images_of_a_patient_count_once(drawn: Any) -> None:
    first, second = halves()
    own = made(drawn, first, label="")
    found = compare(own, made(drawn, second, label="", quality=40.0, bytes=0.05))
    assert {row["space"] for row in found["spaces"] if row["differs"]} == {"file"}
    assert "Only differences of the files were detected" in sentences(found)[0]
    found = compare(own, made(drawn, np.tile(second, 3), label=""))
    assert found["here"]["images"] == 3 * len(second)
    assert found["groups"][0]["here"] == drawn[0].iloc[second]["group"].nunique()
    assert not found["differ"]


def test_too_few_images_are_not_tested(drawn: Any) -> None:
    size, (first, second) = 12, halves()
    found = compare(made(drawn, first, label=""), made(drawn, second[:size], blurred, label=""))
    assert found["differ"] is None
    assert sentences(found)[0].endswith("is unknown.")
    assert "a test needs 20 patients of both" in sentences(found)[1]
    assert len(found["farthest"]) == size
    assert all("p" not in row for row in found["measures"])
    assert any("a test needs 20 patients" in line for line in lines(found))
    found = compare(made(drawn, np.arange(5)), made(drawn, np.arange(5, 60)))
    assert found["farthest"] == found["ordinary"] == []
    assert "No distance was measured: a reference needs 20 images" in sentences(found)[-1]


@pytest.mark.parametrize(
    ("label", "size", "tests"), [(True, 120, 6), (True, 60, 3), (False, 60, 3)]
)
def test_tests_by_a_classifier_share_a_level_of_25_per_mille(
    drawn: Any, monkeypatch: Patch, label: bool, size: int, tests: int
) -> None:
    levels: list[float] = []

    def classifier_test(*_: Any, alpha: float, **__: Any) -> two_sample.Separation:
        levels.append(alpha)
        p = {1: 0.024, 2: 0.026}.get(len(levels), tests) / tests
        return two_sample.Separation(0.6, 0.55, 0.6, p)

    monkeypatch.setattr(two_sample, "classifier_test", classifier_test)
    unknown: dict[str, Any] = {} if label else {"label": ""}
    sample = made(drawn, np.arange(120)[:: 120 // size], **unknown)
    rows = [row for row in compare(sample, sample)["spaces"] if "p" in row]
    assert levels == pytest.approx([0.025 / tests] * tests)
    assert rows[0]["p_holm"] == pytest.approx(0.024)
    assert rows[0]["differs"]
    assert rows[1]["p_holm"] == pytest.approx(max(0.024, 0.026 * (tests - 1) / tests))
    assert not any(row["differs"] for row in rows[2:])


def test_the_farthest_image_comes_first(drawn: Any) -> None:
    first, second = halves()
    negative = made(drawn, second[:1], lambda pixels: 255 - pixels, path="x.png")
    found = compare(made(drawn, first), joined(made(drawn, second), negative))
    assert found["farthest"][0]["path"] == "x.png"
    assert found["farthest"][0]["distance"] > 1
    assert found["distance"]["beyond"] >= 1


def test_page_is_self_contained_and_escapes_names(drawn: Any, tmp_path: Path) -> None:
    name, root = "<b>x.png", tmp_path / "a <i>folder"
    root.mkdir()
    Image.fromarray(drawn[1][0]).save(root / name)
    found = compare(
        made(drawn, halves()[0], label="", path=name),
        made(drawn, halves()[1], blurred, label="", path=name),
    )
    whole = {
        "scored_on": {"what": str(root)},
        "notes": ["a note"],
        "shift": {"run": "run", **found},
    }
    text = page.html(whole, root=root, own_root=root, own=None)
    assert "<b>x" not in text
    assert "<i>folder" not in text
    assert "<title>Shift of a &lt;i&gt;folder</title>" in text
    assert "http" not in text
    assert "<script" not in text
    assert text.count("data:image/jpeg;base64,") == len(found["farthest"] + found["ordinary"])
    picture = page.picture(root / name).partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(picture))) as opened:
        assert opened.size == (page.SIDE, page.SIDE)
    json.loads(atomic.json_text(whole))


def test_measures_of_the_picture_and_of_the_files_header(tmp_path: Path) -> None:
    pixels = np.zeros((100, 100), np.uint8)
    pixels[:, :50] = 200
    found = sample.of_picture(pixels)
    assert found["mean"] == found["contrast"] == pytest.approx(100)
    assert (found["black"], found["filled"]) == (0.5, 0.5)
    places = [found[name] for name in ("centre_x", "centre_y", "symmetry")]
    assert places == pytest.approx([0.25, 0.5, -1])
    flat = sample.of_picture(np.full((32, 32), 255, np.uint8))
    assert flat["white"] == flat["edge"] == 1
    assert flat["symmetry"] == flat["sharpness"] == 0
    assert all(map(np.isfinite, sample.of_picture(np.zeros((32, 32), np.uint8)).values()))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 160), np.uint8))
    picture.save(tmp_path / "a.jpeg", quality=60)
    picture.convert("RGB").save(tmp_path / "a.png")
    jpeg, png = (
        sample.of_file(read_image(str(tmp_path / name), shapes=[(SIZE, "stretch")]))
        for name in ("a.jpeg", "a.png")
    )
    size = {"width": 160, "height": 80, "aspect": 2, "jpeg": 1, "quality": 60, "colour": 0}
    assert jpeg == size | {"bytes": (tmp_path / "a.jpeg").stat().st_size / (160 * 80)}
    assert (png["jpeg"], png["colour"]) == (0, 1)
    assert np.isnan(png["quality"])


def test_unlabelled_images_are_found_with_their_patients(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    folder = tmp_path / "test"
    for name in ("a/one.png", "person7_virus_1.jpeg", "person7_bacteria_2.jpeg", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for number in range(2):
        file = encode(dataset(PatientID="anna", InstanceNumber=number))
        (folder / f"{number}.dcm").write_bytes(file)
    root, table = sample.unlabelled(folder, patient_key="person")
    assert root == folder
    assert table["patient"].tolist() == ["0.dcm", "0.dcm", "a/one.png", "person7", "person7"]
    assert table["known_by"].tolist() == [*["PatientID"] * 2, "", *["name"] * 2]
    assert set(table["source"]) == {"test"}
    assert set(table["label"]) == {""}
