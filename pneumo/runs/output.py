"""Checks and opens outputs: written whole or not at all, and never over an input."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pneumo import atomic
from pneumo.runs import run_folder

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # first characters of text that is computed


def check_out(
    out: Path, *, run_dirs: Sequence[Path], inputs: Iterable[Path] = (), name: str = "--out"
) -> None:
    """Raises ValueError if ``out`` cannot be written, or is a file that a command reads.

    An existing file is replaced, since the user named it; not so a folder, one of ``inputs``,
    or a file that training wrote to one of ``run_dirs``. ``name`` is the option's.
    """
    if is_stream(out):
        return
    place = out.resolve()
    if blocked := unwritable(place.parent):
        raise ValueError(f"{name} must lie in a folder that can be written; {blocked} cannot")
    if not place.parent.is_dir():
        raise ValueError(f"{name} must lie in a folder that exists; there is no {out.parent}")
    if place.exists() and not place.is_file():
        raise ValueError(f"{name} must name a file; {out} is not a file")
    parts = {*run_folder.RUN_FOLDERS, *run_folder.RUN_FILES}
    for run_dir in map(Path.resolve, run_dirs):
        inside = place.relative_to(run_dir).parts[0] if place.is_relative_to(run_dir) else ""
        if inside in parts or inside.startswith("events."):
            raise ValueError(f"{name} must not replace a part of a run; {out} is one. Name another")
    if place.exists() and any(path.resolve() == place for path in inputs):
        raise ValueError(f"{name} must not replace an image that is read; {out} is one")


def unwritable(out: Path) -> Path | None:
    """Returns the nearest existing of ``out`` and its parents if it is not writable, or None."""
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    return None if nearest.is_dir() and os.access(nearest, os.W_OK) else nearest


def check_files(paths: Sequence[Path], *, run_dir: Path, is_own: Callable[[Path], bool]) -> None:
    """Raises ValueError if a file to be written replaces one that no earlier call wrote.

    ``paths`` are in one folder, which may not exist yet; ``is_own`` recognises an earlier call's.
    """
    for path in paths:
        if path.exists() and not (path.is_file() and is_own(path)):
            raise ValueError(
                f"--out must not replace other files; {path} exists. Move it, or name another place"
            )
    if place := unwritable(paths[0].parent):
        raise ValueError(f"--out must lie in a folder that can be written; {place} cannot")
    if paths[0].parent.is_dir():
        check_out(paths[0], run_dirs=[run_dir])


def check_folder(
    out: Path,
    *,
    name: str = "--out",
    earlier: str | None = None,
    foreign: Callable[[list[str]], Iterable[str]] = list,
) -> None:
    """Raises ValueError if a command cannot replace the folder ``out``, see replacing_folder.

    ``earlier`` is the content that ``out`` may have, such as "an earlier audit"; ``foreign``
    returns those of the names in ``out`` that no earlier call wrote.
    """
    place = out.resolve()
    if place.exists() and not place.is_dir():
        raise ValueError(f"{name} must name a folder; {out} is a file")
    if blocked := unwritable(place.parent) or unwritable(place):
        raise ValueError(f"{name} must lie where it can be written; {blocked} cannot")
    if Path.cwd().is_relative_to(place) or place.is_mount():
        raise ValueError(
            f"{name} must name a folder that can be replaced; {out} is a mount point, the working "
            "directory or above it. Name a folder in it"
        )
    names = sorted(os.listdir(place)) if place.is_dir() else []  # noqa: PTH208  (names will do)
    if others := sorted(foreign(names)):
        allowed = f"new, empty or hold {earlier}" if earlier else "new or empty"
        raise ValueError(f"{name} must be {allowed}; {out} holds {others[0]}. Name another folder")


def reason(error: OSError) -> str:
    """Returns the system's text of an error, without the file's name."""
    return error.strerror or type(error).__name__


def is_stream(path: Path) -> bool:
    """Returns whether a path is written to and never replaced: /dev/null, /dev/stdout, a pipe."""
    return path.is_char_device() or path.is_fifo()


@contextmanager
def opened(out: Path | None, *, standard: TextIO) -> Iterator[TextIO]:
    """Yields a text file that replaces ``out`` when all is written, or ``standard``."""
    if out is None:
        yield standard
        standard.flush()
    elif is_stream(out):
        with out.open("w", encoding="utf-8") as stream:
            yield stream
    else:
        out = out.resolve()  # a link stays one
        with atomic.replacing(out) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            yield file


def spreadsheet_safe(value: Any) -> Any:
    """Returns a table's cell; text that a spreadsheet would compute gets a quote."""
    computed = isinstance(value, str) and len(value) > 1 and value.startswith(FORMULA)
    return f"'{value}" if computed else value


def printable(text: str) -> str:
    """Returns a file's name as UTF-8; bytes that are not UTF-8 are escaped."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
