"""python -m pneumo.report: the report over any set of run folders."""

import argparse
import sys

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need none of the imports below
    raise SystemExit(cli.start("report"))

from pneumo.report.report_folder import PAGE, SUMMARY, write_report
from pneumo.report.terminal import summary, wrapped


@cli.command("report")
def main(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    folder = write_report(args.roots, out=args.out, audit=args.audit)
    table = summary(folder / SUMMARY)
    if not table:  # of detectors, or of no finished run
        table = wrapped([(folder / "summary.md").read_text(encoding="utf-8").splitlines()[2]])
    sys.stdout.write(f"{table}{folder / PAGE}\n")
    return 0
