"""What a command writes: whole or not at all, and never in place of what it reads."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pneumo import atomic
from pneumo.runs import run_folder

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # how text begins that spreadsheets compute


def check_out(
    out: Path, *, run_dirs: Sequence[Path], inputs: Iterable[Path] = (), name: str = "--out"
) -> None:
    """Raises ValueError where ``out`` cannot be written, or is what a command reads.

    A file that exists is replaced, since the user named it; not so a folder, one of ``inputs``,
    or what the training wrote to one of ``run_dirs``. ``name`` is the option's.
    """
    if is_stream(out):
        return
    place = out.resolve()
    if not place.parent.is_dir():
        raise ValueError(f"{name} must lie in a folder that exists; there is no {out.parent}")
    if place.exists() and not place.is_file():
        raise ValueError(f"{name} must name a file; {out} is none")
    if not os.access(place.parent, os.W_OK):
        raise ValueError(f"{name} must lie in a folder that can be written; {out.parent} cannot")
    for run_dir in map(Path.resolve, run_dirs):
        inside = place.relative_to(run_dir).parts if place.is_relative_to(run_dir) else ("-",)
        events = inside[0].startswith("events.")
        if inside[0] in run_folder.RUN_FOLDERS or inside[0] in run_folder.RUN_FILES or events:
            raise ValueError(f"{name} must not replace a part of a run; {out} is one. Name another")
    if place.exists() and any(path.resolve() == place for path in inputs):
        raise ValueError(f"{name} must not replace an image that is read; {out} is one")


def unwritable(out: Path) -> Path | None:
    """Returns the nearest of ``out`` and the folders above it that exists, if not writable."""
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    return None if nearest.is_dir() and os.access(nearest, os.W_OK) else nearest


def check_folder(
    out: Path,
    *,
    name: str = "--out",
    earlier: str | None = None,
    foreign: Callable[[list[str]], Iterable[str]] = list,
) -> None:
    """Raises ValueError where a command cannot put a folder in the place of ``out``.

    Args:
        out: is to be replaced, see atomic.replacing_folder.
        name: the option's.
        earlier: what ``out`` may hold, such as "an earlier audit"; None: nothing.
        foreign: returns those of the names in ``out`` that no earlier call wrote.
    """
    place = out.resolve()
    if place.exists() and not place.is_dir():
        raise ValueError(f"{name} must name a folder; {out} is a file")
    for folder in (place.parent, *([place] if place.exists() else [])):
        if blocked := unwritable(folder):
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
    """Returns what the system says of an error, without the file's name."""
    return error.strerror or type(error).__name__


def is_stream(path: Path) -> bool:
    """Returns whether a path is written to and never replaced: /dev/null, /dev/stdout, a pipe."""
    return path.is_char_device() or path.is_fifo()


@contextmanager
def opened(out: Path | None, *, standard: TextIO) -> Iterator[TextIO]:
    """Yields a text file that takes ``out``'s place when all is written, or ``standard``."""
    if out is None:
        yield standard
        standard.flush()
        return
    if is_stream(out):
        with out.open("w", encoding="utf-8") as stream:
            yield stream
        return
    out = out.resolve()  # a link stays one
    with atomic.replacing(out) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        yield file


def spreadsheet_safe(value: Any) -> Any:
    """Returns what a table's cell may hold: text that a spreadsheet would compute gets a quote."""
    computed = isinstance(value, str) and len(value) > 1 and value.startswith(FORMULA)
    return f"'{value}" if computed else value


def printable(text: str) -> str:
    """Returns a file's name as UTF-8, which it need not be; what is not is escaped."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
