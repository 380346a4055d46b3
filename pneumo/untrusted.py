"""Files from elsewhere, such as those of a run folder: plain values of a bounded size."""

import gzip
import json
import os
import re
import zlib
from pathlib import Path
from typing import Any

import yaml

YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where it is there, ten times faster
MAX_SETTINGS = 1_000_000  # bytes of YAML; a configuration has 3,000
MAX_JSON = 16_000_000  # bytes; metrics.json of 100 epochs has 200,000
MAX_TABLE = 256_000_000  # bytes of CSV; split.csv of 5,856 images has 500,000
LEADS_OUT = re.compile(r"^$|^/|\0|(^|/)\.\.(/|$)")


def is_file(path: Path) -> bool:
    """Returns whether a path is a file; not, where it cannot be reached or is no possible name."""
    return os.path.isfile(path)  # noqa: PTH113  (Path's raises for these)


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Returns the bytes of a file of at most ``limit``, unpacked if it ends in .gz.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is a folder, cannot be read, is larger, or not packed by gzip.
    """
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            data: bytes = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    if len(data) > limit:
        raise ValueError(f"{path} must have at most {limit / 1e6:g} MB; it has more")
    return data


def leads_out(path: str) -> bool:
    """Returns whether a path that should lie in a folder is absolute, empty or has .. in it."""
    return LEADS_OUT.search(path) is not None


def read_text(path: Path, *, limit: int = MAX_SETTINGS) -> str:
    """Returns the text of a file in UTF-8 of at most ``limit`` bytes; errors as read_bytes'."""
    try:
        return read_bytes(path, limit=limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8; it is broken: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; errors as read_bytes'. NaN and infinity pass."""
    text = read_text(path, limit=MAX_JSON)
    try:
        return _mapping(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON; it is broken: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the mapping in a YAML file; errors as read_bytes'."""
    text = read_text(path)
    try:
        return _mapping(yaml.load(text, Loader=YAML))  # noqa: S506  (a safe one)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} must be YAML; it is broken: {error}") from None


def _mapping(value: Any) -> dict[str, Any]:
    if not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
        raise ValueError(f"it must hold values by name; got {type(value).__name__}")
    return value
