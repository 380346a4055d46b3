"""A sweep of runs seen as one: its progress, its failures, starting it again, its report."""

import contextlib
import csv
import io
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pneumo import untrusted
from pneumo.runs import run_folder, trust
from pneumo.training.config import Config

REFUSED = "refused.txt"  # in a run's folder: why it was not resumed; its files are untouched
SECONDS = 2.0  # between two looks at the runs
QUIET = 300.0  # between two lines without a terminal, if no run starts or ends
CUT_OFF = "interrupted, by a kill or a full disk"
SILENCED = ("optuna.storages._in_memory", "hydra_plugins.hydra_optuna_sweeper._impl")  # loggers

current: "Sweep | None" = None  # of this process


class Sweep(Callback):
    """Hydra's hooks around a sweep, whatever launcher does its runs."""

    def __init__(
        self, sweep_pid: int | None = None, trusted: tuple[str, ...] | None = None
    ) -> None:
        self.sweep_pid, self.trusted = sweep_pid, trusted  # known in other processes only
        self.folder: Path | None = None
        self.is_new = False  # whether there was no such sweep before
        self.stop = threading.Event()
        self.watcher: threading.Thread | None = None

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
        try:
            check_launch(config)
        except ValueError as error:  # Hydra would only warn of another exception
            sys.stderr.write(f"Error: {error}\n")
            raise SystemExit(2) from None
        for name in SILENCED:
            logging.getLogger(name).setLevel(logging.ERROR)
        # not resolved: an argument may name other settings, as ${seed}
        overrides: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
        arguments = [*overrides["task"], *overrides["hydra"]]
        runs = planned(config, arguments)
        folder = Path(config.hydra.sweep.dir)
        self.is_new = begin(folder, arguments, runs)
        self.folder, current = folder, self
        total = config.hydra.sweeper.get("n_trials") or (None if runs is None else len(runs))
        self.watcher = threading.Thread(
            target=watch, args=(folder, total, self.stop), daemon=True, name="sweep"
        )
        self.watcher.start()

    def end(self) -> bool:
        """Ends the progress line and reports the runs; returns whether any is not done."""
        global current
        current = None
        self.stop.set()
        if self.watcher:
            self.watcher.join()
        assert self.folder is not None
        if self.is_new:
            discard(self.folder)
        return conclude(self.folder)


def discard(folder: Path) -> None:
    """Removes a sweep's folder in which no run has started, and folders left empty around it."""
    written = {run_folder.SWEEP, "multirun.yaml"}
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} - written:
            return
        for name in written:
            (folder / name).unlink(missing_ok=True)
        run_folder.remove_empty(folder, levels=3)


def check_launch(config: DictConfig) -> None:
    """Raises ValueError for what would fail every run of the sweep, or hide some from it."""
    check_search(config.protocol.name, config.protocol.select_on, config.hydra)
    subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload, index]
    if "/" in str(subdir):
        raise ValueError(
            "hydra.sweep.subdir must be the name of one folder, where the sweep finds its runs; "
            f"got {subdir}"
        )
    hidden = set(config.hydra.job.config.override_dirname.exclude_keys) - {"model", "seed"}
    overrides = [*config.hydra.overrides.task, *config.hydra.overrides.hydra]
    for override in swept(overrides, config.hydra.sweeper.get("params") or {}):
        if override.key_or_group in hidden:
            raise ValueError(
                f"a sweep must change settings that name its runs' folders; got "
                f"{override.input_line}. Start a sweep for each of its values, or quote a comma "
                "that belongs to a value"
            )


def check_run(config: Config, hydra: Any) -> None:
    """Raises ValueError where a run of a sweep searches on the test split, or leaves its folder."""
    check_search(config.protocol.name, config.protocol.select_on, hydra)
    if Path(config.run_dir).absolute() != Path(hydra.runtime.output_dir).absolute():
        raise ValueError(
            f"the runs of a sweep lie in its folder, {hydra.sweep.dir}; got {config.run_dir}. Name "
            "them by hydra.sweep.subdir, and leave run_dir as it is"
        )


def check_search(protocol: str, select_on: str, hydra: Any) -> None:
    """Raises ValueError where a search would choose settings by the split they are scored on."""
    if "optuna" in hydra.sweeper["_target_"] and select_on == "test":
        raise ValueError(
            "a search must choose on a validation split, so that no setting is fitted to the test "
            f"split; got protocol={protocol}, which has none. Use protocol=holdout, official or "
            "kfold, then train the best settings with protocol=paper"
        )


def begin(
    folder: Path, arguments: Sequence[str], runs: Sequence[Mapping[str, Any]] | None = None
) -> bool:
    """Writes sweep.json: the arguments that a sweep began with, and the runs they ask for.

    Of a sweep that began before, reports what is different now, and adds the runs. Returns whether
    there was none before.

    Raises:
        OSError: the folder cannot be written.
    """
    now = sorted(a for a in arguments if not a.startswith(("hydra.sweep.dir=", "hydra.mode=")))
    path = folder / run_folder.SWEEP
    if path.is_file():
        content = _read(path)
        before, known = content["arguments"], content.get("planned") or []
        if more := [run for run in runs or [] if run not in known]:
            run_folder.write_json(path, content | {"planned": [*known, *more]})
        without, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
        if without or new:
            sys.stderr.write(
                f"This sweep began with {' '.join(before)}; now without "
                f"{' '.join(without) or 'none'}, and with {' '.join(new) or 'none'}. Runs of the "
                "same name must still agree.\n"
            )
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.write_json(path, {"arguments": now, "planned": runs})
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None
    return True


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
    return list(_read(path)["arguments"])


def _read(path: Path) -> dict[str, Any]:
    """Returns sweep.json; its arguments are a list of texts."""
    with contextlib.suppress(ValueError):
        content = untrusted.read_json(path)
        arguments = content.get("arguments")
        if isinstance(arguments, list) and all(isinstance(a, str) for a in arguments):
            return content
    raise ValueError(
        f"{path} must hold the arguments that the sweep began with; it is broken. Give them "
        f"again, with hydra.sweep.dir={path.parent}"
    )


def planned(config: DictConfig, arguments: Sequence[str]) -> list[dict[str, Any]] | None:
    """Returns the identity, see run_folder.identity, of each run that the arguments ask for.

    None where the sweeper decides, or where they ask for all choices of a group (glob), which only
    Hydra's own loader knows.
    """
    if "basic_sweeper" not in config.hydra.sweeper["_target_"]:
        return None
    choices = swept(arguments, config.hydra.sweeper.get("params") or {})
    if any(override.value_type is ValueType.GLOB_CHOICE_SWEEP for override in choices):
        return None
    first = (config.model.name, config.seed, config.protocol.name, config.protocol.fold)
    default = dict(zip(run_folder.IDENTITY, first, strict=True))
    values = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()] for o in choices
    ]
    return [run_folder.identity_by(default, run) for run in itertools.product(*values)]


def swept(arguments: Sequence[str], params: Mapping[str, Any]) -> list[Override]:
    """Returns the overrides that have several values, those of an experiment's ``params`` too."""
    named = {argument.partition("=")[0] for argument in arguments}
    texts = [*arguments, *(f"{key}={value}" for key, value in params.items() if key not in named)]
    parsed = OverridesParser.create().parse_overrides(texts)
    return [override for override in parsed if override.is_sweep_override()]


def states(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Returns name and status of each run in a sweep's folder, by name."""
    runs = []
    for path in sorted(folder.glob("*/status.json")):
        status = run_folder.read_status(path.parent)
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


def end_with(parent: int) -> None:
    """Ends this process by SIGKILL as soon as its parent is not ``parent`` any more.

    A sweep that is killed cannot end its workers itself. A killed run resumes from its last epoch.
    """

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS / 10)
        os.kill(os.getpid(), signal.SIGKILL)

    if not any(thread.name == "parent" for thread in threading.enumerate()):
        threading.Thread(target=wait, daemon=True, name="parent").start()


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
    missing = run_folder.not_begun(folder)
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
            with contextlib.suppress(ValueError, OSError), run_folder.claim(folder / name):
                run_folder.write_status(folder / name, "failed", error=CUT_OFF, **epochs)


def report(folder: Path) -> bool:
    """Writes the report of the finished runs, or the reason why not; returns whether it did."""
    from pneumo.report.report_folder import write_report  # matplotlib, which only the end needs

    try:
        written = write_report([folder])
        sys.stderr.write(summary((written / "summary.csv").read_text(encoding="utf-8")))
        sys.stderr.write(f"Report:      {written / 'report.html'}\n")
    except Exception as error:  # of any kind: the runs are done and their states must be shown
        sys.stderr.write(f"No report: {type(error).__name__}: {error}\n")
        return False
    return True


def summary(table: str) -> str:
    """Returns the lines that end a sweep: each network's runs and medians on the test split.

    Args:
        table: the report's summary.csv.
    """
    networks: dict[tuple[str, ...], dict[str, str]] = {}
    for row in csv.DictReader(io.StringIO(table, newline="")):
        if (row["epoch"], row["split"]) == ("best", "test"):
            key = (row["protocol"], row["network"], row["runs"])
            networks.setdefault(key, {})[row["score"]] = f"{float(row['median'] or 'nan'):.3f}"
    if not networks:
        return ""
    lines = [
        f"{'median, test split':40} {'runs':>4} {'F1 NORMAL':>10} {'accuracy':>9} {'AUROC':>7}"
    ]
    for (protocol, network, runs), scores in networks.items():
        name = f"{network}, {protocol}"
        name = name if len(name) <= 40 else f"{name[:39]}…"
        f1, accuracy, auroc = (scores.get(s, "") for s in ("f1_normal", "accuracy", "auroc"))
        lines.append(f"{name:40} {runs:>4} {f1:>10} {accuracy:>9} {auroc:>7}")
    return "\n".join(lines) + "\n"


def show_search(folder: Path) -> None:
    """Shows the best settings of a search, where the sweep was one."""
    path = folder / "optimization_results.yaml"
    if path.is_file():
        results = yaml.safe_load(path.read_text())
        best = " ".join(f"{name}={value}" for name, value in results["best_params"].items())
        value = results["best_value"]
        sys.stderr.write(f"Best of the search, {value:.3f} on validation: {best}\n")
