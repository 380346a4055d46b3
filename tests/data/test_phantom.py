import itertools
import logging
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo.data import phantom
from pneumo.labels import SUBTYPES

NAME = re.compile(
    r"(train|test)/(?:"
    r"NORMAL/(?P<series>IM|NORMAL2-IM)-(?P<normal>\d{4,})-\d{4}(?:-\d{4})?"
    r"|PNEUMONIA/person(?P<person>\d+)_(?P<subtype>bacteria|virus)_\d+"
    r")\.jpeg"
)
NUM_IMAGES = 72


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom.generate(tmp_path_factory.mktemp("phantom") / "set", num_images=NUM_IMAGES)


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is about files only: they stay empty."""
    monkeypatch.setattr(
        phantom, "_write", lambda radiograph, *, root, seed: (root / radiograph.path).touch()
    )


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpeg"))


def hashes(root: Path) -> dict[str, str]:
    return {name: sha256((root / name).read_bytes()).hexdigest() for name in names(root)}


def normal_auc(is_normal: list[bool], values: Sequence[float]) -> float:
    """Area under the ROC curve of one number as a predictor of the label, 0.5 to 1."""
    normal = np.array(values)[is_normal]
    other = np.array(values)[~np.array(is_normal)]
    area = float(np.mean(np.sign(normal[:, None] - other[None])) / 2 + 0.5)
    return max(area, 1 - area)


@pytest.mark.slow
def test_every_name_is_of_the_real_grammar_and_no_other_file_is_there(root: Path) -> None:
    assert len(names(root)) == NUM_IMAGES
    assert all(NAME.fullmatch(name) for name in names(root))
    assert {path.name for path in root.iterdir()} == {"train", "test", phantom.STAMP}


@pytest.mark.parametrize("num_images", [24, 100, 401, 5856])
def test_shares_of_parts_and_subtypes(num_images: int) -> None:
    radiographs = phantom._plan(num_images)
    assert len({radiograph.path for radiograph in radiographs}) == len(radiographs) == num_images
    count = Counter(radiograph.subtype for radiograph in radiographs)
    assert count["normal"] / num_images == pytest.approx(0.27, abs=0.03)
    assert count["bacteria"] / count["virus"] == pytest.approx(2, abs=0.3)
    num_test = sum(radiograph.path.startswith("test/") for radiograph in radiographs)
    assert num_test / num_images == pytest.approx(0.15, abs=0.02)
    for part, subtype in itertools.product(("train", "test"), SUBTYPES):
        assert any(
            radiograph.subtype == subtype and radiograph.path.startswith(part)
            for radiograph in radiographs
        )


def test_some_patients_have_several_images(root: Path) -> None:
    found = [NAME.fullmatch(name) for name in names(root)]
    people = Counter(match["person"] or match["normal"] for match in found if match)
    assert max(people.values()) >= 3
    fourth = [name for name in names(root) if "NORMAL/" in name and name.endswith("-0002.jpeg")]
    assert fourth


def test_train_and_test_reuse_numbers_for_different_people() -> None:
    radiographs = phantom._plan(NUM_IMAGES)
    people = {radiograph.person for radiograph in radiographs if radiograph.subtype == "bacteria"}
    numbers = [number for _, _, number in people]
    assert len(set(numbers)) < len(numbers)
    normal = [
        radiograph.path.split("/")[-1]
        for radiograph in radiographs
        if radiograph.subtype == "normal"
    ]
    assert len(set(normal)) == len(normal)


def test_some_files_are_the_same_bytes_one_pair_in_two_patients(root: Path) -> None:
    names_of: dict[str, list[str]] = {digest: [] for digest in hashes(root).values()}
    for name, digest in hashes(root).items():
        names_of[digest].append(name)
    pairs = [same for same in names_of.values() if len(same) > 1]
    assert ["train/NORMAL/IM-0002-0001.jpeg", "train/NORMAL/NORMAL2-IM-0001-0001.jpeg"] in pairs
    assert 2 <= len(pairs) <= 6
    assert all(len({name.split("/")[1] for name in same}) == 1 for same in pairs)


def test_bytes_depend_neither_on_workers_nor_on_the_number_of_images(
    root: Path, tmp_path: Path
) -> None:
    few = hashes(phantom.generate(tmp_path / "few", num_images=24, num_workers=1, progress=False))
    many = hashes(root)
    both = {name for name in few.keys() & many.keys() if name.startswith("train")}
    assert len(both) > 10
    # A name that the two sets share may be a copy of another picture in one of them.
    assert sum(few[name] != many[name] for name in both) <= 2


def test_another_seed_gives_other_pictures_of_the_same_names(root: Path, tmp_path: Path) -> None:
    radiographs = phantom._plan(NUM_IMAGES)[:60:20]
    for seed in (0, 1):
        for radiograph in radiographs:
            (tmp_path / f"{seed}" / radiograph.path).parent.mkdir(parents=True, exist_ok=True)
            phantom._write(radiograph, root=tmp_path / f"{seed}", seed=seed)
    for radiograph in radiographs:
        first, other = ((tmp_path / f"{seed}" / radiograph.path).read_bytes() for seed in (0, 1))
        assert first == (root / radiograph.path).read_bytes() != other


def test_people_differ_and_radiographs_of_one_person_share_the_anatomy() -> None:
    one, two = (phantom.draw_anatomy(np.random.default_rng(seed)) for seed in (1, 2))
    assert one != two
    radiographs = [
        phantom.draw_radiograph(np.random.default_rng(seed), subtype="virus", anatomy=one)
        for seed in (3, 3, 4)
    ]
    assert np.array_equal(radiographs[0], radiographs[1])
    assert radiographs[0].shape != radiographs[2].shape


@pytest.mark.parametrize("subtype", ["bacteria", "virus"])
@pytest.mark.parametrize("seed", range(3))
def test_opacities_take_air_from_the_lungs_only(subtype: str, seed: int) -> None:
    anatomy = phantom.draw_anatomy(np.random.default_rng(seed))
    extra = phantom._attenuation(anatomy, subtype) - phantom._attenuation(anatomy, "normal")
    lungs = phantom._lung(anatomy, -1) + phantom._lung(anatomy, 1)
    assert extra.min() > -0.02  # cubic interpolation overshoots a little
    assert extra.max() > 0.25
    assert np.abs(extra[lungs == 0]).max() < 1e-6


def test_viral_opacities_are_on_both_sides_bacterial_ones_on_one() -> None:
    for seed in range(4):
        anatomy = phantom.draw_anatomy(np.random.default_rng(seed))
        normal = phantom._attenuation(anatomy, "normal")
        for subtype, num_sides in (("bacteria", 1), ("virus", 2)):
            extra = phantom._attenuation(anatomy, subtype) - normal
            halves = [half.sum() / extra.sum() for half in np.array_split(extra, 2, axis=1)]
            assert sum(half > 0.1 for half in halves) == num_sides


@pytest.mark.parametrize("seed", range(4))
def test_the_subtype_changes_nothing_but_the_lungs(seed: int) -> None:
    anatomy = phantom.draw_anatomy(np.random.default_rng(seed))
    shapes, means, states = set(), [], []
    for subtype in SUBTYPES:
        rng = np.random.default_rng((seed, 1))
        radiograph = phantom.draw_radiograph(rng, subtype=subtype, anatomy=anatomy)
        shapes.add(radiograph.shape)
        means.append(radiograph.mean())
        states.append(rng.random(4).tolist())  # what decides on grey or RGB and on JPEG quality
    assert len(shapes) == 1
    assert states[0] == states[1] == states[2]
    assert max(means) / min(means) < 1.03


def test_brightness_and_file_size_tell_next_to_nothing_of_the_label(root: Path) -> None:
    is_normal = ["NORMAL/" in name for name in names(root)]
    means = [np.asarray(Image.open(root / name).convert("L")).mean() for name in names(root)]
    sizes = [(root / name).stat().st_size for name in names(root)]
    # By chance alone, the AUC of 19 against 53 radiographs deviates by 0.08.
    assert normal_auc(is_normal, means) < 0.65
    assert normal_auc(is_normal, sizes) < 0.65


def test_sizes_and_modes_vary(root: Path) -> None:
    modes, widths, aspects = set(), [], []
    for name in names(root):
        with Image.open(root / name) as image:
            modes.add(image.mode)
            widths.append(image.width)
            aspects.append(image.height / image.width)
    assert modes == {"L", "RGB"}
    assert 300 <= min(widths) < 400 < 800 < max(widths) <= 900
    assert 0.64 < min(aspects) < 0.7 < 0.95 < max(aspects) < 1.01


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_late(radiograph: phantom._Radiograph, *, root: Path, seed: int) -> None:
        if radiograph.path.startswith("test"):
            raise OSError("No space left on device")
        (root / radiograph.path).touch()

    monkeypatch.setattr(phantom, "_write", fail_late)
    with pytest.raises(OSError, match="No space left on device"):
        phantom.generate(tmp_path / "set", num_images=24, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_drawing")
def test_two_at_once_do_no_harm(tmp_path: Path) -> None:
    make = partial(phantom.generate, tmp_path / "set", num_images=24, progress=False)
    with ThreadPoolExecutor(4) as pool:
        roots = list(pool.map(lambda _: make(), range(4)))
    assert roots == [tmp_path / "set"] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert len(names(tmp_path / "set")) == 24


@pytest.mark.usefixtures("no_drawing")
def test_a_complete_folder_is_left_as_it_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashes(root)
    assert phantom.generate(root, num_images=NUM_IMAGES) == root
    assert hashes(root) == before
    assert capsys.readouterr().err == ""


def test_a_folder_with_other_things_is_refused_and_kept(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(
        ValueError, match=r"must be a new folder or hold .* got other files: delete"
    ):
        phantom.generate(tmp_path, num_images=24)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ValueError, match=r'"seed": 1.*; got .*"seed": 0.*: delete it or name'):
        phantom.generate(root, num_images=NUM_IMAGES, seed=1)


@pytest.mark.usefixtures("no_drawing")
def test_a_folder_that_lost_a_file_is_refused(tmp_path: Path) -> None:
    root = phantom.generate(tmp_path / "set", num_images=24, progress=False)
    (root / names(root)[0]).unlink()
    with pytest.raises(ValueError, match="got a part of it: delete it or name another folder"):
        phantom.generate(root, num_images=24)


@pytest.mark.usefixtures("no_drawing")
def test_off_a_terminal_progress_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pneumo"):
        phantom.generate(tmp_path / "set", num_images=24)
    assert capsys.readouterr() == ("", "")
    assert caplog.messages == [f"Drawing 24 phantoms into {tmp_path / 'set'}"]


@pytest.mark.parametrize("num_images", [23, 3, 0, -5])
def test_too_few_images(tmp_path: Path, num_images: int) -> None:
    with pytest.raises(ValueError, match=f"^num_images must be at least 24; got {num_images}$"):
        phantom.generate(tmp_path / "set", num_images=num_images)
    assert list(tmp_path.iterdir()) == []


def test_a_negative_seed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^seed must be 0 or more; got -1$"):
        phantom.generate(tmp_path / "set", seed=-1)


def test_an_unknown_subtype() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(
        ValueError, match=r"^subtype must be one of normal, bacteria, virus; got 'fungus'$"
    ):
        phantom.draw_radiograph(rng, subtype="fungus", anatomy=phantom.draw_anatomy(rng))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_boxes_are_around_the_opacities(
    subtype: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    anatomy = phantom.draw_anatomy(np.random.default_rng(seed))

    def rng() -> np.random.Generator:
        return np.random.default_rng((seed, 1))

    boxes, (width, height) = phantom.draw_boxes(rng(), subtype=subtype, anatomy=anatomy)
    ill = phantom.draw_radiograph(rng(), subtype=subtype, anatomy=anatomy).astype(int)
    monkeypatch.setattr(phantom, "_opacity", lambda *_: None)
    # but for the exposure, which a mean brightness makes alike
    healthy = phantom.draw_radiograph(rng(), subtype=subtype, anatomy=anatomy).astype(int)
    assert ill.shape == (height, width)
    assert len(boxes) == {"normal": 0, "bacteria": 1, "virus": 2}[subtype]
    brighter = ill - healthy
    inside = np.zeros(ill.shape, bool)
    for x0, y0, x1, y1 in boxes.astype(int):
        inside[y0:y1, x0:x1] = True
        assert brighter[y0:y1, x0:x1].mean() > brighter.mean() + 5
    if len(boxes):
        assert brighter[inside].mean() > brighter[~inside].mean() + 10


@pytest.mark.slow
def test_boxes_of_a_folder_are_worked_out_once(root: Path) -> None:
    before = hashes(root)
    found = phantom.boxes(root)
    assert sorted(found["path"]) == names(root)
    for path, width, height in found[["path", "width", "height"]].itertuples(index=False):
        with Image.open(root / path) as opened:
            assert opened.size == (width, height)
    assert (found["boxes"].map(len) > 0).tolist() == ["PNEUMONIA" in p for p in found["path"]]
    written = (root / phantom.BOXES).read_bytes()
    again = phantom.boxes(root)
    assert (root / phantom.BOXES).read_bytes() == written
    assert all(map(np.array_equal, again["boxes"], found["boxes"]))
    assert hashes(root) == before
    (root / phantom.BOXES).unlink()  # the fixture is others', too
