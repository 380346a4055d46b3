"""python -m pneumo.report: the report over any set of run folders."""

import argparse
import sys

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need none of the imports below
    raise SystemExit(cli.start("report"))

from pneumo.report.report_folder import PAGE, write_report
from pneumo.report.terminal import summary


@cli.command("report")
def main(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    folder = write_report(args.roots, out=args.out, audit=args.audit)
    sys.stdout.write(f"{summary(folder)}{folder / PAGE}\n")
    return 0
