"""The arguments of python -m pneumo.heatmap."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumo import cli
from pneumo.choices import METHODS
from pneumo.labels import CLASS_NAMES, PNEUMONIA

EXAMPLES = """\
The legend of a picture states the file name, the probability, the decision and
its threshold, and how faithful such maps are on the run's own images. Bright
places have the most evidence for the class. Each picture has its own scale, so
two pictures cannot be compared. A map shows where, not why: the place may be a
letter, a tube or the edge of the radiograph.

The default --method is integrated for compact and the paper's networks, as
measured, and gradcam for others, for which none was measured.
gradcam and layercam are fast, and as coarse as their layer; occlusion and
integrated take up to seconds per image. --score writes scores.json beside the
maps: the gap is above 0 if a map is better than chance. See
docs/how-to/heatmaps.md.
A second call into the same folder replaces its list, heatmaps.json, and its
scores; other pictures stay.
exit codes: 0 done; 2 a mistake in the command; 3 done, but some files could not
be read; 130 interrupted. Not a medical device.

examples:
  python -m pneumo.heatmap RUN --out maps --score
      an image each of 100 random patients (seed 0) of the test split; the
      scores are also written to heatmap.json in the run folder, for pictures,
      the report and the model card
  python -m pneumo.heatmap pretrained:compact-robust radiograph.png --out maps
      the network that comes with the package
  python -m pneumo.heatmap RUN radiographs/ --out maps --method occlusion \\
      --class NORMAL
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; exits with 2 if one is wrong."""
    parser = cli.Parser(
        "heatmap",
        description="Draws heat maps of the evidence for a class, and scores them.",
        epilog=EXAMPLES,
    )
    parser.add_run()
    place = "radiographs or folders; default: one each of up to 100 test patients"
    parser.add_argument("paths", nargs="*", metavar="PATH", help=place)
    add = parser.add_argument_group("maps").add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    methods = f"{', '.join(METHODS)}; default: the network's own"
    add("--method", choices=METHODS, metavar="METHOD", help=methods)
    named: dict[str, Any] = {"dest": "class_name", "choices": CLASS_NAMES, "default": PNEUMONIA}
    add("--class", **named, help="default: %(default)s")
    add("--score", action="store_true", help="also score the maps")
    parser.add_network(checkpoint=True)
    return parser.parse(arguments)
