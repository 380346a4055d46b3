"""Predicts radiographs by finished runs: a table, and pictures and reports beside it."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo import cli
from pneumo.runs import pretrained, run_folder
from pneumo.runs.output import check_out, opened
from pneumo.runs.run import Run
from pneumo.runs.tasks import CLASSIFICATION, DETECTION, check_options, common_task

if TYPE_CHECKING:  # torch, seconds that a mistyped RUN need not wait for
    from pneumo.inference.prediction import Folder, Predictor

INSTEAD = (
    "--overlays DIR draws the boxes of a detector, --heatmap DIR the heat maps of a classifier"
)
RSNA = "rsna"  # --format of the challenge
OPTIONS = ("checkpoint", "device", "trust", "threshold", "ids")  # of classifiers and detectors


@cli.command("predict")
def main(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from pneumo.inference import inputs

    named, paths = inputs.split_paths(args.paths)
    runs = [Run.open(place) for place in named or [pretrained.DEFAULT]]
    run_dirs = [run.run_dir for run in runs]
    run_folder.check_named_once(run_dirs)
    task = common_task(runs)
    _check_options(args, task, num_runs=len(runs))
    names = inputs.names(paths, args.list)
    if args.out:
        check_out(args.out, run_dirs=run_dirs, inputs=[Path(n) for n in names if "\0" not in n])
    import torch

    from pneumo.inference import classifiers, prediction

    torch.set_num_threads(args.threads or torch.get_num_threads())
    if not named:
        cli.note(classifiers.about_default(runs[0]))
    predictor, folders = OPEN[task](args, runs, names)
    form = args.format or ("jsonl" if args.out and args.out.suffix == ".jsonl" else "csv")
    on_screen = sys.stdout.isatty() and not args.out
    rows: list[dict[str, Any]] | None = [] if on_screen and not args.format else None
    with opened(args.out, standard=sys.stdout) as file, ExitStack() as stack:
        # pictures last: their list is written at the end, and may find the disk full
        attachments = [stack.enter_context(folder) for folder in folders[::-1]][::-1]
        for sentence in predictor.notes:  # after all checks
            cli.note(sentence)
        columns = [attachment.column for attachment in attachments]
        write = (
            predictor.writer(file, form=form, attachments=columns) if rows is None else rows.append
        )
        counts = prediction.write_rows(
            *(predictor, names, write),
            attachments=attachments,
            threads=args.threads or os.cpu_count() or 1,
            bar=not on_screen or rows is not None,  # rows and a bar would mix
        )
        if rows:
            from pneumo.report.terminal import show_predictions

            show_predictions(rows)
        file.flush()  # a table that cannot be written leaves the folders as they were, too
    places = [args.out or "standard output", args.heatmap, args.overlays, args.dicom_sr]
    sys.stderr.write(
        f"{cli.counted(len(names), 'file')}: {counts['flagged']:,} flagged, "
        f"{counts['unreadable']:,} unreadable; written to "
        f"{', '.join(map(str, filter(None, places)))}\n"
    )
    return cli.UNREADABLE if counts["unreadable"] or counts["incomplete"] else 0


def _check_options(args: argparse.Namespace, task: str, *, num_runs: int) -> None:
    """Raises ValueError for options of the other task, or that do not go together."""
    used = {
        CLASSIFICATION: {
            "--heatmap": args.heatmap is not None,
            "--dicom-sr": args.dicom_sr is not None,
            "--keep-patient": args.keep_patient,
            "--calibration": args.calibration is not None,
            "--coverage": args.coverage is not None,
        },
        DETECTION: {
            "--overlays": args.overlays is not None,
            "--format rsna": args.format == RSNA,
        },
    }
    check_options(task, used, instead=INSTEAD)
    if args.format == RSNA and args.ids:
        raise ValueError("--format rsna has no columns for --ids. Leave one of them out")
    if args.heatmap is not None:
        if num_runs > 1:
            raise ValueError(f"--heatmap needs one network; got {num_runs} runs. Name one of them")
        if args.dicom_sr is not None and args.dicom_sr.resolve() == args.heatmap.resolve():
            raise ValueError(f"--heatmap and --dicom-sr must be two folders; got {args.heatmap}")
        cli.check_installed("--heatmap", "captum", extra="heatmap")
    if args.dicom_sr is not None:
        cli.check_installed("--dicom-sr", "highdicom", extra="dicom-sr")
    elif args.keep_patient:
        raise ValueError("--keep-patient is an option of --dicom-sr, which is missing")


def _classifiers(
    args: argparse.Namespace, runs: Sequence[Run], names: Sequence[str]
) -> "tuple[Predictor, list[Folder]]":
    """Returns the predictor, and the folders to write beside the table, checked and not opened."""
    from pneumo.inference.classifiers import Classifiers

    options = {name: getattr(args, name) for name in (*OPTIONS, "calibration", "coverage")}
    classifiers = Classifiers(runs, **options)
    folders: list[Folder] = []
    if args.heatmap is not None:
        from pneumo.inference import album
        from pneumo.inference.heatmap_images import Heatmaps

        album.check(args.heatmap, "--heatmap", column="heatmap")
        at: dict[str, Any] = {"checkpoint": args.checkpoint, "trust": args.trust}
        at["threshold"] = classifiers.decision.threshold
        maps = Heatmaps(runs[0], **at)  # another network, on the CPU, for captum
        folders.append(maps.album(args.heatmap, names))
    if args.dicom_sr is not None:
        from pneumo.inference.structured_report import reports

        algorithm, keep = classifiers.networks.description, args.keep_patient
        folders.append(reports(args.dicom_sr, names, algorithm=algorithm, keep_patient=keep))
    return classifiers, folders


def _detectors(
    args: argparse.Namespace, runs: Sequence[Run], names: Sequence[str]
) -> "tuple[Predictor, list[Folder]]":
    """Returns the predictor and the folders, as for classifiers."""
    from pneumo.inference.detectors import Detectors, check_patients, overlays

    detectors = Detectors(runs, **{name: getattr(args, name) for name in OPTIONS})
    if args.format == RSNA:
        check_patients(names)
    return detectors, [] if args.overlays is None else [overlays(args.overlays, names)]


OPEN = {CLASSIFICATION: _classifiers, DETECTION: _detectors}


if __name__ == "__main__":
    raise SystemExit(cli.start("predict"))
