"""Files and folders that are written whole or not at all, and the remains of killed processes."""

import contextlib
import errno
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)  # of an OSError: no room on the disk, or for this user


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside ``path`` to write a file to; it then takes ``path``'s place.

    If the body raises, nothing is left. Remains of killed processes are removed first.
    """
    part = temporary(path)
    try:
        with _naming(path, part):
            yield part
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(
    folder: Path, *, keep: bool = False, but: Sequence[str] = ()
) -> Iterator[Path]:
    """Yields a new folder beside ``folder`` to write to; it then takes ``folder``'s place.

    If the body raises, ``folder`` is as it was. It is missing between two renames; if the process
    is killed just then, the next call puts it back.

    Args:
        folder: is replaced, if it exists; folders above it are made. A link to a folder stays one.
        keep: whether the new folder also gets the files of the old one that it lacks.
        but: names of files that it does not get.
    """
    folder = folder.resolve()
    new, old = temporary(folder), folder.with_name(f".{folder.name}.old.tmp")
    if old.is_dir() and not folder.exists():
        old.rename(folder)
    try:
        with _naming(folder, new):
            new.mkdir(parents=True)
            yield new
            if folder.is_dir():
                shutil.copymode(folder, new)
                if keep:
                    shutil.copytree(
                        folder,
                        new,
                        ignore=shutil.ignore_patterns(*but),
                        copy_function=_copy_missing,
                        dirs_exist_ok=True,
                    )
                shutil.rmtree(old, ignore_errors=True)
                folder.rename(old)
            new.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _copy_missing(path: str, target: str) -> None:
    if not Path(target).exists():
        shutil.copy2(path, target)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` as UTF-8, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as JSON, whole or not at all; see json_text."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Returns ``value`` as JSON; numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


@contextmanager
def _naming(path: Path, part: Path) -> Iterator[None]:
    """Names ``path`` in errors of its temporary ``part`` and of a full disk, which name no file."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL or str(error.filename).startswith(str(part)):
            error.filename = str(path)
        raise


def temporary(path: Path) -> Path:
    """Returns this thread's temporary name beside ``path``, in a folder that was cleared once."""
    _clear_once(path.parent.absolute())
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp")


def clear(folder: Path, *, older_than_s: float = 86_400) -> None:
    """Removes what killed processes left in ``folder``: temporary files that nobody changes."""
    with contextlib.suppress(OSError):
        for left in folder.glob(".*.tmp"):
            is_old = time.time() - left.lstat().st_mtime >= older_than_s
            if is_old and re.fullmatch(r"\..+\.\d+-\d+\.tmp", left.name, re.DOTALL):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


_clear_once = cache(clear)
