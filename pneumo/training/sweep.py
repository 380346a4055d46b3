"""A sweep of runs: Hydra's hooks around it, its arguments, its progress and its end."""

import contextlib
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pneumo import atomic, cli, untrusted
from pneumo.runs import run_folder, trust
from pneumo.runs.writer import RunWriter

REFUSED = "refused.txt"  # in a run's folder: why it was not resumed; its files are untouched
# settings of where and how, which a run need not have been started with
NOT_PLANNED = (*run_folder.MAY_CHANGE, "launcher", "hparams_search", "hydra")
SECONDS, PARENT_SECONDS = 2.0, 0.2  # between two looks at the runs, and at the parent process
SILENCED = ("optuna.storages._in_memory", "hydra_plugins.hydra_optuna_sweeper._impl")  # loggers

current: "Sweep | None" = None  # of this process


class Sweep(Callback):
    """Hydra's hooks around a sweep, whatever launcher does its runs."""

    def __init__(
        self, sweep_pid: int | None = None, trusted: tuple[str, ...] | None = None
    ) -> None:
        self.sweep_pid, self.trusted = sweep_pid, trusted  # known in other processes only
        self.new = list[str]()
        self.folder, self.stop, self.watcher = Path(), threading.Event(), threading.Thread()

    def __reduce__(self) -> tuple[type["Sweep"], tuple[int, tuple[str, ...] | None]]:
        """Lets launchers send it to other processes, where nothing is watched."""
        return Sweep, (os.getpid(), trust.trusted)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """In a launcher's process, passes on what is trusted, and ends joblib's with the sweep."""
        if self.sweep_pid in (None, os.getpid()):
            return
        trust.trusted = self.trusted
        if "joblib" in config.hydra.launcher["_target_"]:  # jobs of the others may run on
            end_with(self.sweep_pid)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Writes sweep.json and starts the progress line.

        Raises:
            SystemExit: with 2, for what no run of the sweep could do; nothing has been written.
        """
        global current
        # not resolved: an argument may name other settings, as ${seed}
        overrides: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
        arguments = [*overrides["task"], *overrides["hydra"]]
        runs, folder = planned(config, arguments), Path(config.hydra.sweep.dir)
        try:
            check_search(config, config.hydra)
            searched = config.hydra.sweeper.get("params") or ()
            self.new = begin(folder, arguments, runs, searched=searched)
        except ValueError as error:  # Hydra would only warn of another exception
            cli.error(str(error), word="Error")
            raise SystemExit(cli.MISTAKE) from None
        for name in SILENCED:
            logging.getLogger(name).setLevel(logging.ERROR)
        self.folder, current = folder, self
        total = config.hydra.sweeper.get("n_trials") or (None if runs is None else len(runs))
        self.watcher = threading.Thread(target=watch, args=(folder, total, self.stop), daemon=True)
        self.watcher.start()

    def end(self) -> bool:
        """Ends the progress line and reports the runs; returns whether any is not done."""
        global current
        current = None
        self.stop.set()
        self.watcher.join()
        if not any(path.is_dir() for path in self.folder.glob("*")):  # no run has started
            for name in (run_folder.SWEEP, "multirun.yaml"):
                (self.folder / name).unlink(missing_ok=True)
            run_folder.remove_empty(self.folder, levels=3)
        return conclude(self.folder, new=self.new)


def check_search(cfg: DictConfig, hydra: Any) -> None:
    """Raises ValueError where a search would choose settings by the split they are scored on."""
    keys = ("protocol.select_on", "protocol.val", "callbacks.checkpoint.monitor")
    values = {key: OmegaConf.select(cfg, key) for key in keys}
    wrong = [f"{k}={v}" for k, v in values.items() if v == 0 or str(v).endswith("test")]
    if "optuna" in hydra.sweeper["_target_"] and wrong:
        raise ValueError(
            "a search must choose on a validation split, so that no setting is fitted to the test "
            f"split; got protocol={cfg.protocol.name} with {', '.join(wrong)}. Use "
            "protocol=holdout, official or kfold, then train the best settings with protocol=paper"
        )


def begin(
    folder: Path,
    arguments: Sequence[str],
    runs: Sequence[Sequence[str]] | None = None,
    *,
    searched: Iterable[str] = (),
) -> list[str]:
    """Writes sweep.json: the arguments that a sweep began with, and the overrides of its runs.

    Of a sweep that began before, adds the runs, with the settings that it did not begin with.
    Returns those of the arguments that it did not begin with. ``searched``: the keys that the
    sweeper varies.

    Raises:
        OSError: the folder cannot be written.
        ValueError: sweep.json is broken.
    """
    path = folder / run_folder.SWEEP
    now = [a for a in arguments if not a.startswith(("hydra.sweep.dir=", "hydra.mode="))]
    before = untrusted.read_json(path) if path.is_file() else {"arguments": now}
    new = [argument for argument in now if argument not in (before.get("arguments") or ())]
    settings = [
        f"{each.get_key_element()}={each.get_value_element_as_str()}"
        for each in OverridesParser.create().parse_overrides(new)
        if not each.is_sweep_override()
    ]
    named = [text for text in settings if not text.startswith(NOT_PLANNED)]
    planned = before.get("planned") or []
    more = [run for run in ([*named, *each] for each in runs or []) if run not in planned]
    folder.mkdir(parents=True, exist_ok=True)
    now_planned = {"planned": [*planned, *more] or None, "searched": [*searched]}
    atomic.write_json(path, before | now_planned)
    return new


def arguments_of(folder: Path) -> list[str]:
    """Returns the arguments that the sweep in ``folder`` began with.

    Raises:
        FileNotFoundError: no sweep has begun there.
        ValueError: sweep.json is broken.
    """
    path = folder / run_folder.SWEEP
    if not path.is_file():
        raise FileNotFoundError(
            f"sweep must name the folder of a sweep, which holds {run_folder.SWEEP}; got {folder}. "
            "It is the one above the run folders, multirun/<date>/<time>"
        )
    return [str(argument) for argument in untrusted.read_json(path).get("arguments") or []]


def fixed_and_varied(folder: Path) -> tuple[set[str], set[str]]:
    """Returns the overrides that all runs of a sweep share, and the keys of those that vary.

    Neither has an element without a sweep in ``folder``.
    """
    try:
        overrides = OverridesParser.create().parse_overrides(arguments_of(folder))
        content = untrusted.read_json(folder / run_folder.SWEEP)
    except (OSError, ValueError):
        return set(), set()
    fixed = {
        f"{override.get_key_element()}={override.get_value_element_as_str()}"
        for override in overrides
        if not override.is_sweep_override()
    }
    keys = {o.get_key_element() for o in overrides if o.is_sweep_override()}
    keys |= {text.partition("=")[0] for run in content.get("planned") or [] for text in run}
    return fixed, keys | {*(content.get("searched") or ())}


def planned(config: DictConfig, arguments: Sequence[str]) -> list[list[str]] | None:
    """Returns the overrides that vary, for each run of the arguments.

    They include those of an experiment's params. None where the sweeper decides, or where the
    arguments ask for all choices of a group (glob), which only Hydra's own loader knows.
    """
    if "basic_sweeper" not in config.hydra.sweeper["_target_"]:
        return None
    params = config.hydra.sweeper.get("params") or {}
    texts = [*(f"{key}={value}" for key, value in params.items()), *arguments]
    parsed = OverridesParser.create().parse_overrides(texts)
    last = {override.get_key_element(): override for override in parsed}
    choices = [override for override in last.values() if override.is_sweep_override()]
    if any(override.value_type is ValueType.GLOB_CHOICE_SWEEP for override in choices):
        return None
    return BasicSweeper.split_arguments(choices, None)[0]


def end_with(parent: int) -> None:
    """Ends this process by SIGKILL as soon as its parent is not ``parent`` any more.

    A sweep that is killed cannot end its workers itself. A killed run resumes from its last epoch.
    """

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    if not any(thread.name == "parent" for thread in threading.enumerate()):
        threading.Thread(target=wait, daemon=True, name="parent").start()


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
        hours, minutes = divmod(round(seconds * (total - work_done(runs)) / work / 60), 60)
        parts.append(f"{hours} h " * bool(hours) + f"{minutes} min left")
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
    ended, timed, began, last_count = False, False, time.monotonic(), Counter[str]()
    done_before = work_done(status for _, status in states(folder))
    while not ended:
        ended = stop.wait(SECONDS)
        runs, now = [status for _, status in states(folder)], time.monotonic()
        work, count = work_done(runs), Counter(run["status"] for run in runs)
        if not timed and work > done_before:
            # libraries and images are loaded once: the rest is timed from the first epoch's end
            timed, began, done_before = True, now, work
        of = total and max(total, len(runs))  # earlier runs of the sweep may be there, too
        line = progress(runs, of, work=work - done_before, seconds=now - began)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{line[:79]:<79}" + "\n" * ended)
            sys.stderr.flush()
        elif count != last_count:
            sys.stderr.write(f"{line}\n")
            last_count = count


def conclude(folder: Path, *, new: Sequence[str]) -> bool:
    """Reports how the runs ended, and writes the report of those that are done.

    ``new``: the arguments that the sweep did not begin with. Returns whether any is not done, or
    the report could not be written.
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
    if (search := folder / "optimization_results.yaml").is_file():
        search_results = yaml.safe_load(search.read_text())
        best = " ".join(f"{name}={value}" for name, value in search_results["best_params"].items())
        sys.stderr.write(
            f"Best of the search, {search_results['best_value']:.3f} on validation: {best}\n"
        )
    reported = len(undone) == len(runs) or report(folder)
    if any(folder.glob("*/events.out.*")):
        sys.stderr.write(f"TensorBoard: tensorboard --logdir {shlex.quote(str(folder))}\n")
    if left := len(undone) + len(missing):
        sys.stderr.write(
            f"{left} of {len(runs) + len(missing)} runs are not done; resume with: "
            f"python -m pneumo.train {shlex.join([f'sweep={folder}', *new])}\n"
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
    from pneumo.report.report_folder import write_report

    try:
        written = write_report([folder])
        sys.stderr.write(terminal.summary(written))
        sys.stderr.write(f"Report:      {written / 'report.html'}\n")
    except Exception as error:  # of any kind: the runs are done and their states must be shown
        sys.stderr.write(f"No report: {type(error).__name__}: {error}\n")
        return False
    return True
