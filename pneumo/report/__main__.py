"""python -m pneumo.report: the report over any set of run folders."""

import argparse
import sys
from collections.abc import Sequence

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need nothing of what follows
    raise SystemExit(cli.start("report"))

from pneumo.arguments.report import parse
from pneumo.report.report_folder import write_report
from pneumo.report.terminal import wrapped


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code, 2 for a user's mistake."""
    given = parse(arguments)
    return cli.run(lambda: _command(given))


def _command(given: argparse.Namespace) -> int:
    folder = write_report(given.roots, out=given.out, audit=given.audit)
    first = (folder / "summary.md").read_text(encoding="utf-8").splitlines()[2]
    sys.stdout.write(f"{wrapped([first])}{folder / 'report.html'}\n")
    return 0
