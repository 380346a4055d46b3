"""The arguments of python -m pneumo.export."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli

EXAMPLE = """\
import sys
import numpy, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1])
about = session.get_modelmeta().custom_metadata_map
image = numpy.asarray(Image.open(sys.argv[2]).convert("L"))[None, None]
probability = session.run(["probability"], {"image": image})[0][0]
for name, value in zip(about["classes"].split(","), probability):
    print(f"{name}: {value:.4f}")
print(about["limits"])
"""

EPILOG = f"""\
The file takes uint8 grey images (N, 1, H, W) of any size and returns logits and
probability, both (N, classes), and decision (N,), 1 for PNEUMONIA. It is
compared with the network in ONNX Runtime before it is written. Its use needs
neither torch nor pneumo. Save this as use.py and run python use.py model.onnx
radiograph.png:

{"".join("    " + line for line in EXAMPLE.splitlines(keepends=True))}
This is enough for 8-bit grey and colour PNG and JPEG. For images of more than 8
bits, transparency, a camera's orientation tag, or DICOM, prepare the pixels as
pneumo.data.reader.decode does.

exit codes: 0 done; 2 a mistake in the command or a refusal; 3 written, but some
files of --check could not be read; 130 interrupted. Not a medical device.

examples:
  python -m pneumo.export RUN
      writes RUN/export/model.onnx, and model-card.md and model-checklists.md
      beside it
  python -m pneumo.export RUN --out pneumonia.onnx --check radiographs/
      compared on the images of a folder instead of the run's own
  python -m pneumo.export RUN --to checklists
      CLAIM and TRIPOD+AI, filled in as far as possible: export/checklists.md
  python -m pneumo.export RUN --to run --out small
      a run folder to share, with all that predict, evaluate, heatmap and export
      need, without optimizer state, logs and paths of this machine
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; exits with 2 if one is wrong."""
    parser = cli.Parser(
        "export",
        description="Exports a finished run as ONNX, with its preprocessing and a model card.",
        epilog=EPILOG,
    )
    parser.add_run()
    add = parser.add_argument_group("output").add_argument
    formats = ("onnx", "run", "checklists")
    place = "onnx: a folder or FILE.onnx; run: a folder, required; checklists: FILE.md"
    add("--to", choices=formats, default="onnx", help="the format; default: %(default)s")
    add("--out", type=Path, metavar="PLACE", help=place)
    check = "images or folders on which the file is compared with the network"
    add("--check", nargs="+", metavar="PATH", help=check)
    parser.add_network(checkpoint=True)
    return parser.parse(arguments)
