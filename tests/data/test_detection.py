import numpy as np
import pandas as pd
import pytest

from pneumo.data import image
from pneumo.data.augment import Augment, BoxAugment
from pneumo.data.boxes import SIDES, per_image, to_file, to_prepared
from pneumo.data.cache import Cache
from pneumo.data.detection import BoxBatch, BoxDataModule


@pytest.fixture
def data() -> BoxDataModule:
    """Six images of 64 pixels, the files twice as wide; every other one has a bright box."""
    images = np.zeros((6, 64, 64), np.uint8)
    images[::2, 24:40, 16:32] = 255
    box = np.array([[32.0, 24, 64, 40]])
    none = np.empty((0, 4))
    table = pd.DataFrame(
        {
            "label": ["PNEUMONIA", "NORMAL"] * 3,
            "split": ["train"] * 4 + ["val"] * 2,
            "boxes": pd.Series([box, none] * 3),
            "width": 128,
            "height": 64,
        }
    )
    cache = Cache(images, [], np.zeros(6), np.zeros(6))
    augment = Augment(rotation=20, zoom=(0.8, 1.2), fill=0)
    return BoxDataModule(table, cache, aspect="stretch", batch_size=4, augment=augment, seed=0)


def test_boxes_are_in_pixels_of_the_prepared_image(data: BoxDataModule) -> None:
    (batch,) = data.loader("val")
    assert isinstance(batch, BoxBatch)
    assert [one.tolist() for one in batch.boxes] == [[[16, 24, 32, 40]], []]
    assert batch.row.tolist() == [4, 5]
    assert data.to_file(batch.boxes[0].numpy(), 4).tolist() == [[32, 24, 64, 40]]


def test_boxes_follow_the_augmentation(data: BoxDataModule) -> None:
    for epoch in range(5):
        (batch,) = data.loader("train", augment=data.augment, shuffle=True, epoch=epoch)
        assert isinstance(batch, BoxBatch)
        for pixels, row, boxes in zip(batch.image, batch.row.tolist(), batch.boxes, strict=True):
            assert len(boxes) == (row + 1) % 2
            if len(boxes):
                y, x = np.nonzero(pixels[0].numpy() > 127)
                around = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
                assert np.abs(boxes[0].numpy() - around).max() < 2.5


def test_the_same_epoch_draws_the_same(data: BoxDataModule) -> None:
    def drawn(epoch: int) -> list[float]:
        (batch,) = data.loader("train", augment=data.augment, shuffle=True, epoch=epoch)
        assert isinstance(batch, BoxBatch)
        return batch.sides.flatten().tolist()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_box_that_leaves_is_cut_or_dropped_and_the_image_is_as_without_boxes() -> None:
    half = Augment(rotation=0, zoom=(2, 2), flip=0, fill=0)  # shows the middle, 16 to 48 of 64
    augment = BoxAugment(half.transforms)
    boxes = np.array([[8.0, 24, 40, 40], [0, 24, 20, 40], [0, 0, 10, 10]])
    _, found = augment(np.zeros((64, 64), np.uint8), boxes, seed=0)
    # of the first three quarters are left, of the second a fifth, of the third nothing
    assert found == pytest.approx(np.array([[0, 16, 48, 48]]), abs=1)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    augmented, _ = BoxAugment(Augment().transforms)(pixels, np.empty((0, 4)), seed=3)
    assert (augmented == Augment()(pixels, seed=3)).all()


@pytest.mark.parametrize("aspect", ["stretch", "pad"])
def test_a_box_stays_around_what_it_was_around_and_goes_back(aspect: str) -> None:
    file = (300, 200)  # width, height
    picture = np.zeros((200, 300), np.uint8)
    picture[50:150, 60:240] = 255
    prepared = image.resize(picture, size=96, aspect=aspect)
    y, x = np.nonzero(prepared > 127)
    found = to_prepared(np.array([[60, 50, 240, 150]]), file, size=96, aspect=aspect)
    assert np.abs(found[0] - [x.min(), y.min(), x.max() + 1, y.max() + 1]).max() <= 1
    boxes = np.array([[0.0, 0, 300, 200], [10, 20, 30, 40]])
    moved = to_prepared(boxes, file, size=64, aspect=aspect)
    assert to_file(moved, file, size=64, aspect=aspect) == pytest.approx(boxes)


def test_a_table_of_boxes_becomes_one_of_images() -> None:
    rows = pd.DataFrame(
        [["b", 9, 8, 1, 2, 3, 4], ["a", 7, 6, *4 * [None]], ["b", 9, 8, 5, 6, 7, 8]],
        columns=["path", "width", "height", *SIDES],
    )
    found = per_image(rows)
    assert found["path"].tolist() == ["b", "a"]
    assert found["boxes"][0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found["boxes"][1].shape == (0, 4)
