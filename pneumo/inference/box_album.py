"""A folder of radiographs with their predicted boxes drawn over them."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pneumo import atomic
from pneumo.data import boxes as geometry
from pneumo.data import reader
from pneumo.data.reader import Radiograph
from pneumo.inference import box_overlay
from pneumo.inference.heatmap_images import check_album, targets
from pneumo.runs import output, run_folder

LIST = "overlays.json"
WRITER = "pneumo.predict --overlays"  # what makes a folder one of ours
WIDTH = 800  # pixels of a picture


class BoxAlbum:
    """A new folder of pictures with their list, overlays.json."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.targets = folder, targets(names, suffix=".boxes.png")
        self.pictures: list[dict[str, Any]] = []

    def add(self, radiograph: Radiograph, boxes: Sequence[Mapping[str, float]]) -> str | None:
        """Writes the picture of a radiograph and returns its file's name.

        One without boxes is drawn, too; of standard input, the image as prepared. Where it cannot
        be read, says why on stderr and returns None.
        """
        sides = np.array([[box[side] for side in geometry.SIDES] for box in boxes]).reshape(-1, 4)
        scores = [box["score"] for box in boxes]
        path = self.folder / self.targets[radiograph.name]
        try:
            grey, sides = _shown(radiograph, sides)
        except ValueError as error:  # it was there a moment ago
            sys.stderr.write(f"note: no picture of {error}\n")
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
        names: of the radiographs, as they were given.

    Raises:
        ValueError: ``out`` holds something else.
    """
    check_album(out, "--overlays", list_name=LIST, writer=WRITER)
    with atomic.replacing_folder(out, keep=True) as folder:
        made = BoxAlbum(folder, names)
        yield made
        about = {"written_by": WRITER, "images": made.pictures}
        run_folder.write_json(folder / LIST, about)


def _shown(radiograph: Radiograph, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The radiograph to draw, and its boxes (N, 4) in its pixels."""
    if radiograph.name != reader.STANDARD_INPUT:
        return reader.decode(radiograph.name)[0], sides
    (size, aspect), prepared = next(iter(radiograph.prepared.items()))
    return prepared, geometry.to_prepared(sides, radiograph.size, size=size, aspect=aspect)
