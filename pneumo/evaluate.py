"""Scores finished runs on their test split or on other images, and compares these images."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumo import atomic, cli
from pneumo.choices import PREVALENCES
from pneumo.runs import pretrained, run_folder
from pneumo.runs.output import check_out, opened, printable
from pneumo.runs.run import Run
from pneumo.runs.tasks import CLASSIFICATION, DETECTION, check_options, common_task

Scores = tuple[dict[str, Any], list[str]]  # for --out, and the lines for the terminal


@cli.command("evaluate")
def main(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    runs = [Run.open(run_dir) for place in args.runs for run_dir in _run_dirs(place)]
    task = common_task(runs)
    _check_options(args, task, runs)
    for name, out in (("--out", args.out), ("--page", args.page)):
        if out:
            check_out(out, run_dirs=[run.run_dir for run in runs], name=name)
    if args.out and args.page and args.out.resolve() == args.page.resolve():
        raise ValueError(f"--out and --page must be two files; got {args.out} for both")
    from pneumo.inference import scoring
    from pneumo.report import terminal

    if args.page:  # before anything is scored
        if runs[0].metrics.get("baseline"):
            raise ValueError(f"--page needs a network; {runs[0].name} is a baseline")
        scoring.own_root(runs[0])
    scores, lines = SCORE[task](args, runs)
    html = _page(args, runs[0], scores) if args.page else ""
    if args.out:
        with opened(args.out, standard=sys.stdout) as file:
            file.write(atomic.json_text(scores))
    terminal.show(lines)
    if args.page:
        with opened(args.page, standard=sys.stdout) as file:
            file.write(printable(html))  # names of files may not be UTF-8
    return cli.UNREADABLE if scores.get("shift", {}).get("unreadable") else 0


def _page(args: argparse.Namespace, run: Run, scores: dict[str, Any]) -> str:
    """Returns the page on other images, or on the errors on the run's own test split."""
    if not args.data:
        from pneumo.gallery import page as gallery

        options = {"checkpoint": args.checkpoint, "trust": args.trust}
        return gallery.html(run, **options, notes=scores["notes"])
    from pneumo.inference import scoring
    from pneumo.shift import page

    # the stored scores are those of the best checkpoint
    own = run.assessment if "members" in scores and args.checkpoint == "best" else None
    root = Path(scores["shift"]["root"])
    return page.html(scores, root=root, own_root=scoring.own_root(run), own=own)


def _run_dirs(place: str) -> list[Path]:
    """Returns the folder of a run, or the finished runs of a sweep; a note names the others."""
    folder = pretrained.find(place)
    if not folder.is_dir() or run_folder.looks_like_run(folder):
        return [folder]
    runs = {run: run_folder.read_status(run)["status"] for run in run_folder.find_runs(folder)}
    left_out = [f"{run.name} ({status})" for run, status in runs.items() if status != "done"]
    if left_out:
        sys.stderr.write(f"left out of {folder}, not finished: {', '.join(left_out)}\n")
    return [run for run, status in runs.items() if status == "done"] or [folder]


def _score_classifiers(args: argparse.Namespace, runs: Sequence[Run]) -> Scores:
    from pneumo.shift import evaluation

    if args.stress and len(runs) > 1:  # they need no test images in common
        return _stress(args, runs)
    scores = evaluation.evaluate(
        runs,
        data=args.data,
        labels=not args.unlabelled,
        checkpoint=args.checkpoint,
        prevalences=args.prevalence,
        allow_overlap=args.allow_overlap,
        name=args.name,
        trust=args.trust,
    )
    lines = evaluation.text(scores, full=args.full)
    if args.stress:
        tested, more = _stress(args, runs)
        scores, lines = scores | tested, [*lines, "", *more]
    return scores, lines


def _stress(args: argparse.Namespace, runs: Sequence[Run]) -> Scores:
    from pneumo.inference.stress import stress_runs
    from pneumo.report import terminal

    results = list(stress_runs(runs, split=args.split, trust=args.trust))
    entries = [{"run": run.name, **result} for run, result in results]
    return {"schema": 1, "stress": entries}, terminal.stress_lines(results)


def _score_detectors(_: argparse.Namespace, runs: Sequence[Run]) -> Scores:
    from pneumo.inference import fusion
    from pneumo.report import terminal

    scores = fusion.evaluate(runs)
    return scores, terminal.detector_lines(scores)


SCORE = {CLASSIFICATION: _score_classifiers, DETECTION: _score_detectors}


def _check_options(args: argparse.Namespace, task: str, runs: Sequence[Run]) -> None:
    """Raises ValueError for options of classifiers, or that do not go together."""
    used = {
        "--data": args.data is not None,
        "--checkpoint": args.checkpoint != "best",
        "--prevalence": args.prevalence is not PREVALENCES,
        "--allow-overlap": args.allow_overlap,
        "--full": args.full,
        "--stress": args.stress,
        "--name": args.name is not None,
        "--page": args.page is not None,
    }
    files = "a detector is scored by its boxes.csv, on its test split at the best checkpoint"
    check_options(task, {CLASSIFICATION: used}, instead=files)
    several = len(runs) > 1
    if args.unlabelled and (not args.data or several):
        raise ValueError("--unlabelled compares the images of --data DIR with those of one RUN")
    if args.unlabelled and used["--prevalence"]:
        raise ValueError("--prevalence sets predictive values, which need labels; leave it out")
    if args.page and several:
        raise ValueError(f"--page shows the images of one RUN; got {len(runs)} runs")
    if args.split and not args.stress:
        raise ValueError(f"--split {args.split} is the split of --stress; give --stress, too")
    apart = ("--data", "--checkpoint") + ("--prevalence", "--allow-overlap") * several
    if args.stress and (unfit := [name for name in apart if used[name]]):
        raise ValueError(
            "--stress changes the runs' own images, at the best checkpoint, and is the only output "
            f"on several runs; leave out {unfit[0]}"
        )
    if args.name:
        rule = "--name keeps the scores of a run's best checkpoint on new, labelled images"
        if not args.data or args.unlabelled:
            raise ValueError(f"{rule}; give them by --data DIR, without --unlabelled")
        if used["--checkpoint"] or args.allow_overlap:
            raise ValueError(f"{rule}; leave --checkpoint last and --allow-overlap out")
        if shipped := [run for run in runs if run.is_shipped]:
            raise ValueError(
                f"--name writes to the run folder, and {shipped[0].name} is only read. Leave it "
                f"out, or score a copy of {shipped[0].run_dir}; export --to run packages its scores"
            )


if __name__ == "__main__":
    raise SystemExit(cli.start("evaluate"))
