"""Images below the folder that are not of the set: Kaggle's nested copy, macOS's files."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo.data.labelled import SOURCES, SUFFIXES
from pneumo.labels import CLASS_NAMES


def nested_copies(
    place: Path, root: Path, facts: pd.DataFrame, used: Iterable[str]
) -> dict[str, Any]:
    """Returns the folders that hold images which are not in the set's table.

    Only a file of a size that occurs in the set is read. Links are not followed; hidden files are
    left out, except macOS's ``._`` files.

    Args:
        place: the folder that was named.
        root: the folder that ``used`` are relative to, ``place`` or below it.
        facts: columns bytes and sha256 of the set's files.
        used: paths of the set's table, and of names that are known to be unused.

    Returns:
        {"copies": a row a folder (folder, relative to ``place``; images; identical, how many of
        them are byte for byte one of the set), "system_files": macOS's files that are not images,
        "closed": folders that cannot be read}
    """
    used_paths = {str(root / path) for path in used}
    digests = defaultdict(set)
    for size, digest in zip(facts["bytes"], facts["sha256"], strict=True):
        digests[int(size)].add(digest)
    images, identical = Counter[str](), Counter[str]()
    system, closed = 0, []
    for folder, _, names in os.walk(place, onerror=lambda e: closed.append(str(e.filename))):
        for name in names:
            path = Path(folder, name)
            if not name.lower().endswith(SUFFIXES) or str(path) in used_paths:
                continue
            if name.startswith("._") or "__MACOSX" in path.parts:
                system += 1
            elif not name.startswith("."):
                top = _set_of(path.relative_to(place))
                images[top] += 1
                identical[top] += _is_copy(path, digests)
    return {
        "copies": [
            {"folder": top, "images": number, "identical": identical[top]}
            for top, number in sorted(images.items())
        ],
        "system_files": system,
        "closed": [Path(name).relative_to(place).as_posix() for name in closed],
    }


def _set_of(path: Path) -> str:
    """Returns the folder above <source>/<label>/<file>, or that of another file."""
    parts = list(path.parts[:-1])
    for names in (CLASS_NAMES, SOURCES):
        if parts and parts[-1] in names:
            parts.pop()
    return "/".join(parts) or "."


def _is_copy(path: Path, digests: defaultdict[int, set[str]]) -> bool:
    try:
        size = path.stat().st_size
        if size not in digests:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() in digests[size]
    except OSError:
        return False
