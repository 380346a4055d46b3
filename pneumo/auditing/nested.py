"""Images below the folder that are not of the set: Kaggle's nested copy, a Mac's leavings."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo.data.kermany import SOURCES, SUFFIXES
from pneumo.labels import CLASS_NAMES


@dataclass
class Nested:
    """A folder with images outside the set, and how many are byte for byte one of the set."""

    folder: str  # relative to the folder that was named
    images: int = 0
    identical: int = 0


def nested_copies(
    place: Path, root: Path, facts: pd.DataFrame, used: Iterable[str]
) -> dict[str, Any]:
    """Returns a list of folders that hold images which the set's table does not, as plain values.

    Only a file of a size that occurs in the set is read. Links are not followed; hidden files but a
    Mac's ``._`` files are left out.

    Args:
        place: the folder that was named.
        root: the folder that ``used`` are relative to, ``place`` or below it.
        facts: columns bytes and sha256 of the set's files.
        used: paths of the set's table, and of what is known to be left out.

    Returns:
        {"copies": [Nested as a mapping], "system_files": a Mac's files that are no images,
        "closed": folders that cannot be read}
    """
    known = {str(root / path) for path in used}
    digests = defaultdict(set)
    for size, digest in zip(facts["bytes"], facts["sha256"], strict=True):
        digests[int(size)].add(digest)
    found: dict[str, Nested] = {}
    system, closed = 0, []
    for folder, folders, names in os.walk(place, onerror=lambda e: closed.append(str(e.filename))):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if not name.lower().endswith(SUFFIXES) or str(path) in known:
                continue
            if name.startswith("._") or "__MACOSX" in path.parts:
                system += 1
            elif not name.startswith("."):
                top = _set_of(path.relative_to(place))
                one = found.setdefault(top, Nested(top))
                one.images += 1
                one.identical += _is_known(path, digests)
    shown = [Path(name).relative_to(place).as_posix() for name in closed]
    copies = [asdict(found[name]) for name in sorted(found)]
    return {"copies": copies, "system_files": system, "closed": shown}


def _set_of(path: Path) -> str:
    """The folder above <source>/<label>/<file>, or that of another file."""
    parts = list(path.parts[:-1])
    for names in (CLASS_NAMES, SOURCES):
        if parts and parts[-1] in names:
            parts.pop()
    return "/".join(parts) or "."


def _is_known(path: Path, digests: defaultdict[int, set[str]]) -> bool:
    try:
        size = path.stat().st_size
        if size not in digests:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() in digests[size]
    except OSError:
        return False
