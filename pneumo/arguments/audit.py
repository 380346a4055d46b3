"""The arguments of python -m pneumo.audit."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.choices import DATA_SETS

EXAMPLES = """\
Reads every file once, and reports identical and near-identical images, nested
copies, unreadable files, and how the files of each class were saved. Scores
classifiers of the size, the header or a thumbnail, on a random split by patient
and on the set's own split. The page shows radiographs of the set.
exit codes: 0 done; 2 a mistake in the command; 3 done, but some files cannot
be read; 130 interrupted.

examples:
  python -m pneumo.audit data/chest_xray
      the set of Kermany et al.; the page is audit/audit.html
  python -m pneumo.audit my_radiographs --csv table.csv
      a folder with NORMAL/ and PNEUMONIA/ in it, with train/ and test/, or the
      radiographs that a table lists, with their patients
  python -m pneumo.audit data/rsna
      the RSNA Pneumonia Detection Challenge, recognised by its table; so is a
      MedMNIST file, pneumoniamnist_224.npz
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; exits with 2 if one is wrong."""
    parser = cli.Parser(
        "audit",
        description="Checks a data set for copies, unreadable files and shortcuts to its labels.",
        epilog=EXAMPLES,
    )
    place = "the data set's folder, or a MedMNIST .npz file"
    parser.add_argument("place", type=Path, metavar="DIR", help=place)
    add = parser.add_argument_group("images").add_argument
    add("--csv", type=Path, metavar="FILE", help="a table of the images: path, label, patient")
    add("--kind", choices=DATA_SETS, help="default: recognised by folders and names")
    add("--skip-unknown", action="store_true", help="leave out images with unknown names")
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, default=Path("audit"), help="the audit's folder; default: audit")
    return parser.parse(arguments)
