"""python -m pneumo.report: the report over any set of run folders."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.report.report_folder import write_report
from pneumo.report.terminal import wrapped

EXAMPLES = """\
examples:
  python -m pneumo.report multirun/2025-01-31/12-00-00
      one sweep; the report goes into its folder report/
  python -m pneumo.report multirun --out report
      every run so far; sweeps of other data or protocols are reported side by
      side
  python -m pneumo.report sweep-paper sweep-holdout
      with both protocols, also what choosing the epoch on the test split adds
  python -m pneumo.report multirun --audit audit
      its page links that of python -m pneumo.audit on the same data set
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code, 2 for a user's mistake."""
    parser = cli.Parser(
        "report", description="Tables, pictures and one page over finished runs.", epilog=EXAMPLES
    )
    parser.add_argument("roots", nargs="+", type=Path, metavar="DIR", help="holds runs, or is one")
    parser.add_argument("--out", type=Path, help="the report's folder; default: <first DIR>/report")
    parser.add_argument(
        "--audit", type=Path, metavar="DIR", help="links the audit of the data set in DIR"
    )
    args = parser.parse(arguments)
    return cli.run(lambda: _report(args.roots, out=args.out, audit=args.audit))


def _report(roots: Sequence[Path], *, out: Path | None, audit: Path | None) -> int:
    folder = write_report(roots, out=out, audit=audit)
    first = (folder / "summary.md").read_text(encoding="utf-8").splitlines()[2]
    sys.stdout.write(f"{wrapped([first])}{folder / 'report.html'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
