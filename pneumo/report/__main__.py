"""python -m pneumo.report: the report over any set of run folders."""

import sys
from collections.abc import Sequence

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need none of the imports below
    raise SystemExit(cli.start("report"))

from pneumo.arguments.report import parse
from pneumo.report.report_folder import PAGE, SUMMARY, write_report
from pneumo.report.terminal import summary, wrapped


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code, 2 for a user's mistake."""
    args = parse(arguments)

    def write() -> int:
        folder = write_report(args.roots, out=args.out, audit=args.audit)
        table = summary(folder / SUMMARY)
        if not table:  # of detectors, or of no finished run
            table = wrapped([(folder / "summary.md").read_text(encoding="utf-8").splitlines()[2]])
        sys.stdout.write(f"{table}{folder / PAGE}\n")
        return 0

    return cli.run(write)
