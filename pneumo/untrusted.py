"""Files from elsewhere, such as those of a run folder, read within bounds.

A reader returns plain values or raises FileNotFoundError or ValueError, whatever a file holds: it
runs no code, does not wait for a pipe and does not fill the memory.
"""

import gzip
import io
import json
import os
import re
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
LEADS_OUT = re.compile(r"^$|^/|\0|(^|/)\.\.(/|$)")


def open_regular(path: Path) -> BinaryIO:
    """Returns a file opened for reading bytes.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is a folder, a pipe or a device, or cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} must be a regular file; it is a folder, a pipe or a device")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Returns the bytes of a file of at most ``limit``; errors as open_regular's."""
    with open_regular(path) as file:
        return _bounded(file, path, limit=limit)


def read_bytes_or_gzip(path: Path, *, limit: int) -> bytes:
    """Returns the bytes of a file, or of its packed form with .gz behind its name.

    Errors as read_bytes'; ``limit`` is also that of the unpacked bytes.
    """
    packed = path.with_name(path.name + ".gz")
    if path.exists() or not packed.exists():
        return read_bytes(path, limit=limit)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(read_bytes(packed, limit=limit))) as file:
            return _bounded(file, packed, limit=limit)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{packed} must be packed by gzip; it is broken: {error}") from None


def _bounded(file: "BinaryIO | gzip.GzipFile", path: Path, *, limit: int) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} must have at most {limit / 1e6:g} MB; it has more")
    return data


def check_stored(file: BinaryIO) -> None:
    """Raises ValueError where the entries of a zip have more bytes than itself.

    Neither PyTorch nor NumPy's savez compresses, so that the content is no larger than the file.
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
    """Returns the object in a JSON file; errors as open_regular's. NaN and infinity pass."""
    text = read_text(path, limit=MAX_JSON)
    try:
        return _mapping(json.loads(text))
    except RecursionError:
        raise ValueError(f"{path} must be JSON; it is broken: it is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{path} must be JSON; it is broken: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the mapping in a YAML file; errors as open_regular's.

    Aliases are refused: run folders have none, and a few lines of them can stand for more values
    than any memory holds. So is deep nesting, at which the loader crashes.
    """
    text = read_text(path)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=YAML):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
                raise ValueError("it has an alias, or is nested too deep")
        return _mapping(yaml.load(text, Loader=YAML))  # noqa: S506  (a safe one)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} must be YAML; it is broken: {error}") from None


def _mapping(value: Any) -> dict[str, Any]:
    """Returns ``value``; ValueError if it is not a mapping of plain values."""
    if not isinstance(value, dict):
        raise ValueError(f"it must hold values by name; got {type(value).__name__}")
    _check_plain(value)
    return value


def _check_plain(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deep")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the name of a value is not text")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_plain(item, depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a whole number has more than 64 bits")
    elif value is not None and not isinstance(value, str | float | int):
        raise ValueError(f"it holds a {type(value).__name__}")
