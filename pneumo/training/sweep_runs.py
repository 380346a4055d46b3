"""The runs of a sweep: their states, the progress line, and how they ended."""

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pneumo import atomic, untrusted
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter

REFUSED = "refused.txt"  # in a run's folder: why it was not resumed; its files are untouched
SECONDS = 2.0  # between two looks at the runs


def refuse(run_dir: Path, message: str, overrides: Sequence[str]) -> None:
    """Writes why a run was not started where its sweep looks for it."""
    with contextlib.suppress(OSError):  # a full disk, which ends this run and not the sweep
        if not (run_dir / run_folder.STATUS).exists():
            RunWriter(run_dir).write_overrides(overrides)
            RunWriter(run_dir).write_status("failed", error=message)
        atomic.write_text(run_dir / REFUSED, message)


def states(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Returns name and status of each run in a sweep's folder, by name."""
    runs = []
    for path in sorted(folder.glob(f"*/{run_folder.STATUS}")):
        status: dict[str, Any] = {**run_folder.read_status(path.parent)}
        with contextlib.suppress(OSError, ValueError):
            status |= {"error": untrusted.read_text(path.with_name(REFUSED)), "status": "failed"}
        runs.append((path.parent.name, status))
    return runs


def progress(
    runs: Sequence[Mapping[str, Any]], total: int | None, *, work: float, seconds: float
) -> str:
    """Returns one line: runs done, running, failed, and the time left.

    Args:
        runs: the status of each.
        total: runs in all; None if unknown.
        work: runs that were done in ``seconds``, see work_done.
        seconds: that were timed.
    """
    count = Counter(run["status"] for run in runs)
    parts = [f"{count['done']} of {total or '?'} runs done"]
    parts += [f"{count[s]} {s}" for s in ("running", "failed", "stopped") if count[s]]
    if total and work > 0:
        minutes = seconds * (total - work_done(runs)) / work / 60
        hours = f"{minutes // 60:.0f} h " if minutes >= 60 else ""
        parts.append(f"{hours}{minutes % 60:.0f} min left")
    epochs = [f"{run['epoch']}/{run['max_epochs']}" for run in runs if run["status"] == "running"]
    return ", ".join(parts) + (f" (epoch {', '.join(epochs[:4])})" if epochs else "")


def work_done(runs: Iterable[Mapping[str, Any]]) -> float:
    """Returns the runs done; one under way is the share of its epochs, a failed one counts."""
    return sum(
        run["epoch"] / max(run["max_epochs"], 1) if run["status"] == "running" else 1.0
        for run in runs
        if run["status"] in ("running", "done", "failed")
    )


def watch(folder: Path, total: int | None, stop: threading.Event) -> None:
    """Shows the progress until ``stop``: in place on a terminal, else when a run starts or ends."""
    ended, timed, began = False, False, time.monotonic()
    done_before = work_done(status for _, status in states(folder))
    last_count = Counter[str]()
    while not ended:
        ended = stop.wait(SECONDS)
        runs, now = [status for _, status in states(folder)], time.monotonic()
        work = work_done(runs)
        if not timed and work > done_before:
            # libraries and images are loaded once: the rest is timed from the first epoch's end
            timed, began, done_before = True, now, work
        line = progress(runs, total, work=work - done_before, seconds=now - began)
        count = Counter(run["status"] for run in runs)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{line[:79]:<79}" + "\n" * ended)
            sys.stderr.flush()
        elif count != last_count:
            sys.stderr.write(f"{line}\n")
            last_count = count


def conclude(folder: Path) -> bool:
    """Reports how the runs ended, and writes the report of those that are done.

    Returns whether any is not done, or the report could not be written.
    """
    settle(folder)
    runs, missing = states(folder), run_folder.not_started(folder)
    if not runs:
        sys.stderr.write(f"No run of the sweep has started: {folder}\n")
        return True
    undone = [(name, status) for name, status in runs if status["status"] != "done"]
    for name, status in undone:
        reason = str(status.get("error") or "in another process, or interrupted")
        sys.stderr.write(f"{status['status']:8} {name}: {reason.strip().splitlines()[0]}\n")
        if (folder / name / "train.log").is_file():
            sys.stderr.write(f"         {folder / name / 'train.log'}\n")
    for run in missing:
        sys.stderr.write(f"not started model={run['model']},seed={run['seed']}\n")
    search = folder / "optimization_results.yaml"
    if search.is_file():
        found = yaml.safe_load(search.read_text())
        best = " ".join(f"{name}={value}" for name, value in found["best_params"].items())
        sys.stderr.write(f"Best of the search, {found['best_value']:.3f} on validation: {best}\n")
    reported = len(undone) == len(runs) or report(folder)
    sys.stderr.write(f"TensorBoard: tensorboard --logdir '{folder}'\n")
    if left := len(undone) + len(missing):
        sys.stderr.write(
            f"{left} of {len(runs) + len(missing)} runs are not done; resume with: "
            f"python -m pneumo.train sweep={folder}\n"
        )
    return bool(left) or not reported


def settle(folder: Path) -> None:
    """Corrects the status of each run that ended before it could write one itself."""
    for name, status in states(folder):
        if status["status"] == "running":
            error = "interrupted, by a kill or a full disk"
            epochs = {key: status[key] for key in ("epoch", "max_epochs")}
            # where another process trains it, or the disk is still full, it stays as it is
            with contextlib.suppress(ValueError, OSError), RunWriter(folder / name).claim():
                RunWriter(folder / name).write_status("failed", error=error, **epochs)


def report(folder: Path) -> bool:
    """Writes the report of the finished runs, or the reason why not; returns whether it did."""
    from pneumo.report import terminal  # matplotlib, which only the end needs
    from pneumo.report.report_folder import SUMMARY, write_report

    try:
        written = write_report([folder])
        sys.stderr.write(terminal.summary(written / SUMMARY))
        sys.stderr.write(f"Report:      {written / 'report.html'}\n")
    except Exception as error:  # of any kind: the runs are done and their states must be shown
        sys.stderr.write(f"No report: {type(error).__name__}: {error}\n")
        return False
    return True
