import numpy as np
import pandas as pd
import pytest

from pneumo.data import image
from pneumo.data.boxes import SIDES, per_image, to_file, to_prepared

FILE = (300, 200)  # width, height


@pytest.mark.parametrize("aspect", ["stretch", "pad"])
def test_a_box_stays_around_what_it_was_around_and_goes_back(aspect: str) -> None:
    picture = np.zeros(FILE[::-1], np.uint8)
    picture[50:150, 60:240] = 255
    prepared = image.resize(picture, size=96, aspect=aspect)
    y, x = np.nonzero(prepared > 127)
    found = to_prepared(np.array([[60, 50, 240, 150]]), FILE, size=96, aspect=aspect)
    assert np.abs(found[0] - [x.min(), y.min(), x.max() + 1, y.max() + 1]).max() <= 1
    boxes = np.array([[0.0, 0, 300, 200], [10, 20, 30, 40]])
    moved = to_prepared(boxes, FILE, size=64, aspect=aspect)
    assert to_file(moved, FILE, size=64, aspect=aspect) == pytest.approx(boxes)


def test_a_table_of_boxes_becomes_one_of_images() -> None:
    rows = pd.DataFrame(
        [["b", 9, 8, 1, 2, 3, 4], ["a", 7, 6, *4 * [None]], ["b", 9, 8, 5, 6, 7, 8]],
        columns=["path", "width", "height", *SIDES],
    )
    found = per_image(rows)
    assert found["path"].tolist() == ["b", "a"]
    assert found["boxes"][0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found["boxes"][1].shape == (0, 4)
    assert found[["width", "height"]].to_numpy().tolist() == [[9, 8], [7, 6]]
