"""A folder of radiographs with their predicted boxes drawn over them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pneumo import atomic, cli
from pneumo.data import boxes as geometry
from pneumo.data import reader
from pneumo.data.reader import Radiograph
from pneumo.inference import box_overlay
from pneumo.inference.heatmap_images import check_album, targets
from pneumo.inference.prediction import Row
from pneumo.runs import output

LIST = "overlays.json"
WRITER = "pneumo.predict --overlays"  # marks a folder of an earlier call
WIDTH = 800  # pixels of a picture


class BoxAlbum:
    """A new folder of pictures with their list, overlays.json."""

    column = "overlay"

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.targets = folder, targets(names, suffix=".boxes.png")
        self.pictures: list[dict[str, Any]] = []

    def add(self, radiograph: Radiograph, row: Row) -> str | None:
        """Writes the picture of a radiograph, with or without boxes; returns its file's name.

        Standard input is drawn as prepared. None, with a note, if the image cannot be read again.
        """
        boxes = row["boxes"]
        sides = np.array([[box[side] for side in geometry.SIDES] for box in boxes]).reshape(-1, 4)
        scores = [box["score"] for box in boxes]
        path = self.folder / self.targets[radiograph.name]
        try:
            grey, sides = _drawn(radiograph, sides)
        except ValueError as error:  # it could be read a moment ago
            cli.note(f"no picture of {error}")
            return None
        path.write_bytes(box_overlay.draw(grey, predicted=sides, scores=scores, width=WIDTH))
        file = output.printable(Path(radiograph.name).name)
        self.pictures.append({"file": file, "picture": path.name, "boxes": len(boxes)})
        return path.name


@contextmanager
def album(out: Path, names: Sequence[str]) -> Iterator[BoxAlbum]:
    """Yields an album that takes the place of ``out`` at the end, whole or not at all.

    Args:
        out: a folder that is new, empty, or of an earlier call; other pictures in it stay.
        names: of the radiographs, as the user gave them.

    Raises:
        ValueError: ``out`` holds something else.
    """
    check_album(out, "--overlays", list_name=LIST, writer=WRITER)
    with atomic.replacing_folder(out, keep=True) as folder:
        pictures = BoxAlbum(folder, names)
        yield pictures
        about = {"written_by": WRITER, "images": pictures.pictures}
        atomic.write_json(folder / LIST, about)


def _drawn(radiograph: Radiograph, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the radiograph to draw, and its boxes (N, 4) in its pixels."""
    if radiograph.name != reader.STANDARD_INPUT:
        return reader.decode(radiograph.name)[0], sides
    (size, aspect), prepared = next(iter(radiograph.prepared.items()))
    return prepared, geometry.to_prepared(sides, radiograph.size, size=size, aspect=aspect)
