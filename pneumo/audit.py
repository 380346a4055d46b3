"""A data set is audited: copies, files, and what classifiers reach without a network."""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.auditing import audit_folder, page
from pneumo.auditing.audit_folder import Audit
from pneumo.auditing.sources import KINDS, open_set

EXAMPLES = """\
examples:
  python -m pneumo.audit data/chest_xray
      the set of Kermany et al.; the page is audit/audit.html
  python -m pneumo.audit my_radiographs --out my_audit
      a folder with NORMAL/ and PNEUMONIA/ in it, or with train/ and test/
  python -m pneumo.audit my_radiographs --csv table.csv
      the radiographs that a table lists, with their patients
  python -m pneumo.audit pneumoniamnist_224.npz
  python -m pneumo.audit data/rsna
      the RSNA Pneumonia Detection Challenge, told by its table

It reads every file once, and finds identical and near-identical images,
nested copies, files that cannot be read, and how the files of each class were
saved. It scores classifiers that see the size, the header or a thumbnail, on
a random split by patient and on the set's own. --out replaces an earlier
audit, whole or not at all. The page shows radiographs of the set.
exit codes: 0 done; 2 a mistake in the command; 3 done, but some files cannot
be read; 130 stopped.
"""
WIDTH = 80  # columns of what is printed
CACHE = "~/.cache/pneumo"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = _parser().parse(arguments)
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


def _parser() -> cli.Parser:
    parser = cli.Parser(
        "audit",
        description="What a score on a data set is worth: its copies, its files, its shortcuts.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "place", type=Path, metavar="DIR", help="the data set's folder, or a MedMNIST .npz file"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("audit"), help="the audit's folder; default: audit"
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="a table of the images: path, label, patient"
    )
    parser.add_argument(
        "--kind", choices=KINDS, help="what DIR is; default: told by its folders and names"
    )
    parser.add_argument(
        "--skip-unknown",
        action="store_true",
        help="leave out images whose names are not the set's",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
