"""The arguments of python -m pneumo.predict."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.choices import DEVICES

EXAMPLES = """\
Columns: p_* are the networks' probabilities, *_calibrated those after the
temperature fixed on the run's validation split (empty without one); decision is
PNEUMONIA if p_pneumonia is at least threshold; threshold_from is the source of
the threshold: the run's decision rule (argmax or balanced, 0.5; validation, its
sensitivity there is at least 0.95), calibration (of --calibration) or given.
ood is true for an out-of-distribution image, ood_score its distance in units of
the limit of 99 % of the run's radiographs, ood_reason the reason (pixels, or a
DICOM header's age, view, body part and modality). prediction_set, with
--coverage only, is NORMAL, PNEUMONIA, both or neither. heatmap, with --heatmap
only, is the radiograph's picture, dicom_sr, with --dicom-sr, its report. --ids
adds SOPInstanceUID, StudyInstanceUID and AccessionNumber of DICOM files, which
identify the patient to whoever has the archive; empty for PNG and JPEG. error
is the reason why a file could not be read. A detector has a row a box, and one
for an image without boxes (boxes is 0): score and x_min, y_min, x_max, y_max in
pixels of the file; a box counts if its score is at least the threshold.
exit codes: 0 done; 2 a mistake in the command; 3 done, but some files could
not be read, or have no picture or report; 130 stopped. Not a medical device.

examples:
  python -m pneumo.predict radiograph.png
      the network that comes with the package, pretrained:compact-robust
  python -m pneumo.predict RUN radiograph.png other.dcm
  python -m pneumo.predict RUN radiographs/ --out predictions.csv
      all images below a folder; an existing predictions.csv is replaced at the
      end
  python -m pneumo.predict RUN radiographs/ --out predictions.csv --heatmap maps
      also a picture for each image of the evidence for PNEUMONIA; see python -m
      pneumo.heatmap --help
  python -m pneumo.predict RUN1 RUN2 RUN3 radiographs/ --format jsonl
      the mean of three networks
  python -m pneumo.predict RUN study/ --dicom-sr reports --coverage 0.9
      DICOM structured reports (extra dicom-sr), without the patient's tags
  python -m pneumo.predict DETECTOR radiographs/ --out boxes.csv --overlays seen
      a run of task=detection: boxes, and pictures of them; --format rsna writes
      the challenge's patientId,PredictionString; boxes of several are fused
  find radiographs -name '*.dcm' | python -m pneumo.predict RUN --list -
  python -m pneumo.predict RUN - < radiograph.png
"""


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1; got {text}")
    return int(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; ends with 2 where one is wrong."""
    parser = cli.Parser(
        "predict",
        description="Predictions of finished runs for PNG, JPEG and DICOM, as CSV or JSON.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="[RUN...] FILE",
        help="run folders, by default pretrained:compact-robust; then images, folders or -",
    )
    images = parser.add_argument_group("images")
    images.add_argument("--list", metavar="FILE", help="more images, a path a line; - is stdin")
    _add_output(parser)
    _add_decision(parser)
    parser.add_network(checkpoint=True)
    _add_computing(parser)
    return parser.parse(arguments)


def _add_output(parser: cli.Parser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", type=Path, metavar="FILE", help="written whole or not at all; default: stdout"
    )
    output.add_argument(
        "--format",
        choices=("csv", "jsonl", "rsna"),
        help="default: as --out ends, or csv; without both a table on a terminal",
    )
    output.add_argument(
        "--ids", action="store_true", help="columns of the UIDs and the accession number of DICOM"
    )
    output.add_argument("--heatmap", type=Path, metavar="DIR", help="a picture for each radiograph")
    output.add_argument(
        "--overlays", type=Path, metavar="DIR", help="a detector's boxes, a picture a radiograph"
    )
    output.add_argument(
        "--dicom-sr",
        type=Path,
        metavar="DIR",
        help="a DICOM structured report for each DICOM image, in a new folder",
    )
    output.add_argument(
        "--keep-patient",
        action="store_true",
        help="write name, numbers and dates of patient and study into the reports",
    )


def _add_decision(parser: cli.Parser) -> None:
    decision = parser.add_argument_group("decision")
    decision.add_argument(
        "--threshold", type=cli.share("[", "]"), metavar="P", help="default: the run's own"
    )
    decision.add_argument(
        "--calibration",
        metavar="NAME",
        help="local threshold: a name in RUN/calibrations, or a file (pneumo.calibrate)",
    )
    decision.add_argument(
        "--coverage",
        type=cli.share("(", ")"),
        metavar="C",
        help="also a set of labels with the right one in a share C of images, such as 0.9",
    )


def _add_computing(parser: cli.Parser) -> None:
    computing = parser.add_argument_group("computing")
    computing.add_argument(
        "--device", choices=DEVICES, default="auto", help="default: a GPU if there is one"
    )
    computing.add_argument(
        "--batch-size", type=_count, metavar="N", help="images; default: 32, for a detector 8"
    )
    computing.add_argument(
        "--threads", type=_count, metavar="N", help="that compute and decode; default: all cores"
    )
