import albumentations as A  # noqa: N812
import cv2
import numpy as np
import pytest
import torch

from pneumo.data.augment import Augment, BatchAugment, Pipeline, border
from tests.conftest import DEVICES


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


def by_albumentations(image: np.ndarray, drawn: np.ndarray, *, augment: Augment) -> np.ndarray:
    """The change with these numbers, not drawn ones."""
    angle, width, height, flip = map(float, drawn)
    scale = {"x": (width, width), "y": (height, height)}
    steps = [A.Affine(rotate=(angle, angle), scale=scale, p=1.0, **border(augment))]
    steps += [A.HorizontalFlip(p=1.0)] if flip else []
    changed: np.ndarray = A.Compose(steps, seed=0)(image=image)["image"]
    return changed


@pytest.mark.parametrize("fill", [0, 90, "reflect"])
@pytest.mark.parametrize("device", DEVICES)
def test_batch_is_changed_as_albumentations_changes_each_image(
    fill: int | str, device: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 96, 96), dtype=np.uint8)
    images = np.stack([cv2.GaussianBlur(image, (0, 0), 2) for image in noise])
    augment = BatchAugment(Augment(zoom=(0.7, 1.3), fill=fill))
    drawn = augment.draw(24, seed=1, epoch=3)
    batch = torch.from_numpy(images)[:, None].to(device)
    found = augment(batch, drawn.to(device))[:, 0].cpu().numpy().astype(float)
    for number in range(24):
        expected = by_albumentations(images[number], drawn[number].numpy(), augment=augment.augment)
        difference = np.abs(found[number] - expected)
        assert difference.mean() < 0.01  # grey values, of 255
        # the wrong side, or turned the wrong way
        assert np.abs(found[number, :, ::-1] - expected).mean() > 5


def test_batch_numbers_are_drawn_from_the_same_distribution() -> None:
    augment = Augment(rotation=30, zoom=(0.9, 1.4), flip=0.3)
    drawn = BatchAugment(augment).draw(4000, seed=0, epoch=0).numpy()
    affine, _ = augment.per_image().compose.transforms
    affine.set_random_seed(0)
    reference = [affine.get_params_dependent_on_data({"shape": (8, 8)}, {}) for _ in range(4000)]
    columns = [
        [one["rotate"] for one in reference],
        [one["scale"]["x"] for one in reference],
        [one["scale"]["y"] for one in reference],
    ]
    for column, expected in zip(drawn.T, columns, strict=False):
        quantiles = np.linspace(0, 1, 11)
        spread = max(expected) - min(expected)
        np.testing.assert_allclose(
            np.quantile(column, quantiles), np.quantile(expected, quantiles), atol=0.05 * spread
        )
    assert abs(np.corrcoef(columns[1], columns[2])[0, 1]) < 0.1  # both draw them apart
    assert abs(np.corrcoef(drawn[:, 1], drawn[:, 2])[0, 1]) < 0.1
    assert drawn[:, 3].mean() == pytest.approx(0.3, abs=0.03)


def test_batch_with_everything_off_is_the_identity(picture: np.ndarray) -> None:
    augment = BatchAugment(Augment(rotation=0, zoom=(1, 1), flip=0))
    image = torch.from_numpy(picture)[None, None]
    assert torch.equal(augment(image, augment.draw(1, seed=0, epoch=0)), image)


def test_batch_numbers_depend_on_seed_and_epoch() -> None:
    augment = BatchAugment(Augment())
    first = augment.draw(5, seed=0, epoch=0)
    assert torch.equal(first, augment.draw(5, seed=0, epoch=0))
    assert not torch.equal(first, augment.draw(5, seed=1, epoch=0))
    assert not torch.equal(first, augment.draw(5, seed=0, epoch=1))


def test_a_pipeline_of_albumentations_draws_by_the_seed_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    crop = A.RandomResizedCrop(size=(32, 32), scale=(0.3, 1.0))
    augment = Pipeline([crop, A.RandomBrightnessContrast(p=1.0)]).per_image()
    first, other, again = (augment(image, seed=seed) for seed in (1, 2, 1))
    assert first.shape == image.shape
    assert (first == again).all()
    assert (first != other).any()
