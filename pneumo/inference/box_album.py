"""A folder of radiographs with their predicted boxes drawn over them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from pneumo.data import boxes as geometry
from pneumo.data import reader
from pneumo.data.reader import Radiograph
from pneumo.inference import album, box_overlay
from pneumo.inference.album import Album
from pneumo.inference.prediction import Row

LIST = "overlays.json"
WRITER = "pneumo.predict --overlays"  # marks a folder of an earlier call
WIDTH = 800  # pixels of a picture


def opened(out: Path, names: Sequence[str]) -> AbstractContextManager[Album]:
    """Returns the album of ``names`` in ``out``; ValueError if ``out`` holds something else."""
    album.check(out, "--overlays", list_name=LIST, writer=WRITER)
    about = {"written_by": WRITER}
    files = {"list_name": LIST, "column": "overlay", "suffix": ".boxes.png"}
    return album.opened(out, names, _draw, about=about, **files)


def _draw(radiograph: Radiograph, row: Row) -> tuple[bytes, dict[str, Any]]:
    boxes = row["boxes"]
    sides = np.array([[box[side] for side in geometry.SIDES] for box in boxes]).reshape(-1, 4)
    if radiograph.name == reader.STANDARD_INPUT:  # drawn as prepared
        size, aspect = next(iter(radiograph.prepared))
        sides = geometry.to_prepared(sides, radiograph.size, size=size, aspect=aspect)
    grey, scores = album.original(radiograph), [box["score"] for box in boxes]
    png = box_overlay.draw(grey, predicted=sides, scores=scores, width=WIDTH)
    return png, {"boxes": len(boxes)}
