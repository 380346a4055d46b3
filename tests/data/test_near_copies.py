"""Copies are found after small changes, other images are not, and the limits are what they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo.data import image, near_copies
from pneumo.data.kermany import index
from pneumo.data.near_copies import near_pairs, perceptual_hash
from tests.conftest import Patch

RNG = np.random.default_rng(0)
REAL = pytest.mark.realdata


def look(pixels: np.ndarray) -> tuple[int, np.ndarray]:
    """The hash and the thumbnail of an image, as they are of one that is prepared."""
    prepared = image.resize(pixels, size=256)
    return perceptual_hash(prepared), image.resize(prepared, size=near_copies.SIDE)


def shifted(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, ((2, 0), (0, 2)))[:-2, 2:]


def turned(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).rotate(1, Image.Resampling.BILINEAR))


def cropped(pixels: np.ndarray) -> np.ndarray:
    return pixels[2:-2, 2:-2]  # 1 % of 224 off each side


def check_found(root: Path, *, num: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Of the changed copies 97 % are found, and no two other images correlate as copies."""
    found = {(root / path).read_bytes() for path in index(root)["path"].sample(num, random_state=0)}
    pixels = [image.resize(image.decode(data), size=224) for data in sorted(found)]
    looks = [look(each) for each in pixels] + [look(change(each)) for each in pixels]
    hashes, thumbnails = zip(*looks, strict=True)
    pairs = near_pairs(np.array(hashes, np.uint64), np.stack(thumbnails))
    of_copies = pairs.other - pairs.row == len(pixels)
    assert of_copies.sum() >= 0.97 * len(pixels)
    assert (pairs.correlation[~of_copies] < near_copies.COPY).all()


@pytest.mark.parametrize("change", [shifted, turned, cropped])
@pytest.mark.parametrize(
    ("images", "num"), [("phantoms", 40), pytest.param("real_data", 200, marks=REAL)]
)
def test_changed_copies_are_found(
    images: str, num: int, change: Callable[..., np.ndarray], request: pytest.FixtureRequest
) -> None:
    check_found(request.getfixturevalue(images), num=num, change=change)


def noise(num: int) -> np.ndarray:
    return RNG.integers(0, 256, (num, near_copies.SIDE, near_copies.SIDE), dtype=np.uint8)


def test_hashes_of_two_bits_are_near_of_three_not() -> None:
    hashes = np.array([0, 0b11, 0b111 << 40, 0b1111 << 50], np.uint64)
    assert near_pairs(hashes[:3], noise(3)).bits.tolist() == [2]
    hashes[3] = 0b1 << 40
    pairs = near_pairs(hashes, noise(4))
    assert set(zip(pairs.row.tolist(), pairs.other.tolist(), strict=True)) == {
        (0, 1), (0, 3), (2, 3)
    }  # fmt: skip


@pytest.mark.parametrize(("correlation", "near"), [(0.991, True), (0.989, False), (-1.0, False)])
def test_thumbnails_are_near_from_a_correlation_of_099(correlation: float, near: bool) -> None:
    first, other = RNG.standard_normal((2, near_copies.SIDE**2))
    first, other = (values - values.mean() for values in (first, other))
    other -= first * (first @ other) / (first @ first)
    other *= np.linalg.norm(first) / np.linalg.norm(other)
    mixed = correlation * first + np.sqrt(1 - correlation**2) * other
    pixels = np.round(127 + 25 * np.stack([first, mixed])).astype(np.uint8).reshape(2, 32, 32)
    expected = np.corrcoef(pixels.reshape(2, -1).astype(float))[0, 1]
    assert expected == pytest.approx(correlation, abs=4e-4)
    pairs = near_pairs(np.array([0, 2**64 - 1], np.uint64), pixels)
    assert pairs.correlation.tolist() == ([round(expected, 4)] if near else [])


def test_pairs_are_those_of_all_pairs_in_any_block(monkeypatch: Patch) -> None:
    hashes = RNG.integers(0, 2**63, 90).astype(np.uint64)
    hashes[60:75] = hashes[:15] ^ (np.uint64(1) << RNG.integers(0, 64, 15).astype(np.uint64))
    thumbnails = noise(90)
    thumbnails[75:] = thumbnails[15:30] // 2 + 9
    whole = near_pairs(hashes, thumbnails)
    assert sorted(zip(whole.row.tolist(), whole.other.tolist(), strict=True)) == [
        *((row, row + 60) for row in range(30))
    ]
    assert whole.bits[:15].tolist() == [1] * 15
    monkeypatch.setattr(near_copies, "BLOCK", 16)
    blocks = near_pairs(hashes, thumbnails)
    for one, other in zip(whole, blocks, strict=True):
        np.testing.assert_array_equal(one, other)
