"""The arguments of python -m pneumo.download."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli

DOI = "10.17632/rscbjbr9sj"

# ChestXRay2017.zip of the page above.
URL = (
    "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
    "f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded"
)

TARGET = Path("data/chest_xray")

BY_HAND = f"""\
By hand: open https://doi.org/{DOI} in a browser, download the zip
of chest X-rays (or Kaggle's data set "chest-xray-pneumonia"), unpack it, and
set PNEUMO_DATA=DIR or train with data.root=DIR, where DIR contains train/."""

EXAMPLES = f"""\
The same command resumes an interrupted download, which is kept in DIR.download.
{BY_HAND}

exit codes: 0 done; 2 a mistake or a failed download; 130 interrupted.

examples:
  python -m pneumo.download                 to {TARGET}, for data=auto
  python -m pneumo.download --to /big/disk/chest_xray
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; exits with 2 if one is wrong."""
    parser = cli.Parser(
        "download",
        description="Downloads the public chest X-rays (1.2 GB, CC BY 4.0) and unpacks them.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--url", default=URL, help="another address of the zip")
    parser.add_argument("--to", type=Path, default=TARGET, metavar="DIR", help=f"default: {TARGET}")
    return parser.parse(arguments)
