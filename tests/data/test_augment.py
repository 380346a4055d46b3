from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import pytest

from pneumo.data.augment import Augment, Pipeline, Warp


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (64, 64), dtype=np.uint8)


OFF: dict[str, Any] = dict.fromkeys(("rotation", "flip", "blur", "contrast", "brightness"), 0)
OFF |= {"gamma": (1, 1)}
WHOLE: dict[str, Any] = {"area": (1, 1), "ratio": (1, 1)}
CROP = A.RandomResizedCrop(size=(64, 64), scale=(0.3, 1.0))


@pytest.mark.parametrize("augment", [Augment(), Pipeline([CROP]), Warp()])
def test_the_seed_alone_decides(picture: np.ndarray, augment: Any) -> None:
    first, other, again = (augment(picture, seed=seed) for seed in (1, 2, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert (first.shape, first.dtype) == (picture.shape, np.uint8)


@pytest.mark.parametrize("flip", [0, 1])
def test_all_off_is_the_identity_and_a_certain_flip_mirrors(picture: np.ndarray, flip: int) -> None:
    wanted = picture[:, ::-1] if flip else picture
    augment = Augment(rotation=0, zoom=(1, 1), flip=flip)
    for changed in (augment, Warp(**OFF | {"flip": flip}, **WHOLE)):
        assert (changed(picture, seed=3) == wanted).all()


def test_rotation_stays_within_its_range() -> None:
    line = np.zeros((101, 101), np.uint8)
    line[50, 51:] = 255  # from the centre to the right
    augment = Augment(rotation=45, zoom=(1, 1), flip=0, fill=0)
    angles = []
    for seed in range(200):
        rows, columns = np.nonzero(augment(line, seed=seed) > 60)
        angles.append(np.degrees(np.arctan2(50 - rows.mean(), columns.mean() - 50)))
    assert max(np.abs(angles)) < 46
    assert min(angles) < -38
    assert max(angles) > 38
    assert abs(np.mean(angles)) < 6


def test_a_warp_turns_about_the_middle_and_shows_the_stated_share_of_the_image() -> None:
    bump = np.zeros((65, 65), np.uint8)
    bump[32, 32] = 255
    for seed in range(5):
        turned = Warp(**OFF | {"rotation": 90}, **WHOLE)(bump, seed=seed)
        assert turned.argmax() == 32 * 65 + 32
    ramp = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (128, 1))
    shares = []
    for seed in range(300):
        crop = Warp(**OFF, area=(0.25, 0.25), ratio=(1, 1))(ramp, seed=seed).astype(int)
        shares.append((crop[0, -1] - crop[0, 0]) / 255)
    assert np.allclose(shares, 0.5, atol=0.02)
    smaller = Warp(**OFF, **WHOLE)(ramp, seed=0, side=32).astype(int)
    assert smaller.shape == (32, 32)
    assert abs(smaller.mean() - ramp.mean()) < 1


def test_grey_values_stay_in_order_and_wrong_ranges_are_refused() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    settings = OFF | {"gamma": (0.55, 1.82), "contrast": 0.3, "brightness": 0.3}
    for seed in range(20):
        grey = Warp(**settings, **WHOLE)(ramp, seed=seed).ravel().astype(int)
        assert (np.diff(grey) >= 0).all()
    for wrong in ({"area": (0, 1)}, {"area": (0.5, 2)}, {"flip": 2}):
        with pytest.raises(ValueError, match="must be"):
            Warp(**wrong)
