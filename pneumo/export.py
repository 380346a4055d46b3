"""A finished run becomes one ONNX file, preprocessing inside, and a model card beside it."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo import atomic, cli, labels
from pneumo.arguments.export import parse
from pneumo.runs import output, pretrained
from pneumo.runs.run import Run

if TYPE_CHECKING:  # torch, seconds that a mistyped RUN need not wait for
    from pneumo.inference.onnx_export import Difference

FILE = "model.onnx"
NO_DETECTOR = (
    "export takes a classifier: torch.export, which makes the ONNX file, cannot follow "
    "torchvision's detectors, where the number of boxes decides the computation, and card and "
    "checklists are of classes"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(arguments)
    return cli.run(lambda: _command(args), stopped="stopped; nothing was written")


def _command(args: argparse.Namespace) -> int:
    run = Run.open(args.run)
    run.check_classifier(NO_DETECTOR)
    for_best = not (args.check or args.checkpoint != "best")
    beside = Path() if run.is_shipped else run.run_dir
    if args.to == "run":
        if args.out is None or not for_best:
            raise ValueError(
                "--to run writes the best checkpoint to a folder; it needs --out DIR, and takes "
                "neither --check nor --checkpoint last"
            )
        from pneumo.report.documents import pack

        size = pack(run, args.out, trust=args.trust)
        sys.stdout.write(f"{args.out}: {size / 1e6:.2f} MB, with {pretrained.CARD}\n")
        return 0
    if args.to == "checklists":
        if not for_best:
            raise ValueError(
                "--to checklists is of the run and its best checkpoint; it takes neither --check "
                "nor --checkpoint last"
            )
        out = args.out if args.out is not None else beside / "export" / "checklists.md"
        write_checklists(run, out)
        sys.stdout.write(f"{out}\n")
        return 0
    place = args.out if args.out is not None else beside / "export"
    options = {"checkpoint": args.checkpoint, "check": args.check, "trust": args.trust}
    model_path, difference = export(run, place, **options)
    for reason in difference.unread:
        sys.stderr.write(f"not read: {reason}\n")
    from pneumo.inference.onnx_export import GRAPH_TOLERANCE, WHOLE_TOLERANCE

    images = cli.counted(difference.images, "image")
    sys.stdout.write(
        f"Largest difference to the network on {images} ({difference.source}):\n"
        f"  of a probability, from the image as it is: {difference.whole:.1e} "
        f"(at most {WHOLE_TOLERANCE:g})\n"
        f"  of a logit, from the same prepared pixels: {difference.graph:.1e} "
        f"(at most {GRAPH_TOLERANCE:g})\n"
        f"{model_path}\n{card_path(model_path)}\n{checklists_path(model_path)}\n"
    )
    return cli.UNREADABLE if difference.unread else 0


def card_path(model_path: Path) -> Path:
    """Returns the path of a model's card, beside it under its name, so that two do not collide."""
    return model_path.with_name(f"{model_path.stem}-card.md")


def checklists_path(model_path: Path) -> Path:
    """Returns the path of a model's CLAIM and TRIPOD+AI tables, beside its card."""
    return model_path.with_name(f"{model_path.stem}-checklists.md")


def write_checklists(run: Run, out: Path) -> None:
    """Writes the CLAIM and TRIPOD+AI tables of a run to a Markdown file."""
    if out.suffix != ".md":
        raise ValueError(f"--out must be a file that ends in .md; got {out}")
    output.check_files([out], run_dir=run.run_dir, is_own=_is_own)
    from pneumo.report.documents import checklists

    text = checklists(run, checkpoint="best")
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(out, text)


def export(
    run: Run,
    out: Path,
    *,
    checkpoint: str = "best",
    check: Sequence[str] | None = None,
    trust: Sequence[str] = (),
) -> "tuple[Path, Difference]":
    """Writes the ONNX file and the card of a run; returns the file's path and its check.

    Args:
        run: a finished run.
        out: the file (ends in .onnx) or its folder.
        checkpoint: best or last.
        check: files or folders of images to check on; by default the run's own test images if
            they are still there, otherwise generated ones.
        trust: packages whose networks the run may name.

    Raises:
        FileNotFoundError: a file of the run or an image is missing.
        ValueError: the run is not finished or broken, an extra is not installed, ``out`` holds
            something else, no image could be read, or the outputs differ by too much.
    """
    cli.check_installed("ONNX export", "onnx", "onnxruntime", "onnxscript", extra="export")
    from pneumo.inference import ensemble, onnx_export, onnx_model
    from pneumo.report import documents, model_card

    if out.suffix != ".onnx" and out.is_file():
        raise ValueError(f"--out must be a folder or a file that ends in .onnx; got {out}")
    model_path = out if out.suffix == ".onnx" else out / FILE
    lists = checklists_path(model_path)
    paths = (model_path, card_path(model_path), lists)
    output.check_files(paths, run_dir=run.run_dir, is_own=_is_own)
    network = run.network(checkpoint, trust=trust)
    best = checkpoint == "best"
    named = replace(run, name="this run")  # no file names in files to hand on
    fixed = ensemble.mean_operating_point([named]) if best else model_card.NOT_BEST
    with documents.complete(run):
        properties = onnx_export.properties(run, network, checkpoint, fixed)
    classes = labels.CLASSES[network.num_classes]
    card = documents.card(run, classes, checkpoint=checkpoint, checklists=lists.name)
    texts = (card, documents.checklists(run, checkpoint=checkpoint))
    model = onnx_model.build(
        network,
        views=run.views,
        image_size=run.image_size,
        aspect=run.aspect,
        properties=properties,
    )
    with tempfile.TemporaryDirectory() as place:
        images = onnx_export.check_images(check, run, Path(place))
        difference = onnx_export.compare(model, run, network, images)
    _write(paths, [model.SerializeToString(), *(text.encode() for text in texts)])
    return model_path, difference


def _is_own(path: Path) -> bool:
    """Returns whether an earlier export wrote a file."""
    if path.suffix == ".md":
        from pneumo.report.checklists import MARK

        with path.open("rb") as file:
            return file.readline().strip() == MARK.encode()
    import onnx

    try:
        return bool(onnx.load(path).producer_name == "pneumo")
    except Exception:  # any error of protobuf
        return False


def _write(paths: Sequence[Path], contents: Sequence[bytes]) -> None:
    """Writes files to a folder; if one cannot be written, none is replaced."""
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for path, content in zip(paths, contents, strict=True):
            stack.enter_context(atomic.replacing(path)).write_bytes(content)


if __name__ == "__main__":
    raise SystemExit(cli.start("export"))
