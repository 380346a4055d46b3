"""The arguments of python -m pneumo.calibrate."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.choices import SENSITIVITY

EXAMPLES = """\
examples:
  python -m pneumo.calibrate RUN --data my_radiographs
      a folder with NORMAL/ and PNEUMONIA/ in it; writes
      RUN/calibrations/my_radiographs.json
  python -m pneumo.predict RUN new_radiographs/ --calibration my_radiographs
      decides by it; with --coverage 0.9 its prediction sets are of it, too
  python -m pneumo.calibrate pretrained:compact --data mine
      writes mine.json here, since nothing is written into the package
  python -m pneumo.calibrate RUN --data mine --sensitivity 0.98
  python -m pneumo.calibrate RUN --data mine --youden

The threshold is the highest one with a sensitivity of at least 0.95 on these
images (or --sensitivity, or --youden), the temperature the one with the least
cross-entropy. Of copies of an image one counts, and each label needs distinct
images of 5 patients. The table says what so many images buy: patients are
drawn, both are fitted to them and scored on the patients not drawn, 200 times;
the range is that of 95 % of draws. A draw counts where both of its parts have
both labels; where fewer than 200 do, it is said. The range is no confidence
interval: where no draw makes an error it has no width, though more images may
find errors.
Nothing in the run is changed, and predict uses the file only where it is named.
The images must be new to the run.
exit codes: 0 done; 2 a mistake in the command or a refusal; 3 an image could
not be read; 130 stopped. Not a medical device.
"""


def _sensitivity(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1; got {text}")
    return value


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; ends with 2 where one is wrong."""
    parser = cli.Parser(
        "calibrate",
        description="Threshold and temperature of a run from a few labelled images of your own.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "run", metavar="RUN", help="the folder of a finished run, or pretrained:compact"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="labelled: NORMAL/ and PNEUMONIA/"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: RUN/calibrations/NAME-OF-DIR.json; NAME-OF-DIR.json where RUN is read-only",
    )
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--sensitivity",
        type=_sensitivity,
        default=SENSITIVITY,
        metavar="P",
        help="at least this on the images; default: %(default)s",
    )
    rule.add_argument("--youden", action="store_true", help="the greatest Youden index instead")
    parser.add_argument(
        "--allow-overlap", action="store_true", help="with the train split, which is optimistic"
    )
    parser.add_argument("--replace", action="store_true", help="a file that is there already")
    parser.add_trust()
    return parser.parse(arguments)
