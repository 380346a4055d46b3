"""The arguments of python -m pneumo.predict."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.choices import CHECKPOINTS, DEVICES

EXAMPLES = """\
examples:
  python -m pneumo.predict radiograph.png
      by the network that comes with the package, pretrained:compact
  python -m pneumo.predict RUN radiograph.png other.dcm
  python -m pneumo.predict RUN radiographs/ --out predictions.csv
      all images in a folder and its folders; an existing predictions.csv is
      replaced at the end
  python -m pneumo.predict RUN radiographs/ --out predictions.csv --heatmap maps
      also a picture for each image of what spoke for PNEUMONIA; see python -m
      pneumo.heatmap --help
  python -m pneumo.predict RUN1 RUN2 RUN3 radiographs/ --format jsonl
      the mean of three networks
  python -m pneumo.predict RUN study/ --dicom-sr reports --coverage 0.9
      DICOM structured reports (extra dicom-sr), without the patient's tags
  python -m pneumo.predict DETECTOR radiographs/ --out boxes.csv --overlays seen
      a run of task=detection: boxes, and pictures of them; --format rsna writes
      the challenge's patientId,PredictionString; of several detectors fused
  find radiographs -name '*.dcm' | python -m pneumo.predict RUN --list -
  python -m pneumo.predict RUN - < radiograph.png

Columns: p_* are the networks' probabilities, *_calibrated those after the
temperature that the run's validation split fixes (empty without one); decision
is PNEUMONIA where p_pneumonia is at least threshold, and threshold_from says
where that comes from: validation (sensitivity at least 0.95 there), calibration
(of --calibration), given, or default (0.5). ood is true for an
out-of-distribution image, ood_score its distance in units of the limit that
99 % of the run's radiographs keep, ood_reason why (by pixels, and by a DICOM
header's age, view, body part and modality). prediction_set, with
--coverage only, is NORMAL, PNEUMONIA, both or neither. heatmap, with --heatmap
only, names the radiograph's picture, dicom_sr, with --dicom-sr, its report.
--ids adds SOPInstanceUID, StudyInstanceUID and AccessionNumber of DICOM files,
which identify the patient to whoever has the archive; empty for PNG and JPEG.
error says why a file could not be read. Of a detector there is a row a box, and
one for an image without (boxes is 0): score and x_min, y_min, x_max, y_max in
pixels of the file; a box counts from the threshold on.
exit codes: 0 done; 2 a mistake in the command; 3 done, but some files could
not be read, or have no picture or report; 130 stopped. Not a medical device.
"""


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1; got {text}")
    return value


def _coverage(text: str) -> float:
    value = _share(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, such as 0.9; got {text}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1; got {text}")
    return int(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; ends with 2 where one is wrong."""
    parser = cli.Parser(
        "predict",
        description="What finished runs say of radiographs: PNG, JPEG and DICOM to CSV or JSON.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="[RUN...] FILE",
        help="run folders or pretrained:compact, which is the default; then images, folders or -",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="whole or not at all; else stdout")
    parser.add_argument(
        "--format", choices=("csv", "jsonl", "rsna"), help="default: as --out ends, or csv"
    )
    parser.add_argument("--list", metavar="FILE", help="more images, a path a line; - is stdin")
    parser.add_argument("--heatmap", type=Path, metavar="DIR", help="a picture for each radiograph")
    parser.add_argument(
        "--overlays", type=Path, metavar="DIR", help="a detector's boxes, a picture a radiograph"
    )
    parser.add_argument(
        "--dicom-sr",
        type=Path,
        metavar="DIR",
        help="a DICOM structured report for each DICOM image, in a new folder",
    )
    parser.add_argument(
        "--keep-patient",
        action="store_true",
        help="name, numbers and dates of patient and study go into the reports",
    )
    parser.add_argument(
        "--ids", action="store_true", help="columns of the UIDs and the accession number of DICOM"
    )
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default="best", help="default: best")
    parser.add_argument(
        "--threshold", type=_share, metavar="P", help="default: fixed on validation, or 0.5"
    )
    parser.add_argument(
        "--calibration",
        metavar="NAME",
        help="of local images: a name in RUN/calibrations, or a file (pneumo.calibrate)",
    )
    parser.add_argument(
        "--coverage",
        type=_coverage,
        metavar="C",
        help="also a set of labels, which holds the right one in a share C of images, such as 0.9",
    )
    parser.add_argument(
        "--batch-size", type=_count, metavar="N", help="images; default: 32, of a detector 8"
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="default: a GPU if there is one"
    )
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="that compute and decode; default: all cores"
    )
    parser.add_trust()
    return parser.parse(arguments)
