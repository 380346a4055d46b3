"""Files and folders that appear whole or not at all, and what a killed process left of them."""

import contextlib
import ctypes
import os
import platform
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

RENAME_EXCHANGE, AT_FDCWD = 2, -100  # of Linux's renameat2, see its manual


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside ``path`` to write a file to; it then takes ``path``'s place.

    Where the body raises, nothing is left. What a killed process left is removed first.
    """
    part = temporary(path)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yields a new folder beside ``folder`` to write to; it then takes ``folder``'s place.

    Where the system can exchange two names (Linux), ``folder`` is there at any moment. Elsewhere it
    is gone between two renames; if the process is killed just then, the next call gets it back.
    """
    new, old = temporary(folder), folder.with_name(f".{folder.name}.old.tmp")
    if old.is_dir() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(new, ignore_errors=True)  # of a killed process that had the number of this one
    try:
        new.mkdir()
        yield new
        if not folder.exists():
            new.rename(folder)
        elif not _exchange(new, folder):
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
            new.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def temporary(path: Path) -> Path:
    """Returns this thread's temporary name beside ``path``, in a folder that was cleared once.

    The name tells the machine, since the number of a process means nothing on another.
    """
    _clear_once(path.parent.absolute())
    name = f".{path.name}.{_machine()}-{os.getpid()}-{threading.get_native_id()}.tmp"
    return path.with_name(name)


def clear(folder: Path) -> None:
    """Removes what killed processes of this machine left in ``folder``, as far as it can."""
    pattern = re.compile(rf"\..+\.{_machine()}-(\d+)-\d+\.tmp", re.DOTALL)
    with contextlib.suppress(OSError):
        for found in map(pattern.fullmatch, os.listdir(folder)):  # noqa: PTH208  (names will do)
            if found and not _is_alive(int(found[1])):
                left = folder / found[0]
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
                else:
                    left.unlink()


_clear_once = cache(clear)


def _machine() -> str:
    return re.sub(r"[^0-9A-Za-z]", "", platform.node())[:16] or "local"


def _is_alive(process: int) -> bool:
    """Whether there is such a process; true where that cannot be told."""
    if sys.platform == "win32":  # there, signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False where the system or the disk cannot."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # an old C library
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return bool(rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)
