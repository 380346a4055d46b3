import itertools
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from pneumo.data import phantom, phantom_drawing
from pneumo.data.kermany import parse_name
from pneumo.labels import SUBTYPES
from tests.conftest import Capture, Patch, digests

NUM_IMAGES = 120  # of the fixture phantoms


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpeg"))


@pytest.mark.parametrize("num_images", [24, 5856])
def test_shares_of_parts_and_subtypes(num_images: int) -> None:
    radiographs = phantom._plan(num_images)
    paths = {radiograph.path for radiograph in radiographs}
    assert len(paths) == len(radiographs) == num_images
    assert all(map(parse_name, paths))
    count = Counter(radiograph.subtype for radiograph in radiographs)
    assert count["normal"] / num_images == pytest.approx(0.27, abs=0.03)
    assert count["bacteria"] / count["virus"] == pytest.approx(2, abs=0.3)
    num_test = sum(radiograph.path.startswith("test/") for radiograph in radiographs)
    assert num_test / num_images == pytest.approx(0.15, abs=0.02)
    parts = {(radiograph.path.split("/")[0], radiograph.subtype) for radiograph in radiographs}
    assert parts == set(itertools.product(("train", "test"), SUBTYPES))


def test_some_files_are_the_same_bytes_one_pair_in_two_patients(phantoms: Path) -> None:
    names_of: dict[str, list[str]] = {}
    for name, digest in digests(phantoms).items():
        names_of.setdefault(digest, []).append(name)
    pairs = [same for same in names_of.values() if len(same) > 1]
    assert ["train/NORMAL/IM-0002-0001.jpeg", "train/NORMAL/NORMAL2-IM-0001-0001.jpeg"] in pairs
    assert 2 <= len(pairs) <= 6
    assert all(len({name.split("/")[1] for name in same}) == 1 for same in pairs)


def test_bytes_depend_on_the_seed_only(phantoms: Path, tmp_path: Path) -> None:
    radiographs = phantom._plan(NUM_IMAGES)[:60:20]
    for seed in (0, 1):
        for radiograph in radiographs:
            (tmp_path / f"{seed}" / radiograph.path).parent.mkdir(parents=True, exist_ok=True)
            phantom._write(radiograph, root=tmp_path / f"{seed}", seed=seed)
    for radiograph in radiographs:
        other, first = ((tmp_path / f"{seed}" / radiograph.path).read_bytes() for seed in (0, 1))
        assert first == (phantoms / radiograph.path).read_bytes() != other


def test_opacities_are_in_the_lungs_and_in_the_boxes_and_change_nothing_else() -> None:
    anatomy = phantom_drawing.draw_anatomy(np.random.default_rng(1))
    lungs = phantom_drawing._lung(anatomy, -1) + phantom_drawing._lung(anatomy, 1)
    pictures, states, chests = [], set(), []
    for subtype, num_boxes in zip(SUBTYPES, (0, 1, 2), strict=True):
        rng = np.random.default_rng(7)
        radiograph = phantom_drawing.draw_radiograph(rng, subtype=subtype, anatomy=anatomy)
        states.add(rng.random())  # decides on grey or RGB and on JPEG quality
        pictures.append(radiograph.astype(int))
        chests.append(phantom_drawing._attenuation(anatomy, subtype))
        boxes, (width, height) = phantom_drawing.draw_boxes(
            np.random.default_rng(7), subtype=subtype, anatomy=anatomy
        )
        assert len(boxes) == num_boxes
        assert radiograph.shape == (height, width)
        if not num_boxes:
            continue
        extra = chests[-1] - chests[0]
        assert extra.min() > -0.02  # cubic interpolation overshoots a little
        assert extra.max() > 0.25
        assert np.abs(extra[lungs == 0]).max() < 1e-6
        halves = [half.sum() / extra.sum() for half in np.array_split(extra, 2, axis=1)]
        assert sum(half > 0.1 for half in halves) == num_boxes
        brighter = pictures[-1] - pictures[0]  # but for the exposure, which sets the mean
        inside = np.zeros(brighter.shape, bool)
        for x0, y0, x1, y1 in boxes.astype(int):
            inside[y0:y1, x0:x1] = True
            assert brighter[y0:y1, x0:x1].mean() > brighter.mean() + 5
        assert brighter[inside].mean() > brighter[~inside].mean() + 10
    means = [picture.mean() for picture in pictures]
    assert max(means) / min(means) < 1.03
    assert len(states) == 1


def test_files_vary_but_carry_no_information_on_the_label(phantoms: Path) -> None:
    modes, sizes, looks = [], [], []
    for name in names(phantoms):
        with Image.open(phantoms / name) as image:
            modes.append(image.mode)
            sizes.append(image.size)
            brightness = np.asarray(image.convert("L")).mean()
            looks.append((brightness, (phantoms / name).stat().st_size))
    widths, heights = np.array(sizes).T
    assert set(modes) == {"L", "RGB"}
    assert 300 <= min(widths) < 400 < 800 < max(widths) <= 900
    assert 0.64 < min(heights / widths) < 0.7 < 0.95 < max(heights / widths) < 1.01
    is_normal = ["NORMAL/" in name for name in names(phantoms)]
    for values in np.array(looks).T:  # by chance alone, the AUROC deviates by 0.06
        assert 0.35 < roc_auc_score(is_normal, values) < 0.65


def test_two_at_once_do_no_harm_and_a_complete_folder_stays(
    tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(phantom, "_write", lambda image, *, root, seed: (root / image.path).touch())
    make = partial(phantom.generate, tmp_path / "set", num_images=24)
    with caplog.at_level(logging.INFO, "pneumo"), ThreadPoolExecutor(4) as pool:
        roots = list(pool.map(lambda _: make(), range(4)))
    assert roots == [tmp_path / "set"] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert len(names(tmp_path / "set")) == 24
    assert set(caplog.messages) == {f"Generating 24 phantoms in {tmp_path / 'set'}"}
    assert capsys.readouterr() == ("", "")


def test_a_folder_with_other_files_is_kept(phantoms: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"must be a new folder .* got other files: delete"):
        phantom.generate(tmp_path, num_images=24)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ValueError, match=r'"seed": 2.*; got .*"seed": 1.*: delete it or name'):
        phantom.generate(phantoms, num_images=NUM_IMAGES, seed=2)
    with pytest.raises(ValueError, match=r"^num_images must be at least 24; got 23$"):
        phantom.generate(tmp_path / "set", num_images=23)
    assert phantom.main(["--layout", "rsna", "--out", str(tmp_path)]) == 2
    message = f"error: --out must be a new folder; {tmp_path} exists. Name another\n"
    assert capsys.readouterr().err == message


@pytest.mark.slow
def test_boxes_of_a_folder_are_computed_once(tmp_path: Path) -> None:
    root = phantom.generate(tmp_path / "set", num_images=24, progress=False)
    before = digests(root)
    table = phantom.Phantoms(root).boxes()
    assert sorted(table["path"]) == names(root)
    for path, width, height in table[["path", "width", "height"]].itertuples(index=False):
        with Image.open(root / path) as opened:
            assert opened.size == (width, height)
    assert (table["boxes"].map(len) > 0).tolist() == ["PNEUMONIA" in p for p in table["path"]]
    written = (root / phantom.BOXES).stat().st_mtime_ns
    again = phantom.Phantoms(root).boxes()
    assert (root / phantom.BOXES).stat().st_mtime_ns == written
    assert all(map(np.array_equal, again["boxes"], table["boxes"]))
    assert digests(root).items() > before.items()
