import io

import numpy as np
from PIL import Image

from pneumo.inference import box_overlay


def drawn(**boxes: object) -> np.ndarray:
    radiograph = np.full((100, 200), 128, np.uint8)
    data = box_overlay.draw(radiograph, width=400, **boxes)  # type: ignore[arg-type]
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_a_box_is_drawn_where_it_is_and_nowhere_else() -> None:
    plain, picture = drawn(), drawn(truth=[[20, 10, 60, 50]])
    assert picture.shape == (200, 400, 3)
    rows, columns = np.nonzero(np.abs(picture - plain).sum(2))
    assert np.allclose([columns.min(), columns.max()], [40, 120], atol=3)
    assert np.allclose([rows.min(), rows.max()], [20, 100], atol=3)
    np.testing.assert_array_equal(picture[40:80, 60:100], plain[40:80, 60:100])


def test_true_and_predicted_boxes_differ_and_scores_are_written() -> None:
    box = [[20.0, 10.0, 150.0, 90.0]]
    true, predicted = drawn(truth=box), drawn(predicted=box, scores=[0.87])
    blue, orange = (picture[20, 40:300].mean(0) for picture in (true, predicted))
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    text = predicted[24:40, 44:80] - true[24:40, 44:80]
    assert np.abs(text).sum() > 0
