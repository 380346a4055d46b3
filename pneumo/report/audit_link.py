"""The audit of the data set of a report's runs: its first sentence, and a link to it."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pneumo import untrusted

PAGE = "audit.html"


class AuditLink(NamedTuple):
    """A link from the report to an audit."""

    name: str  # of the data set
    finding: str  # its first sentence
    href: str  # of its page, from the report's folder


def audit_link(folder: Path, *, report: Path, kinds: Collection[str]) -> AuditLink:
    """Returns the link to the audit in a folder.

    Args:
        folder: of the audit.
        report: the report's own folder.
        kinds: of the runs' data sets; the audit must be of one of them.

    Raises:
        ValueError: the folder holds no audit, a broken one, or one of another data set.
    """
    try:
        audit = untrusted.read_json(folder / "audit.json")
        data, finding = audit["data"], str(audit["findings"][0])
        name, kind = str(data["name"]), data["kind"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise ValueError(
            f"--audit must be a folder that python -m pneumo.audit DIR wrote, with {PAGE} and a "
            f"valid audit.json; got {folder}"
        ) from None
    if kind not in kinds:
        raise ValueError(
            f"--audit must be of the runs' data set ({', '.join(sorted(kinds))}); {folder} is of "
            f"{kind}. Audit theirs with python -m pneumo.audit DIR"
        )
    way = Path(os.path.relpath(folder.resolve() / PAGE, report.resolve())).as_posix()
    return AuditLink(name, finding, quote(way))
