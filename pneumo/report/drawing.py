"""The look of the pictures: one journal column wide, colour-blind-safe; written without dates."""

import io
import re
from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumo.report.groups import Cell, Group

WIDTH = 3.5  # inches: one column of a journal, and a phone's screen at a readable size
INK, PAPER, LINE, MUTED = "#1b1f24", "#fdfefe", "#d8dce1", "#6b7280"
# Okabe & Ito, Color Universal Design (2008), without black and yellow; marker and line differ too,
# so that nothing rests on colour.
STYLES = (
    ("#0072b2", "o", "-"),
    ("#d55e00", "s", (0, (5, 1.5))),
    ("#009e73", "^", (0, (4, 1.2, 1, 1.2))),
    ("#cc79a7", "D", (0, (1, 1))),
    ("#e69f00", "v", (0, (7, 2))),
    ("#56b4e9", "P", (0, (3, 1, 1, 1, 1, 1))),
    ("#999999", "X", (0, (2, 2))),
    ("#7a5195", "<", (0, (8, 1, 2, 1))),
)
MOST_SHOWN = len(STYLES)  # networks in one picture
PAPERS_TINY = "paper's tiny"
MOST_BANDS = 3  # in one panel; more would hide each other
SETTINGS: dict[Any, Any] = {
    **dict.fromkeys(("font.size", "axes.labelsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 7.5),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    **dict.fromkeys(("grid.linewidth", "hatch.linewidth"), 0.5),
    **{"axes.titlesize": 8.5, "axes.titlelocation": "left", "axes.titleweight": "bold"},
    **{"axes.linewidth": 0.7, "axes.facecolor": "none", "grid.color": LINE, "legend.fontsize": 7},
    **{"lines.linewidth": 1.3, "lines.markersize": 4},
    "text.parse_math": False,  # a network's name may hold a dollar sign
    "pdf.fonttype": 42,  # TrueType, as journals require
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and edited
    "svg.hashsalt": "pneumo",  # the same runs give the same bytes
}


class Picture(NamedTuple):
    """A picture of a section of the report, with its title and caption."""

    draw: Callable[[Any], Figure | None]  # of a Group, or of a section of detectors
    title: str
    caption: str


def shown(group: Group) -> list[tuple[Cell, Any]]:
    """Returns the networks in the pictures, each with its colour, marker and line.

    At most `MOST_SHOWN`, those with most trials. The prior, which has one score for all images,
    is among them only if it is alone.
    """
    cells = [cell for cell in group.cells if cell.model != "prior"] or group.cells
    most = sorted(cells, key=lambda cell: -len(cell.trials))[:MOST_SHOWN]
    return list(zip((cell for cell in cells if cell in most), STYLES, strict=False))


def draw(picture: Callable[[Any], Figure | None], subject: Any) -> dict[str, bytes] | None:
    """Returns a picture by kind: png (200 dpi, white), svg and pdf (transparent), without dates.

    None if the subject has nothing to show.
    """
    with mpl.rc_context(SETTINGS):
        figure = picture(subject)
        if figure is None:
            return None
        raster, vector, pdf = (io.BytesIO() for _ in range(3))
        figure.savefig(vector, format="svg", transparent=True, metadata={"Date": None})
        figure.set_layout_engine("none")  # the layout is done, and slow
        figure.savefig(pdf, format="pdf", transparent=True, metadata={"CreationDate": None})
        about: dict[str, Any] = {"metadata": {"Software": None}}
        about["pil_kwargs"] = {"compress_level": 4}
        figure.savefig(raster, format="png", dpi=200, facecolor="white", **about)
    return {"png": raster.getvalue(), "svg": vector.getvalue(), "pdf": pdf.getvalue()}


def inline_svg(vector: bytes, *, label: str) -> Markup:
    """Returns an SVG for a page: with the page's colours and width, and a label for readers."""
    text = vector.decode()
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    for size in ("width", "height"):
        body = re.sub(rf'(<svg [^>]*?){size}="[^"]*"', r"\1", body, count=1)
    for colour, name in ((INK, "ink"), (LINE, "line"), (MUTED, "muted"), (PAPER, "paper")):
        body = body.replace(colour, f"var(--{name})")
    return Markup(body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))  # noqa: S704


def panels(
    rows: int, columns: int = 1, *, height: float, **share: Any
) -> tuple[Figure, list[Axes]]:
    """Returns a figure one column wide with rows of a height in inches, and its axes row by row."""
    figure = Figure(figsize=(WIDTH, rows * height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **share).flat)


def band(
    ax: Axes, x: Any, curves: Any, colour: str, line: Any, label: str, *, among: int = 1
) -> Any:
    """Draws the median of curves (K, points), and returns it.

    Their range is drawn too if the panel has few networks (``among``).
    """
    table = pd.DataFrame(curves)  # whose statistics leave out NaN
    middle, low, high = table.median().to_numpy(), table.min(), table.max()
    if among <= MOST_BANDS:
        ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    ax.plot(x, middle, color=colour, ls=line, label=label)
    return middle


def star(ax: Axes, x: float, y: float) -> None:
    """Draws a score of the paper's tiny."""
    ax.plot(x, y, "*", ms=10, mfc="none", mec=INK, mew=0.9, ls="none", label=PAPERS_TINY, zorder=5)


def legend_above(figure: Figure, ax: Axes) -> None:
    """Draws the legend of ax above the whole figure, which grows by its height."""
    spacing: dict[str, Any] = {"columnspacing": 1.0, "handlelength": 1.6, "handletextpad": 0.4}
    handles, texts = ax.get_legend_handles_labels()
    labels = [short_label(text, most=60) for text in texts]
    longest = max(map(len, labels), default=0)
    columns = 3 if longest <= 11 else 2 if longest <= 20 else 1
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, **spacing)
    figure.set_figheight(figure.get_figheight() + 0.18 * ceil(len(labels) / columns))


def short_label(label: str, *, most: int = 32) -> str:
    """Returns a network's label, cut in the middle if it is long: its end distinguishes settings.

    >>> short_label("efficientnet_lite0 (pretrained=False)")
    'efficientnet_li…retrained=False)'
    """
    half = (most - 1) // 2
    return label if len(label) <= most else f"{label[:half]}…{label[half + 1 - most :]}"
