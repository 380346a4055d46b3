"""A data set is audited: copies, files, and what classifiers reach without a network."""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need nothing of what follows
    raise SystemExit(cli.start("audit"))

from pneumo.arguments.audit import parse
from pneumo.auditing import audit_folder, page
from pneumo.auditing.audit_folder import Audit
from pneumo.auditing.sources import open_set

WIDTH = 80  # columns of what is printed
CACHE = "~/.cache/pneumo"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = parse(arguments)
    return cli.run(lambda: _command(given))


def _command(given: argparse.Namespace) -> int:
    audit_folder.check_replaceable(given.out)
    source = open_set(
        given.place,
        csv=given.csv,
        kind=given.kind,
        skip_unknown=given.skip_unknown,
        cache_dir=Path(os.environ.get("PNEUMO_CACHE") or CACHE),
    )
    found = audit_folder.audit(source)
    audit_folder.write(given.out, found, html=page.html(found))
    sys.stdout.write(text(found) + f"{given.out / audit_folder.PAGE}\n")
    return cli.UNREADABLE if found.found["unreadable"] else 0


def text(audit: Audit) -> str:
    """Returns the audit for a terminal of 80 columns; all of it is in the JSON."""
    found = audit.found
    lines = [*textwrap.wrap(" ".join(found["said"]), WIDTH, break_on_hyphens=False), ""]
    if found["data"]["note"]:
        lines += [*textwrap.wrap(f"! {found['data']['note']}", WIDTH), ""]
    lines.append(f"{'AUROC (95 % interval by patient)':40}{'random split':20}own test split")
    for row in page.scores(found):
        cells = [" ".join(row[name]).replace(" to ", "-").strip() for name in ("paper", "official")]
        lines.append(f"{row['baseline'][0]:40}{cells[0]:20}{cells[1]}".rstrip())
    return "\n".join(lines) + "\n"
