"""The arguments of python -m pneumo.evaluate."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.choices import PREVALENCES

EXAMPLES = """\
Intervals are of 95 %, over patients. The operating point is that of the run's
decision rule. The threshold of decision=sensitivity, the temperature and the
weights are fixed on validation data only, which protocol=paper lacks. --out
replaces an existing file, whole or not at all.
exit codes: 0 done; 2 a mistake in the command or a refusal; 3 an image could
not be read; 130 stopped. Not a medical device.

examples:
  python -m pneumo.evaluate RUN
      its own test split, from predictions.csv: no image is needed
  python -m pneumo.evaluate RUN --page errors.html
      its most confident errors, misses first, with heat maps (extra heatmap)
      and the most similar training images; needs the run's images
  python -m pneumo.evaluate RUN --data other_hospital --prevalence 0.03
      a folder with NORMAL/ and PNEUMONIA/ in it, or one like the set; also how
      its images differ from the run's validation images
  python -m pneumo.evaluate RUN --data scans --unlabelled --page shift.html
      how images without labels differ, with pictures of the most different
  python -m pneumo.evaluate RUN --data other_hospital --name other
      keeps the scores in the run folder, for the report and the model card
  python -m pneumo.evaluate pretrained:compact-robust --data my_radiographs
      the network that comes with the package
  python -m pneumo.evaluate RUN1 RUN2 RUN3 --out scores.json
      also their mean, a mean with weights fitted on validation data, their
      majority vote, and how RUN1 differs from each other one
  python -m pneumo.evaluate multirun/2025-01-31/12-00-00
      the finished runs of a sweep, in the order of their names
  python -m pneumo.evaluate RUN --stress
      also on its own images, cropped, darkened, blurred …: the drop of AUROC,
      by which to choose between recipes; minutes, kept in RUN/stress.json
  python -m pneumo.evaluate DETECTOR1 DETECTOR2
      runs of task=detection: the challenge score, and their fused boxes
"""


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w-]{0,31}", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"must be up to 32 letters, digits, - and _, such as nih; got {text}"
        )
    return text


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; ends with 2 where one is wrong."""
    parser = cli.Parser(
        "evaluate",
        description="Scores of finished runs on images they were not trained on.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a finished run's folder, a sweep's, or pretrained:compact-robust",
    )
    images = parser.add_argument_group("images")
    images.add_argument("--data", type=Path, metavar="DIR", help="other labelled images")
    images.add_argument(
        "--unlabelled", action="store_true", help="--data has no labels: compare only"
    )
    images.add_argument(
        "--allow-overlap", action="store_true", help="allow images that a run was trained on"
    )
    _add_output(parser)
    stress = parser.add_argument_group("stress test")
    stress.add_argument(
        "--stress", action="store_true", help="also score changed images of the run's own"
    )
    stress.add_argument(
        "--split",
        choices=("val", "test"),
        help="default: val, or test of a run without val",
    )
    parser.add_network(checkpoint=True)
    return parser.parse(arguments)


def _add_output(parser: cli.Parser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument(
        "--full",
        action="store_true",
        help="also predictive values, subgroups, net benefit and weights",
    )
    output.add_argument(
        "--prevalence",
        nargs="+",
        type=cli.share("(", ")"),
        default=PREVALENCES,
        metavar="P",
        help=f"of PPV, NPV and net benefit; default: {' '.join(map(str, PREVALENCES))}",
    )
    output.add_argument("--out", type=Path, metavar="FILE.json", help="everything as JSON")
    output.add_argument(
        "--page",
        type=Path,
        metavar="FILE.html",
        help="the most confident errors with heat maps; with --data how the images differ",
    )
    output.add_argument(
        "--name",
        type=_name,
        metavar="NAME",
        help="keep the scores on --data as RUN/external/NAME.json, for report and card",
    )
