import io

import numpy as np
from PIL import Image

from pneumo.inference import box_overlay


def drawn(**boxes: object) -> np.ndarray:
    radiograph = np.full((100, 200), 128, np.uint8)
    data = box_overlay.draw(radiograph, width=400, **boxes)  # type: ignore[arg-type]
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_a_box_is_drawn_with_its_score_where_it_is_and_nowhere_else() -> None:
    plain, picture = drawn(), drawn(predicted=[[20, 10, 150, 90]], scores=[0.87])
    assert picture.shape == (200, 400, 3)
    rows, columns = np.nonzero(np.abs(picture - plain).sum(2))
    assert np.allclose([columns.min(), columns.max()], [40, 300], atol=3)
    assert np.allclose([rows.min(), rows.max()], [20, 180], atol=3)
    np.testing.assert_array_equal(picture[60:170, 60:280], plain[60:170, 60:280])
    assert np.abs(picture - plain)[24:40, 44:80].sum() > 0
