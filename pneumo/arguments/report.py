"""The arguments of python -m pneumo.report."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli

EXAMPLES = """\
examples:
  python -m pneumo.report multirun/2025-01-31/12-00-00
      one sweep; the report is written to its folder report/
  python -m pneumo.report multirun --out report
      all runs so far; data sets and protocols are reported side by side
  python -m pneumo.report sweep-paper sweep-holdout
      with both protocols, also the optimism of choosing the epoch on the test
      split
  python -m pneumo.report multirun --audit audit
      also quotes and links the audit of the same data set
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; exits with 2 if one is wrong."""
    parser = cli.Parser(
        "report", description="Writes tables, figures and a page on finished runs.", epilog=EXAMPLES
    )
    place = "a folder of runs, or a run folder"
    parser.add_argument("roots", nargs="+", type=Path, metavar="DIR", help=place)
    parser.add_argument("--out", type=Path, help="the report's folder; default: <first DIR>/report")
    parser.add_argument(
        "--audit", type=Path, metavar="DIR", help="the folder of an audit of the data set"
    )
    return parser.parse(arguments)
