"""Audits a data set: copies, files, and the scores of classifiers without a network."""

import argparse
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need none of the following imports
    raise SystemExit(cli.start("audit"))

from pneumo.auditing import audit_folder, page
from pneumo.auditing.sources import open_set

WIDTH = 80  # columns of the printed text
CACHE = "~/.cache/pneumo"


@cli.command("audit")
def main(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    audit_folder.check_replaceable(args.out)
    source = open_set(
        args.place,
        csv=args.csv,
        kind=args.kind,
        skip_unknown=args.skip_unknown,
        cache_dir=Path(os.environ.get("PNEUMO_CACHE") or CACHE),
    )
    audit = audit_folder.audit(source)
    audit_folder.write(args.out, audit)
    sys.stdout.write(text(audit.numbers) + f"{args.out / audit_folder.PAGE}\n")
    return cli.UNREADABLE if audit.numbers["unreadable"] else 0


def text(numbers: dict[str, Any]) -> str:
    """Returns audit.json for a terminal of 80 columns."""
    lines = [*textwrap.wrap(" ".join(numbers["findings"]), WIDTH, break_on_hyphens=False), ""]
    if numbers["data"]["note"]:
        lines += [*textwrap.wrap(f"! {numbers['data']['note']}", WIDTH), ""]
    scores = page.scores(numbers, {"paper": "random split", "official": "own test split"})
    lines.append("AUROC, 95 % interval by patient:")
    return "\n".join([*lines, *scores.text(first=40, others=20)]) + "\n"
