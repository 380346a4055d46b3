"""The audit of the data set that a report's runs are of: its first sentence, and a link to it."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pneumo import untrusted

PAGE, NUMBERS = "audit.html", "audit.json"


class AuditLink(NamedTuple):
    """What the report's page says of an audit."""

    name: str  # of the data set
    said: str  # its first sentence
    href: str  # of its page, from the report's folder


def audit_link(place: Path, *, report: Path, kinds: Collection[str]) -> AuditLink:
    """Returns the link to the audit in a folder, or to one named by its page.

    Args:
        place: the folder, or audit.html in it.
        report: the report's own folder.
        kinds: of the runs' data sets, one of which the audit must be of.

    Raises:
        FileNotFoundError, ValueError: there is no whole audit, or it is of another data set.
    """
    folder = place.parent if place.name == PAGE else place
    if not (folder / PAGE).is_file():
        raise FileNotFoundError(
            f"--audit must be the folder of an audit, with {PAGE} in it; got {place}. Make one "
            "with python -m pneumo.audit DIR"
        )
    try:
        found = untrusted.read_json(folder / NUMBERS)
        name, kind, said = (str(found["data"]["name"]), found["data"]["kind"], found["said"][0])
    except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError):
        raise ValueError(
            f"--audit needs the {NUMBERS} that python -m pneumo.audit wrote; that of {folder} is "
            "missing or broken. Make the audit again"
        ) from None
    if kind not in kinds:
        raise ValueError(
            f"--audit must be of the runs' data set ({', '.join(sorted(kinds))}); {folder} is of "
            f"{kind}. Audit theirs with python -m pneumo.audit DIR"
        )
    way = Path(os.path.relpath(folder.resolve() / PAGE, report.resolve())).as_posix()
    return AuditLink(name, str(said), quote(way))
