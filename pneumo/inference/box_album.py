"""A folder of radiographs with their predicted boxes drawn over them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
    """A folder of pictures with their list, overlays.json, which a second call replaces.

    Args:
        out: a folder that is new, empty, or of an earlier call; it is made.
        names: of the radiographs, as they were given.

    Raises:
        ValueError: ``out`` holds something else.
    """

    def __init__(self, out: Path, names: Sequence[str]) -> None:
        check_album(out, "--overlays", list_name=LIST, writer=WRITER)
        self.out, self.targets = out, targets(names, suffix=".boxes.png")
        self.pictures: list[dict[str, Any]] = []
        out.mkdir(parents=True, exist_ok=True)
        self.write_list()  # from now on the folder is ours

    def add(self, radiograph: Radiograph, boxes: Sequence[Mapping[str, float]]) -> str | None:
        """Writes the picture of a radiograph, whole or not at all, and returns its file's name.

        One without boxes is drawn, too; of standard input, the image as prepared. Where that fails,
        says why on stderr and returns None.
        """
        sides = np.array([[box[side] for side in geometry.SIDES] for box in boxes]).reshape(-1, 4)
        scores = [box["score"] for box in boxes]
        path = self.out / self.targets[radiograph.name]
        try:
            grey, sides = _shown(radiograph, sides)
            png = box_overlay.draw(grey, predicted=sides, scores=scores, width=WIDTH)
            with output.beside_table(path, name=radiograph.name) as part:
                part.write_bytes(png)
        except ValueError as error:  # the image was there a moment ago, or the disk is full
            sys.stderr.write(f"note: no picture of {error}\n")
            return None
        file = output.printable(Path(radiograph.name).name)
        self.pictures.append({"file": file, "picture": path.name, "boxes": len(boxes)})
        return path.name

    def write_list(self) -> None:
        """Writes the list of all pictures so far."""
        about = {"written_by": WRITER, "images": self.pictures}
        run_folder.write_json(self.out / LIST, about)


def _shown(radiograph: Radiograph, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The radiograph to draw, and its boxes (N, 4) in its pixels."""
    if radiograph.name != reader.STANDARD_INPUT:
        return reader.decode(radiograph.name)[0], sides
    (size, aspect), prepared = next(iter(radiograph.prepared.items()))
    return prepared, geometry.to_prepared(sides, radiograph.size, size=size, aspect=aspect)
