"""The arguments of python -m pneumo.heatmap."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.choices import CHECKPOINTS, METHODS
from pneumo.labels import CLASS_NAMES, PNEUMONIA

EXAMPLES = """\
examples:
  python -m pneumo.heatmap RUN --out maps --score
      100 images drawn at random (seed 0) from the run's test split; the scores
      also go into the run folder, as heatmap.json, from where pictures, the
      report and the model card take them
  python -m pneumo.heatmap RUN radiograph.png --out maps
  python -m pneumo.heatmap pretrained:compact radiograph.png --out maps
      of the network that comes with the package
  python -m pneumo.heatmap RUN radiographs/ --out maps --method occlusion \\
      --class NORMAL
  python -m pneumo.heatmap RUN radiographs/ --out maps --score
      also maps/scores.json, what the maps are worth

The legend of a picture has the file's name, the probability, the decision and
its threshold (of the run's validation split, or 0.5), and what such maps are
worth on the run's own images. Bright is the most evidence for the class, on a
scale of that picture alone, so two pictures do not compare.

Without --method: the method with the best measured score (docs/heatmaps.md).
gradcam and layercam are quick, and as coarse as the layer they are taken from.
occlusion covers one window after another; integrated follows the gradient from
the blurred image to the image. Both take longer: up to seconds an image.

The numbers of --score, means over the radiographs and each radiograph's:
  deletion   area under the class's probability while the brightest places are
             blurred away first
  random     the same with places in random order, the baseline
  gap        random - deletion, with its 95 % interval: above 0, the map knows
             more than chance; near 0, it explains nothing
  randomised rank correlation with the maps of networks of random weights
             (Adebayo et al., 2018): near 0 is right; near 1, the map shows the
             radiograph and not what was learnt
  flat       images on which the method finds no evidence for the class, so
             that there is no map to score

--out is written at the end, whole or not at all. A second call into the same
folder replaces its list, heatmaps.json, and its scores; other pictures stay.
A map tells where, not why: a place that matters may be a letter, a tube or the
edge of the radiograph.

exit codes: 0 done; 2 a mistake; 3 done, but some files could not be read; 130
stopped. Not a medical device.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; ends with 2 where one is wrong."""
    parser = cli.Parser(
        "heatmap",
        description="Where a trained network looked, and what such a picture is worth.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "run", metavar="RUN", help="the folder of a finished run, or pretrained:compact"
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="radiographs, or folders; default: of its test split",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the pictures")
    parser.add_argument(
        "--method",
        choices=METHODS,
        metavar="METHOD",
        help=f"{', '.join(METHODS)}; default: the network's own",
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        choices=CLASS_NAMES,
        default=PNEUMONIA,
        help="default: %(default)s",
    )
    parser.add_argument(
        "--checkpoint", choices=CHECKPOINTS, default="best", help="default: %(default)s"
    )
    parser.add_argument("--score", action="store_true", help="also say what the maps are worth")
    parser.add_trust()
    return parser.parse(arguments)
