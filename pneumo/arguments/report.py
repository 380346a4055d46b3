"""The arguments of python -m pneumo.report."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli

EXAMPLES = """\
examples:
  python -m pneumo.report multirun/2025-01-31/12-00-00
      one sweep; the report goes into its folder report/
  python -m pneumo.report multirun --out report
      every run so far; other data or protocols are reported side by side
  python -m pneumo.report sweep-paper sweep-holdout
      with both protocols, also the optimism of choosing the epoch on the test
      split
  python -m pneumo.report multirun --audit audit
      its page links the page of python -m pneumo.audit on the same data set
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; ends with 2 where one is wrong."""
    parser = cli.Parser(
        "report", description="Tables, pictures and one page over finished runs.", epilog=EXAMPLES
    )
    parser.add_argument("roots", nargs="+", type=Path, metavar="DIR", help="holds runs, or is one")
    parser.add_argument("--out", type=Path, help="the report's folder; default: <first DIR>/report")
    parser.add_argument(
        "--audit", type=Path, metavar="DIR", help="links the audit of the data set in DIR"
    )
    return parser.parse(arguments)
