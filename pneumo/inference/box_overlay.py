"""A radiograph with its predicted boxes drawn over it."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

COLOUR = "#e69f00"
DPI = 100


def draw(
    radiograph: np.ndarray,
    *,
    predicted: ArrayLike = (),
    scores: ArrayLike = (),
    width: int = 480,
) -> bytes:
    """Returns a PNG of the radiograph, (H, W) uint8, with boxes and their scores.

    Args:
        radiograph: the boxes are in its pixels.
        predicted: (K, 4) x_min, y_min, x_max, y_max.
        scores: (K,) in [0, 1].
        width: of the picture in pixels; its height keeps the proportions.
    """
    height, across = radiograph.shape
    figure = Figure(figsize=(width / DPI, width / DPI * height / across), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(radiograph, cmap="gray", vmin=0, vmax=255, aspect="auto")
    outline = [withStroke(linewidth=3, foreground="black", alpha=0.6)]
    boxes = np.reshape(np.asarray(predicted, np.float64), (-1, 4))
    for box, score in zip(boxes, np.asarray(scores, np.float64), strict=True):
        dashed = {"linestyle": (0, (4, 2)), "color": COLOUR}
        axes.add_patch(_rectangle(box, path_effects=outline, **dashed))
        axes.annotate(
            f"{score:.2f}",
            (box[0], box[1]),
            xytext=(2, -2),
            textcoords="offset points",
            va="top",
            color=COLOUR,
            fontsize=9,
            bbox={"facecolor": "black", "alpha": 0.7, "pad": 1, "linewidth": 0},
            clip_on=True,
        )
    axes.set(xlim=(-0.5, across - 0.5), ylim=(height - 0.5, -0.5))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _rectangle(box: np.ndarray, **style: object) -> Rectangle:
    x_min, y_min, x_max, y_max = box - 0.5  # in imshow, a pixel's centre is a whole number
    return Rectangle(
        (x_min, y_min),
        x_max - x_min,
        y_max - y_min,
        fill=False,
        linewidth=1.6,
        **style,  # type: ignore[arg-type]
    )
