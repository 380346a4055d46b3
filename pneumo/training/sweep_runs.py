"""The runs of a sweep: their states, the progress line, and how they ended."""

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pneumo import untrusted
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter

REFUSED = "refused.txt"  # in a run's folder: why it was not resumed; its files are untouched
SECONDS = 2.0  # between two looks at the runs
QUIET = 300.0  # between two lines without a terminal, if no run starts or ends
CUT_OFF = "interrupted, by a kill or a full disk"


def states(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Returns name and status of each run in a sweep's folder, by name."""
    runs = []
    for path in sorted(folder.glob("*/status.json")):
        status: dict[str, Any] = {**run_folder.read_status(path.parent)}
        refused = path.with_name(REFUSED)
        if refused.is_file():
            with contextlib.suppress(OSError, ValueError):
                status |= {"status": "failed", "error": untrusted.read_text(refused)}
        runs.append((path.parent.name, status))
    return runs


def progress(folder: Path, total: int | None, *, began: float, done_before: float) -> str:
    """Returns one line: runs done, running, failed, and the time left.

    Args:
        folder: of the sweep.
        total: runs in all; None if unknown.
        began: time.monotonic() from which the work is timed.
        done_before: work, in runs, that was done then, see work_done.
    """
    runs = states(folder)
    count = Counter(status["status"] for _, status in runs)
    share = work_done(runs)
    parts = [f"{count['done']} of {total or '?'} runs done"]
    parts += [f"{count[s]} {s}" for s in ("running", "failed", "stopped") if count[s]]
    if total and share > done_before:
        left = (time.monotonic() - began) * (total - share) / (share - done_before)
        parts.append(f"{duration(left)} left")
    epochs = [f"{s['epoch']}/{s['max_epochs']}" for _, s in runs if s["status"] == "running"]
    return ", ".join(parts) + (f" (epoch {', '.join(epochs[:4])})" if epochs else "")


def work_done(runs: Sequence[tuple[str, dict[str, Any]]]) -> float:
    """Returns the runs done; one under way is the share of its epochs, a failed one counts."""
    return sum(
        s.get("epoch", 0) / max(s.get("max_epochs", 1), 1) if s["status"] == "running" else 1.0
        for _, s in runs
        if s["status"] in ("running", "done", "failed")
    )


def duration(seconds: float) -> str:
    """Returns such as "2 h 05 min", "12 min" or "40 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def watch(folder: Path, total: int | None, stop: threading.Event) -> None:
    """Shows the progress until ``stop``: in place on a terminal, else now and then."""
    began, done_before = time.monotonic(), work_done(states(folder))
    timed, last_count, last_time = False, None, began
    ended = False
    while not ended:
        ended = stop.wait(SECONDS)
        runs = states(folder)
        if not timed and work_done(runs) > done_before:
            # libraries and images are loaded once: the rest is timed from the first epoch's end
            timed, began, done_before = True, time.monotonic(), work_done(runs)
        line = progress(folder, total, began=began, done_before=done_before)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{line[:79]:<79}" + ("\n" if ended else ""))
            sys.stderr.flush()
            continue
        count = Counter(status["status"] for _, status in runs)
        if count != last_count or time.monotonic() - last_time > QUIET:
            sys.stderr.write(line + "\n")
            last_count, last_time = count, time.monotonic()


def conclude(folder: Path) -> bool:
    """Reports how the runs ended, and writes the report of those that are done.

    Returns whether any is not done, or the report could not be written.
    """
    settle(folder)
    runs = states(folder)
    if not runs:
        sys.stderr.write(f"No run of the sweep has started: {folder}\n")
        return True
    undone = [(name, status) for name, status in runs if status["status"] != "done"]
    missing = run_folder.not_started(folder)
    for name, status in undone:
        reason = str(status.get("error") or "in another process, or interrupted")
        sys.stderr.write(f"{status['status']:8} {name}: {reason.strip().splitlines()[0]}\n")
        if (folder / name / "train.log").is_file():
            sys.stderr.write(f"         {folder / name / 'train.log'}\n")
    for run in missing:
        sys.stderr.write(f"not started model={run['model']},seed={run['seed']}\n")
    show_search(folder)
    reported = len(undone) == len(runs) or report(folder)
    sys.stderr.write(f"TensorBoard: tensorboard --logdir '{folder}'\n")
    if undone or missing:
        sys.stderr.write(
            f"{len(undone) + len(missing)} of {len(runs) + len(missing)} runs are not done; "
            f"resume with: python -m pneumo.train sweep={folder}\n"
        )
    return bool(undone or missing) or not reported


def settle(folder: Path) -> None:
    """Corrects the status of each run that ended before it could write one itself."""
    for name, status in states(folder):
        if status["status"] == "running":
            epochs = {key: status.get(key, 0) for key in ("epoch", "max_epochs")}
            # where another process trains it, or the disk is still full, it stays as it is
            with contextlib.suppress(ValueError, OSError), RunWriter(folder / name).claim():
                RunWriter(folder / name).write_status("failed", error=CUT_OFF, **epochs)


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


def show_search(folder: Path) -> None:
    """Shows the best settings of a search, where the sweep was one."""
    path = folder / "optimization_results.yaml"
    if path.is_file():
        results = yaml.safe_load(path.read_text())
        best = " ".join(f"{name}={value}" for name, value in results["best_params"].items())
        value = results["best_value"]
        sys.stderr.write(f"Best of the search, {value:.3f} on validation: {best}\n")
