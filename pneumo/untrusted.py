"""Files that a stranger may have made, such as those of a run folder: read within bounds.

Whatever a file holds, a reader returns plain values or raises FileNotFoundError or ValueError: it
does not wait for a pipe, fill the memory, or recurse until the interpreter gives up.
"""

import gzip
import io
import json
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import yaml

YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where it is there, ten times faster
MAX_SETTINGS = 1_000_000  # bytes of YAML; a configuration has 3,000
MAX_JSON = 16_000_000  # bytes; metrics.json of 100 epochs has 200,000
MAX_TABLE = 256_000_000  # bytes of CSV; split.csv of 5,856 images has 500,000
MAX_DEPTH = 32  # of lists and mappings in each other; metrics.json has 7
MAX_WHOLE = 2**63 - 1
LEADS_OUT = re.compile(r"^$|^/|\0|(^|/)\.\.(/|$)")


def open_regular(path: Path) -> BinaryIO:
    """Returns a file opened for reading bytes.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is a folder, a pipe or a device, or cannot be read.
    """
    try:
        # without waiting for who might write to a pipe
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} must be a regular file; it is a folder, a pipe or a device")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Returns the bytes of a file of at most ``limit``; errors as open_regular's."""
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise ValueError(f"{path} must have at most {limit / 1e6:g} MB; it has more")
    return data


def read_bytes_or_gzip(path: Path, *, limit: int) -> bytes:
    """Returns the bytes of a file, or of its packed form with .gz behind its name.

    Errors as read_bytes'; ``limit`` is also that of what is unpacked.
    """
    packed = path.with_name(path.name + ".gz")
    if path.exists() or not packed.exists():
        return read_bytes(path, limit=limit)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(read_bytes(packed, limit=limit))) as file:
            data = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{packed} must be packed by gzip; it is broken: {error}") from None
    if len(data) > limit:
        raise ValueError(f"{packed} must have at most {limit / 1e6:g} MB unpacked; it has more")
    return data


def check_stored(file: BinaryIO) -> None:
    """Raises where a file is no zip, or its entries have more bytes than itself.

    Neither PyTorch nor NumPy's savez compresses, so that what is read is no larger than the file.

    Raises:
        ValueError: it is larger; zipfile.BadZipFile and others: it is no zip.
    """
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > file.seek(0, os.SEEK_END):
        raise ValueError("its parts are larger than itself")
    file.seek(0)


def leads_out(path: str) -> bool:
    """Returns whether a path that should lie in a folder is absolute, empty or has .. in it."""
    return LEADS_OUT.search(path) is not None


def read_text(path: Path, *, limit: int = MAX_SETTINGS) -> str:
    """Returns the text of a file in UTF-8 of at most ``limit`` bytes; errors as open_regular's."""
    try:
        return read_bytes(path, limit=limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8; it is broken: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file, of plain values; errors as open_regular's.

    Whole numbers are of 64 bits; NaN and infinite numbers pass.
    """
    text = read_text(path, limit=MAX_JSON)
    try:
        return _plain_object(json.loads(text))
    except RecursionError:
        raise ValueError(f"{path} must be JSON; it is broken: it is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{path} must be JSON; it is broken: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the mapping in a YAML file, of plain values; errors as open_regular's.

    Tags and aliases are refused: no run folder has them, and a few lines of aliases can stand for
    more than any memory holds.
    """
    text = read_text(path)
    try:
        _check_events(text)
        return _plain_object(yaml.load(text, Loader=YAML))  # noqa: S506  (a safe one)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} must be YAML; it is broken: {error}") from None


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=YAML):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deep")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise ValueError("it has a tag or an alias")


def _plain_object(value: Any) -> dict[str, Any]:
    """Returns ``value`` where it is a dict of plain values, each text being Unicode."""
    if not isinstance(value, dict):
        raise ValueError(f"it must hold values by name; got {type(value).__name__}")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 2):  # what is in the innermost ones is one level more
        below: list[Any] = []
        for one in level:
            below += _below(one)
        if not below:
            return value
        level = below
    raise ValueError("it is nested too deep")


def _below(value: Any) -> list[Any]:
    """Returns what a plain value holds; ValueError where it is another."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the name of a value is not text")
        return [*value, *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        value.encode()  # half a surrogate pair could not be written again
    elif isinstance(value, int):
        if not -MAX_WHOLE <= value <= MAX_WHOLE:
            raise ValueError("a whole number has more than 64 bits")
    elif value is not None and not isinstance(value, float):
        raise ValueError(f"it holds a {type(value).__name__}")
    return []
