"""The arguments of python -m pneumo.predict."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.choices import DEVICES

EXAMPLES = """\
Columns: p_* are the networks' probabilities, *_calibrated those after
temperature scaling, fitted on the run's validation split or the images of
--calibration; decision is PNEUMONIA if p_pneumonia is at least threshold;
ood is true for an out-of-distribution image; error is the reason why a file
could not be read.
docs/reference/predictions.md describes all columns, docs/how-to/detection.md
those of detectors, which write one row per box.
exit codes: 0 done; 2 a mistake in the command; 3 done, but some files could
not be read, or have no picture or report; 130 interrupted. Not a medical
device.

examples:
  python -m pneumo.predict radiograph.png
      the network that comes with the package, pretrained:compact-robust
  python -m pneumo.predict RUN radiograph.png other.dcm
  python -m pneumo.predict RUN radiographs/ --out predictions.csv --heatmap maps
      all images below a folder; an existing predictions.csv is replaced at the
      end; also a heat map of each image
  python -m pneumo.predict RUN1 RUN2 RUN3 radiographs/ --format jsonl
      the mean of three networks
  python -m pneumo.predict RUN study/ --dicom-sr reports --coverage 0.9
      DICOM structured reports (extra dicom-sr), without the patient's tags
  python -m pneumo.predict DETECTOR radiographs/ --out boxes.csv --overlays seen
      a run of task=detection: boxes, and pictures of them; --format rsna writes
      the challenge's patientId,PredictionString; several detectors are fused
  find radiographs -name '*.dcm' | python -m pneumo.predict RUN --list -
  python -m pneumo.predict RUN - < radiograph.png
"""


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1; got {text}")
    return int(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; exits with 2 if one is wrong."""
    parser = cli.Parser(
        "predict",
        description="Predicts PNG, JPEG and DICOM images by finished runs, as CSV or JSON.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="[RUN...] FILE",
        help="run folders, by default pretrained:compact-robust; then images, folders or -",
    )
    add = parser.add_argument_group("images").add_argument
    add("--list", metavar="FILE", help="more images, one path per line; - is stdin")
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, metavar="FILE", help="written whole or not at all; default: stdout")
    formats = "default: by the ending of --out, else csv; on a terminal a short table"
    add("--format", choices=("csv", "jsonl", "rsna"), help=formats)
    ids = "also UIDs and accession numbers of DICOM, which identify patients"
    add("--ids", action="store_true", help=ids)
    add("--heatmap", type=Path, metavar="DIR", help="a heat map of each radiograph")
    overlays = "a picture of each radiograph with a detector's boxes"
    add("--overlays", type=Path, metavar="DIR", help=overlays)
    reports = "a DICOM structured report for each DICOM image, in a new folder"
    add("--dicom-sr", type=Path, metavar="DIR", help=reports)
    patient = "write name, numbers and dates of patient and study into the reports"
    add("--keep-patient", action="store_true", help=patient)
    add = parser.add_argument_group("decision").add_argument
    add("--threshold", type=cli.share("[]"), metavar="P", help="default: the run's own")
    local = "local threshold: a name in RUN/calibrations, or a file (pneumo.calibrate)"
    add("--calibration", metavar="NAME", help=local)
    sets = "also a set of labels that contains the true one in a share C of images, such as 0.9"
    add("--coverage", type=cli.share("()"), metavar="C", help=sets)
    parser.add_network(checkpoint=True)
    add = parser.add_argument_group("computing").add_argument
    add("--device", choices=DEVICES, default="auto", help="default: a GPU if there is one")
    add("--threads", type=_count, metavar="N", help="of computing and decoding; default: all cores")
    return parser.parse(arguments)
