"""A folder of pictures of radiographs with their list, whole or not at all."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pneumo import atomic, cli, untrusted
from pneumo.data import reader
from pneumo.data.reader import STANDARD_INPUT, Radiograph
from pneumo.inference.prediction import Row
from pneumo.runs import output

MAX_NAME = 200  # bytes of a picture's name; file systems take 255
# To the PNG of a radiograph and its entry in the list; ValueError if it cannot be read again
Draw = Callable[[Radiograph, Row], tuple[bytes, dict[str, Any]]]


@dataclass
class Album:
    """A new folder of pictures."""

    folder: Path
    column: str  # of a table, with the names of the pictures
    targets: Mapping[str, str]  # name of the picture of each radiograph
    draw: Draw
    images: list[dict[str, Any]] = field(default_factory=list)  # the list

    def add(self, radiograph: Radiograph, row: Row) -> str | None:
        """Draws and writes a picture; returns its file's name, or None with a note."""
        try:
            png, entry = self.draw(radiograph, row)
        except ValueError as error:  # the image could be read a moment ago
            cli.note(f"no picture of {error}")
            return None
        return self.write(radiograph.name, png, entry)

    def write(self, name: str, png: bytes, entry: Mapping[str, Any]) -> str:
        """Writes the picture of a radiograph; returns its file's name."""
        path = self.folder / self.targets[name]
        path.write_bytes(png)
        self.images.append({"file": shown_name(name), "picture": path.name, **entry})
        return path.name


@contextmanager
def opened(
    out: Path,
    names: Sequence[str],
    draw: Draw,
    *,
    list_name: str,
    about: Mapping[str, Any],
    column: str,
    suffix: str,
) -> Iterator[Album]:
    """Yields an album that replaces ``out`` (see `check`) at the end; other pictures in it stay.

    ``names`` are the radiographs as the user named them, ``suffix`` ends the pictures' names, and
    ``list_name`` is the file with the list, after the content of ``about``.
    """
    with atomic.replacing_folder(out, keep=True) as folder:
        album = Album(folder, column, targets(names, suffix=suffix), draw)
        yield album
        atomic.write_json(folder / list_name, {**about, "images": album.images})


def check(out: Path, option: str, *, list_name: str, writer: str) -> None:
    """Raises ValueError if a folder holds anything but the pictures of an earlier call.

    ``list_name`` is the file with their list, in which ``writer`` is "written_by".
    """

    def foreign(names: list[str]) -> list[str]:
        try:
            return [] if untrusted.read_json(out / list_name)["written_by"] == writer else names
        except (OSError, ValueError, KeyError):
            return names

    output.check_folder(out, name=option, earlier="an earlier call's pictures", foreign=foreign)


def original(radiograph: Radiograph) -> Any:
    """Returns the (H, W) uint8 pixels of a radiograph, read again; standard input as prepared."""
    if radiograph.name == STANDARD_INPUT:
        return next(iter(radiograph.prepared.values()))
    return reader.decode(radiograph.name)[0]


def shown_name(name: str) -> str:
    """Returns the name of a file in a list of pictures."""
    return output.printable(Path(name).name)


def targets(names: Sequence[str], *, suffix: str) -> dict[str, str]:
    """Returns the name of the picture of each radiograph, unique in the call."""
    places = {name: Path("stdin" if name == STANDARD_INPUT else name).absolute() for name in names}
    top = Path(os.path.commonpath([place.parent for place in places.values()]))
    parts = {name: "__".join(place.relative_to(top).parts) for name, place in places.items()}
    return {name: _fitting(output.printable(part)) + suffix for name, part in parts.items()}


def _fitting(name: str) -> str:
    """Returns a name for a file, or its end after a digest of it if it is too long."""
    if len(name.encode()) <= MAX_NAME and "\0" not in name:
        return name
    return f"{hashlib.sha256(name.encode()).hexdigest()[:12]}-{name.replace(chr(0), '')[-20:]}"
