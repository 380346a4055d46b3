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
Draw = Callable[[Radiograph, Row], tuple[bytes, dict[str, Any]]]


@dataclass
class Album:
    """A new folder of pictures.

    Attributes:
        folder: of the pictures.
        column: of a table, with the names of the pictures.
        targets: name of the picture of each radiograph.
        draw: returns the PNG of a radiograph and its entry in the list; ValueError if the image
            cannot be read again.
        images: the list.
    """

    folder: Path
    column: str
    targets: Mapping[str, str]
    draw: Draw
    images: list[dict[str, Any]] = field(default_factory=list)

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
    """Yields an album that takes the place of ``out`` at the end; other pictures in it stay.

    Args:
        out: a folder that `check` accepts.
        names: of the radiographs, as the user gave them.
        draw: see Album.
        list_name: the file with the list.
        about: the other content of the list.
        column: see Album.
        suffix: of the pictures' names.
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
            own = untrusted.read_json(out / list_name).get("written_by") == writer
        except (OSError, ValueError):
            own = False
        return [] if own else names

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
    return {
        name: _fitting("__".join(place.relative_to(top).parts), suffix)
        for name, place in places.items()
    }


def _fitting(name: str, suffix: str) -> str:
    """Returns a name for a file: as it is, or its end after a digest of it if it is too long."""
    name = output.printable(name)
    data = name.encode()
    if len(data) <= MAX_NAME and "\0" not in name:
        return name + suffix
    digest = hashlib.sha256(data).hexdigest()[:12]
    return f"{digest}-{name.replace(chr(0), '')[-20:]}{suffix}"
