"""The picture of networks by the images they were tested on, across data sets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pneumo.report.drawing import Picture, panels, short_label
from pneumo.report.external import EXTERNAL, Result
from pneumo.report.wording import decimal, interval

MOST_ROWS = 16  # networks
DARK = 0.8  # AUROC above which a cell is too dark for black text


def tested_on(results: Sequence[Result]) -> Figure | None:
    """AUROC with its interval: a row for each network with external results, a column for each set.

    None if there are no external results.
    """
    rows = list(dict.fromkeys(row[:3] for row in results if row.column == EXTERNAL))[:MOST_ROWS]
    if not rows:
        return None
    shown = [result for result in results if result[:3] in rows]
    sets = list(dict.fromkeys(result.tested_on for result in shown))
    values = np.full((len(rows), len(sets)), np.nan)
    figure, (ax,) = panels(1, height=0.45 + 0.42 * len(rows))
    for result in shown:
        row, column = rows.index(result[:3]), sets.index(result.tested_on)
        values[row, column] = result.value
        lines = [decimal(result.value, digits=2), interval(result.low, result.high, digits=2)]
        colour = "#ffffff" if result.value > DARK else "#1a1a1a"
        middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6.5}
        ax.text(column, row, "\n".join(lines), color=colour, **middle)
    ax.imshow(values, cmap="Blues", vmin=0.4, vmax=1.05, aspect="auto")
    names = [
        f"{short_label(network, most=26)}\n{kind}, {protocol}" for network, kind, protocol in rows
    ]
    ax.set_xticks(range(len(sets)), sets)
    ax.set_yticks(range(len(rows)), names)
    ax.set(xlabel="tested on", ylabel="trained on")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    return figure


PICTURES = {
    "tested-on": Picture(
        tested_on,
        "Trained on one set, tested on others",
        "AUROC of each network with external results: on its own test split (the column of the set "
        "it was trained on) and on images of other sources; 0.5 is chance. Median over trials and "
        "lowest to highest; of a single trial the 95 % interval over patients. Empty: not scored.",
    )
}
