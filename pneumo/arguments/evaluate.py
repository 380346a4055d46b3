"""The arguments of python -m pneumo.evaluate."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumo import cli
from pneumo.choices import PREVALENCES

EXAMPLES = """\
Intervals are 95 % intervals over patients. The operating point is that of the
run's decision rule. The threshold of decision=sensitivity, the temperature and
the weights are fitted on validation data only, which protocol=paper lacks.
exit codes: 0 done; 2 a mistake in the command or a refusal; 3 an image could
not be read; 130 interrupted. Not a medical device.

examples:
  python -m pneumo.evaluate RUN
      its own test split, from predictions.csv: no image is needed
  python -m pneumo.evaluate RUN --page errors.html
      the most confident errors, misses first, with heat maps (extra heatmap)
      and the most similar training images; needs the run's images
  python -m pneumo.evaluate RUN --data other_hospital --prevalence 0.03
      a folder that contains NORMAL/ and PNEUMONIA/, or has the set's layout;
      also how its images differ from the run's validation images. --name other
      stores the scores in the run folder, --unlabelled only compares images
  python -m pneumo.evaluate RUN1 RUN2 RUN3 --out scores.json
      also their mean, a mean with weights fitted on validation data, their
      majority vote, and the differences between RUN1 and each other run
  python -m pneumo.evaluate multirun/2025-01-31/12-00-00
      the finished runs of a sweep, in the order of their names
  python -m pneumo.evaluate RUN --stress
      also scores its own images cropped, darkened, blurred …: their mean
      AUROC, a criterion for recipes; takes minutes, stored in RUN/stress.json
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
    """Returns the arguments; exits with 2 if one is wrong."""
    parser = cli.Parser(
        "evaluate",
        description="Scores finished runs on images that they were not trained on.",
        epilog=EXAMPLES,
    )
    places = "a finished run's folder, a sweep's, or pretrained:compact-robust"
    parser.add_argument("runs", nargs="+", metavar="RUN", help=places)
    add = parser.add_argument_group("images").add_argument
    add("--data", type=Path, metavar="DIR", help="other labelled images")
    add("--unlabelled", action="store_true", help="--data has no labels: compare only")
    overlap = "allow images that a run was trained on"
    add("--allow-overlap", action="store_true", help=overlap)
    add = parser.add_argument_group("output").add_argument
    full = "also predictive values, subgroups, net benefit and weights"
    add("--full", action="store_true", help=full)
    share: dict[str, Any] = {"type": cli.share("()"), "default": PREVALENCES, "metavar": "P"}
    stated = f"for PPV, NPV and net benefit; default: {' '.join(map(str, PREVALENCES))}"
    add("--prevalence", nargs="+", **share, help=stated)
    add("--out", type=Path, metavar="FILE.json", help="all scores as JSON")
    page = "the most confident errors with heat maps; with --data the differences of the images"
    add("--page", type=Path, metavar="FILE.html", help=page)
    keep = "store the scores on --data in RUN/external/NAME.json, for report and card"
    add("--name", type=_name, metavar="NAME", help=keep)
    add = parser.add_argument_group("stress test").add_argument
    add("--stress", action="store_true", help="also score the run's own images, altered")
    split = "of the stress test; default: val, or test if the run has no val"
    add("--split", choices=("val", "test"), help=split)
    parser.add_network(checkpoint=True)
    return parser.parse(arguments)
