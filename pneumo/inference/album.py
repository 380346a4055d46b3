"""A folder of pictures of radiographs with their list, whole or not at all."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pneumo import atomic, untrusted
from pneumo.data import reader
from pneumo.data.reader import STANDARD_INPUT, Radiograph
from pneumo.inference.prediction import Row
from pneumo.runs import output

# By column of the table with the pictures' names; "written_by" in the list of an earlier call
WRITERS = {"heatmap": "pneumo.heatmap", "overlay": "pneumo.predict --overlays"}
SCORES = "scores.json"  # of the heat maps in the folder, of one call
LIST = "{}s.json"  # with the pictures in the folder
MAX_NAME = 200  # bytes of a picture's name; file systems take 255
# To the PNG of a radiograph, with its pixels and its row, and its entry in the list
Draw = Callable[[Radiograph, np.ndarray, Row], tuple[bytes, dict[str, Any]]]


@dataclass
class Album:
    """A new folder of pictures."""

    folder: Path
    column: str  # of the table, a key of WRITERS
    targets: Mapping[str, str]  # name of the picture of each radiograph
    draw: Draw
    images: list[dict[str, Any]] = field(default_factory=list)  # the list
    kind: str = "picture"

    def add(self, radiograph: Radiograph, row: Row) -> str:
        """Draws and writes a picture; returns its file's name. ImageError: it cannot be read."""
        if radiograph.name == STANDARD_INPUT and radiograph.prepared:  # read once
            pixels = next(iter(radiograph.prepared.values()))
        else:
            pixels = reader.decode(radiograph.name)[0]
        png, entry = self.draw(radiograph, pixels, row)
        path = self.folder / self.targets[radiograph.name]
        path.write_bytes(png)
        shown = {"file": shown_name(radiograph.name), "picture": path.name}
        self.images.append(shown | entry)
        return path.name


@contextmanager
def opened(
    out: Path,
    names: Sequence[str],
    draw: Draw,
    *,
    column: str,
    suffix: str,
    about: Mapping[str, Any] | None = None,
) -> Iterator[Album]:
    """Yields an album that replaces ``out`` (see `check`) at the end; other pictures in it stay.

    ``names`` are the radiographs as the user named them, ``suffix`` ends the pictures' names, and
    ``about`` precedes the list of pictures.
    """
    with atomic.replacing_folder(out, keep=True, but=[SCORES]) as folder:
        album = Album(folder, column, targets(names, suffix=suffix), draw)
        yield album
        content = {"written_by": WRITERS[column], **(about or {}), "images": album.images}
        atomic.write_json(folder / LIST.format(column), content)


def check(out: Path, option: str, *, column: str) -> None:
    """Raises ValueError if a folder holds anything but the pictures of an earlier call."""

    def foreign(names: list[str]) -> list[str]:
        try:
            content = untrusted.read_json(out / LIST.format(column))
        except (OSError, ValueError):
            return names
        return [] if content.get("written_by") == WRITERS[column] else names

    output.check_folder(out, name=option, earlier="an earlier call's pictures", foreign=foreign)


def shown_name(name: str) -> str:
    """Returns the name of a file in a list of pictures."""
    return output.printable(Path(name).name)


def targets(names: Sequence[str], *, suffix: str) -> dict[str, str]:
    """Returns the name of the picture of each radiograph, unique in the call."""
    places = {name: Path("stdin" if name == STANDARD_INPUT else name).absolute() for name in names}
    top = Path(os.path.commonpath([place.parent for place in places.values()]))
    parts = {name: "__".join(place.relative_to(top).parts) for name, place in places.items()}
    parts = {name: output.printable(part) for name, part in parts.items()}
    times = Counter(part for part, _ in {(parts[name], places[name]) for name in names})
    return {
        name: _fitting(part, places[name], is_unique=times[part] == 1) + suffix
        for name, part in parts.items()
    }


def _fitting(name: str, place: Path, *, is_unique: bool) -> str:
    """Returns a name, or its end after a digest of the place if it is too long or not unique."""
    if is_unique and len(name.encode()) <= MAX_NAME and "\0" not in name:
        return name
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()
    return f"{digest[:12]}-{name.replace(chr(0), '')[-20:]}"
