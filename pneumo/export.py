"""Exports a finished run as one ONNX file, preprocessing inside, with a model card."""

import argparse
import sys
from pathlib import Path

from pneumo import cli
from pneumo.runs import pretrained
from pneumo.runs.run import Run
from pneumo.runs.tasks import check_classifier

NO_DETECTOR = (
    "export takes a classifier: torch.export, which makes the ONNX file, cannot follow "
    "torchvision's detectors, where the computation depends on the number of boxes, and card and "
    "checklists describe classes"
)


@cli.command("export", stopped="stopped; nothing was written")
def main(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    run = Run.open(args.run)
    check_classifier(run, NO_DETECTOR)
    if args.to != "onnx" and (args.check or args.checkpoint != "best"):
        raise ValueError(
            f"--to {args.to} exports the best checkpoint; leave --check and --checkpoint last out"
        )
    if args.to == "run" and args.out is None:
        raise ValueError("--to run writes a folder; it needs --out DIR")
    if args.to == "onnx":
        cli.check_installed("ONNX export", "onnx", "onnxruntime", "onnxscript", extra="export")
    folder = (Path() if run.is_shipped else run.run_dir) / "export"
    from pneumo.report import documents

    if args.to == "run":
        size = documents.pack(run, args.out, trust=args.trust)
        sys.stdout.write(f"{args.out}: {size / 1e6:.2f} MB, with {pretrained.CARD}\n")
        return 0
    if args.to == "checklists":
        out = args.out if args.out is not None else folder / "checklists.md"
        documents.write_checklists(run, out)
        sys.stdout.write(f"{out}\n")
        return 0
    from pneumo.inference.onnx_export import GRAPH_TOLERANCE, WHOLE_TOLERANCE

    place = args.out if args.out is not None else folder
    options = {"checkpoint": args.checkpoint, "check": args.check, "trust": args.trust}
    paths, difference = documents.write_onnx(run, place, **options)
    for reason in difference.unread:
        sys.stderr.write(f"not read: {reason}\n")
    images = cli.counted(difference.images, "image")
    sys.stdout.write(
        f"Largest difference to the network on {images} ({difference.source}):\n"
        f"  of a probability, from the image as it is: {difference.whole:.1e} "
        f"(at most {WHOLE_TOLERANCE:g})\n"
        f"  of a logit, from the same prepared pixels: {difference.graph:.1e} "
        f"(at most {GRAPH_TOLERANCE:g})\n" + "".join(f"{path}\n" for path in paths)
    )
    return cli.UNREADABLE if difference.unread else 0


if __name__ == "__main__":
    raise SystemExit(cli.start("export"))
