from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import pytest

from pneumo.data.augment import Augment, Pipeline, Warp


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (64, 64), dtype=np.uint8)


def test_same_seed_same_change(picture: np.ndarray) -> None:
    augment = Augment().per_image()
    first, other = augment(picture, seed=1), augment(picture, seed=2)
    assert (first == Augment().per_image()(picture, seed=1)).all()
    assert (first != other).any()
    assert first.shape == picture.shape
    assert first.dtype == np.uint8


def test_everything_off_is_the_identity(picture: np.ndarray) -> None:
    augment = Augment(rotation=0, zoom=(1, 1), flip=0).per_image()
    assert (augment(picture, seed=3) == picture).all()


def test_certain_flip_twice_is_the_identity(picture: np.ndarray) -> None:
    flip = Augment(rotation=0, zoom=(1, 1), flip=1).per_image()
    assert (flip(picture, seed=3) == picture[:, ::-1]).all()
    assert (flip(flip(picture, seed=3), seed=4) == picture).all()


def test_zoom_shows_less_or_adds_fill() -> None:
    square = np.zeros((65, 65), np.uint8)
    square[22:43, 22:43] = 255

    def area(zoom: float, fill: int = 0) -> np.ndarray:
        options = Augment(rotation=0, zoom=(zoom, zoom), flip=0, fill=fill)
        return options.per_image()(square, seed=0)

    assert (area(2.0) > 127).sum() == pytest.approx(4 * 21**2, rel=0.1)
    assert (area(0.5) > 127).sum() == pytest.approx(21**2 / 4, rel=0.2)
    assert area(0.5, fill=77)[0, 0] == 77


def test_reflection_brings_in_nothing_that_was_not_there() -> None:
    image = np.full((64, 64), 200, np.uint8)
    augment = Augment(rotation=45, zoom=(0.5, 0.5), flip=0)
    assert augment.fill == "reflect"
    assert (augment.per_image()(image, seed=0) == 200).all()


def test_rotation_stays_within_its_range() -> None:
    line = np.zeros((101, 101), np.uint8)
    line[50, 51:] = 255  # from the centre to the right
    augment = Augment(rotation=45, zoom=(1, 1), flip=0, fill=0).per_image()
    angles = []
    for seed in range(200):
        rows, columns = np.nonzero(augment(line, seed=seed) > 60)
        angles.append(np.degrees(np.arctan2(50 - rows.mean(), columns.mean() - 50)))
    assert max(np.abs(angles)) < 46
    assert min(angles) < -38
    assert max(angles) > 38
    assert abs(np.mean(angles)) < 6


def test_a_pipeline_of_albumentations_draws_by_the_seed_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    crop = A.RandomResizedCrop(size=(32, 32), scale=(0.3, 1.0))
    augment = Pipeline([crop, A.RandomBrightnessContrast(p=1.0)]).per_image()
    first, other, again = (augment(image, seed=seed) for seed in (1, 2, 1))
    assert first.shape == image.shape
    assert (first == again).all()
    assert (first != other).any()


OFF: dict[str, Any] = {
    "rotation": 0,
    "flip": 0,
    "blur": 0,
    "contrast": 0,
    "brightness": 0,
    "gamma": (1, 1),
}
WHOLE: dict[str, Any] = {"area": (1, 1), "ratio": (1, 1)}


def test_a_warp_with_everything_off_is_the_identity(picture: np.ndarray) -> None:
    assert (Warp(**OFF, **WHOLE)(picture, seed=3) == picture).all()


def test_a_warp_draws_by_the_seed_alone(picture: np.ndarray) -> None:
    first, other, again = (Warp()(picture, seed=seed) for seed in (1, 2, 1))
    assert first.shape == picture.shape
    assert (first == again).all()
    assert (first != other).any()


def test_a_warp_flips_and_turns_about_the_middle(picture: np.ndarray) -> None:
    assert (Warp(**OFF | {"flip": 1}, **WHOLE)(picture, seed=3) == picture[:, ::-1]).all()
    bump = np.zeros((65, 65), np.uint8)
    bump[32, 32] = 255
    for seed in range(5):
        turned = Warp(**OFF | {"rotation": 90}, **WHOLE)(bump, seed=seed)
        assert turned.argmax() == 32 * 65 + 32


def test_a_warp_shows_the_stated_share_of_the_image() -> None:
    ramp = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (128, 1))
    shares = []
    for seed in range(300):
        crop = Warp(**OFF, area=(0.25, 0.25), ratio=(1, 1))(ramp, seed=seed).astype(int)
        shares.append((crop[0, -1] - crop[0, 0]) / 255)
    assert np.allclose(shares, 0.5, atol=0.02)
    smaller = Warp(**OFF, **WHOLE)(ramp, seed=0, side=32).astype(int)
    assert smaller.shape == (32, 32)
    assert abs(smaller.mean() - ramp.mean()) < 1


def test_grey_values_stay_in_order_and_are_rounded_once() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    settings = OFF | {"gamma": (0.55, 1.82), "contrast": 0.3, "brightness": 0.3}
    for seed in range(20):
        grey = Warp(**settings, **WHOLE)(ramp, seed=seed).ravel().astype(int)
        assert (np.diff(grey) >= 0).all()


@pytest.mark.parametrize("wrong", [{"area": (0, 1)}, {"area": (0.5, 2)}, {"flip": 2}])
def test_a_warp_refuses_what_leaves_no_image(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Warp(**wrong)
