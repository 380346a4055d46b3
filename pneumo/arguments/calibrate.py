"""The arguments of python -m pneumo.calibrate."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumo import cli
from pneumo.choices import SENSITIVITY

EXAMPLES = """\
The threshold is the highest one with a sensitivity of at least 0.95 on these
images (or --sensitivity, or --youden), the temperature the one with the least
cross-entropy. The table shows the effect of the number of images: 200 times,
both are fitted to randomly drawn patients and scored on the others; the range
contains 95 % of the draws, and is not a confidence interval.
The run is not changed, and predict uses the file only with --calibration. The
images must be new to the run. If the run is not shown to rank them better than
chance, nothing is written without --force.
exit codes: 0 done; 2 a mistake in the command or a refusal; 3 an image could
not be read; 130 interrupted. Not a medical device.

examples:
  python -m pneumo.calibrate RUN --data my_radiographs
      a folder with NORMAL/ and PNEUMONIA/ in it; writes
      RUN/calibrations/my_radiographs.json
  python -m pneumo.predict RUN new_radiographs/ --calibration my_radiographs
      uses it for decisions, and with --coverage 0.9 for prediction sets
  python -m pneumo.calibrate pretrained:compact-robust --data mine
      writes mine.json here, since the package is read-only
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; exits with 2 if one is wrong."""
    parser = cli.Parser(
        "calibrate",
        description="Fits a threshold and a temperature to a few labelled images of your own.",
        epilog=EXAMPLES,
    )
    parser.add_run()
    add = parser.add_argument_group("images").add_argument
    labelled = "labelled: NORMAL/ and PNEUMONIA/"
    add("--data", type=Path, required=True, metavar="DIR", help=labelled)
    overlap = "allow images of the train split: optimistic"
    add("--allow-overlap", action="store_true", help=overlap)
    add = parser.add_argument_group("threshold").add_mutually_exclusive_group().add_argument
    share: dict[str, Any] = {"type": cli.share("(]"), "default": SENSITIVITY, "metavar": "P"}
    add("--sensitivity", **share, help="smallest sensitivity on the images; default: %(default)s")
    add("--youden", action="store_true", help="maximise the Youden index instead")
    add = parser.add_argument_group("output").add_argument
    out = "default: RUN/calibrations/NAME-OF-DIR.json; NAME-OF-DIR.json if RUN is read-only"
    add("--out", type=Path, metavar="FILE", help=out)
    add("--replace", action="store_true", help="replace an existing file")
    force = "write it even if no ranking is shown on these images"
    add("--force", action="store_true", help=force)
    parser.add_network()
    return parser.parse(arguments)
