"""A sweep of runs seen as one: its progress, what failed and why, starting it again, its report."""

import contextlib
import csv
import hashlib
import io
import itertools
import logging
import os
import re
import shlex
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

from pneumo import atomic, untrusted
from pneumo.runs import run_folder, trust
from pneumo.runs.writer import RunWriter
from pneumo.training import settings
from pneumo.training.config import direction

log = logging.getLogger(__name__)

REFUSED = "refused.txt"  # in a run's folder: why it was not resumed; its files are untouched
SECONDS = 2.0  # between two looks at the runs
QUIET = 300.0  # between two lines where there is no terminal, if no run begins or ends

QUOTES = "\"'"
CUT_OFF = "cut off, by a kill or a full disk"
LONGEST = 255  # bytes in the name of a folder, on most file systems


def folder_name(first: str, more: str) -> str:
    """Returns the name of a run's folder: network and seed, then what else was asked for.

    A slash is written %2F, so that the run stays in the sweep's folder; a name that is too long
    ends in the first digits of its SHA-256.
    """
    name = f"{first},{more}" if more else first
    name = name.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    encoded = name.encode()
    if len(encoded) <= LONGEST:
        return name
    end = "-" + hashlib.sha256(encoded).hexdigest()[:12]
    return encoded[: LONGEST - len(end)].decode(errors="ignore") + end


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
OmegaConf.register_new_resolver("mode_of", direction, replace=True)

failed = False  # whether the last sweep of this process left a run undone
under_way: "Sweep | None" = None  # of this process

SILENCED_MESSAGES = (
    "optuna.storages._in_memory",
    "hydra_plugins.hydra_optuna_sweeper._impl",
)  # what they say, the table tells


class Sweep(Callback):
    """Hydra's hooks around a sweep, whatever launcher does its runs."""

    def __init__(
        self, sweep_pid: int | None = None, trusted: tuple[str, ...] | None = None
    ) -> None:
        self.sweep_pid, self.trusted = sweep_pid, trusted  # known in other processes only
        self.folder: Path | None = None
        self.begun_here = False  # whether there was no such sweep before
        self.stop = threading.Event()
        self.watcher: threading.Thread | None = None

    def __reduce__(self) -> tuple[type["Sweep"], tuple[int, tuple[str, ...] | None]]:
        """Lets launchers send it to other processes, where nothing is watched."""
        return Sweep, (os.getpid(), trust.trusted)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """In a process of a launcher: what is trusted, and that joblib's end with the sweep."""
        if self.sweep_pid in (None, os.getpid()):
            return
        trust.trusted = self.trusted
        if "joblib" in config.hydra.launcher["_target_"]:  # jobs of the others may run on
            end_with(self.sweep_pid)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Notes the arguments, or what has changed in them, and starts the progress line.

        Raises:
            SystemExit: with 2, what no run of the sweep could do; nothing has been written.
        """
        try:
            check_launch(config)
        except ValueError as error:  # Hydra would only warn of another exception
            sys.stderr.write(f"Error: {error}\n")
            raise SystemExit(2) from None
        for name in SILENCED_MESSAGES:
            logging.getLogger(name).setLevel(logging.ERROR)
        global under_way
        folder = Path(config.hydra.sweep.dir)
        # not resolved: an argument may name other settings, as ${seed}
        given: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
        arguments = [*given["task"], *given["hydra"]]
        sweeper = config.hydra.sweeper
        wanted = planned(config, arguments)
        self.begun_here = begin(folder, arguments, wanted)
        self.folder, under_way = folder, self
        total = sweeper.get("n_trials") or (None if wanted is None else len(wanted))
        self.watcher = threading.Thread(
            target=watch, args=(folder, total, self.stop), daemon=True, name="sweep"
        )
        self.watcher.start()

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Ends the progress line, tells what failed, and writes the report."""
        global failed
        failed = self.end()

    def end(self) -> bool:
        """Ends the progress line, tells what came out; whether any run is not done."""
        global under_way
        under_way = None
        self.stop.set()
        if self.watcher:
            self.watcher.join()
        if self.folder is None:
            return False
        if self.begun_here:
            discard(self.folder)
        return conclude(self.folder)


def discard(folder: Path) -> None:
    """Takes away what Hydra and this file write before the first run, and folders left empty.

    Nothing where there is anything else, which may be of a run.
    """
    written = {run_folder.SWEEP, "multirun.yaml"}
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} - written:
            return
        for name in written:
            (folder / name).unlink(missing_ok=True)
        run_folder.remove_empty(folder, levels=3)


def check_launch(config: DictConfig) -> None:
    """Raises ValueError for what would fail every run of the sweep, before the first one."""
    sections: Any = {
        "trainer": {"devices": config.trainer.devices},
        "protocol": {key: config.protocol[key] for key in ("name", "select_on")},
    }
    settings.check({"trainer": sections["trainer"]})
    check(sections, config.hydra)
    subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload, index]
    if "/" in str(subdir):
        raise ValueError(
            "hydra.sweep.subdir must be the name of one folder, where the sweep finds its runs; "
            f"got {subdir}"
        )
    hidden = set(config.hydra.job.config.override_dirname.exclude_keys) - {"model", "seed"}
    given = [*config.hydra.overrides.task, *config.hydra.overrides.hydra]
    for override in swept(given, config.hydra.sweeper.get("params") or {}):
        if override.key_or_group in hidden:
            raise ValueError(
                f"a sweep must change what its runs' folders are named by; {override.key_or_group} "
                "is not. Start a sweep for each of its values, or quote a comma that belongs to "
                f"it: {example(override.input_line or '')}"
            )


def check(config: Mapping[str, Any], hydra: Any) -> None:
    """Raises ValueError where a search would choose settings by the split they are scored on."""
    protocol = config["protocol"]
    if "optuna" in hydra.sweeper["_target_"] and protocol["select_on"] == "test":
        raise ValueError(
            "a search must choose on a validation split, so that no setting is fitted to the test "
            f"split; got protocol={protocol['name']}, which has none. Use protocol=holdout, "
            "official or kfold, then train what it finds with protocol=paper"
        )


def begin(
    folder: Path, arguments: Sequence[str], wanted: Sequence[Mapping[str, Any]] | None = None
) -> bool:
    """Writes into ``folder`` with what arguments a sweep began, and which runs they ask for.

    Of a sweep begun before, says what is different now, and adds the runs. Returns whether there
    was none before.

    Raises:
        OSError: the folder cannot be written.
    """
    now = sorted(a for a in arguments if not a.startswith(("hydra.sweep.dir=", "hydra.mode=")))
    path = folder / run_folder.SWEEP
    if path.is_file():
        begun = read_begun(path)
        before = begun["arguments"]
        if more := [one for one in wanted or [] if one not in (begun.get("planned") or [])]:
            atomic.write_json(path, begun | {"planned": [*(begun.get("planned") or []), *more]})
        gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
        if gone or new:
            sys.stderr.write(
                f"This sweep began with {' '.join(before)}; now without {' '.join(gone) or 'none'}"
                f", and with {' '.join(new) or 'none'}. Runs of the same name must still agree.\n"
            )
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path, {"arguments": now, "planned": wanted})
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
    return list(read_begun(path)["arguments"])


def read_begun(path: Path) -> dict[str, Any]:
    """Returns sweep.json; its arguments are a list of texts.

    Raises:
        ValueError: it is broken.
    """
    try:
        begun = untrusted.read_json(path)
        arguments = begun["arguments"]
        whole = isinstance(arguments, list) and all(isinstance(a, str) for a in arguments)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ValueError(
            f"{path} must hold the arguments that the sweep began with; it is broken. Give them "
            f"again, with hydra.sweep.dir={path.parent}"
        )
    return begun


def quoted(path: Path | str, *, mark: str = "'") -> str:
    """Returns a text as Hydra's grammar takes it, whatever characters it has.

    There a backslash stands for itself but before a quotation mark, at the end, and before ``${``,
    which OmegaConf would fill in.
    """
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(path))
    text = re.sub(rf"(\\*){mark}", lambda found: f"{found[1]}{found[1]}\\{mark}", text)
    return mark + re.sub(r"(\\+)$", r"\1\1", text) + mark


def example(override: str) -> str:
    """Returns an override with its value quoted for Hydra, and all of it for the shell."""
    key, _, value = override.partition("=")
    return shlex.quote(f"{key}={quoted(value.strip(QUOTES), mark=QUOTES[0])}")


def planned(config: DictConfig, arguments: Sequence[str]) -> list[dict[str, Any]] | None:
    """Returns the identity, see runs.identity, of each run asked for.

    None where the sweeper decides, or where the choices of a group are asked for (glob), which
    only Hydra's own loader can tell.
    """
    if "basic_sweeper" not in config.hydra.sweeper["_target_"]:
        return None
    choices = swept(arguments, config.hydra.sweeper.get("params") or {})
    if any(override.value_type is ValueType.GLOB_CHOICE_SWEEP for override in choices):
        return None
    first = (config.model.name, config.seed, config.protocol.name, config.protocol.fold)
    default = dict(zip(run_folder.IDENTITY, first, strict=True))
    return [
        run_folder.identity_by(default, one)
        for one in itertools.product(
            *(
                [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
                for o in choices
            )
        )
    ]


def swept(arguments: Sequence[str], params: Mapping[str, Any]) -> list[Override]:
    """Returns the overrides that have several values, those of an experiment's ``params`` too."""
    given = {a.partition("=")[0] for a in arguments}
    texts = [*arguments, *(f"{k}={v}" for k, v in params.items() if k not in given)]
    parsed = OverridesParser.create().parse_overrides(texts)
    return [override for override in parsed if override.is_sweep_override()]


def states(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Returns name and status of each run in a sweep's folder, by name."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (path / "status.json").is_file():
            status: dict[str, Any] = {**run_folder.read_status(path)}
            if (path / REFUSED).is_file():
                status = {**status, "status": "failed", "error": _refusal(path / REFUSED)}
            found.append((path.name, status))
    return found


def _refusal(path: Path) -> str:
    try:
        return untrusted.read_text(path)
    except ValueError as error:
        return str(error)


def progress(folder: Path, total: int | None, *, began: float, done_before: float) -> str:
    """Returns one line: runs done, running, failed, and the time left.

    Args:
        folder: of the sweep.
        total: runs in all; None where it is not known.
        began: time.monotonic() from which the work is timed.
        done_before: work, in runs, that was done then, see work_done.
    """
    found = states(folder)
    count = Counter(status["status"] for _, status in found)
    share = work_done(found)
    parts = [f"{count['done']} of {total or '?'} runs done"]
    parts += [f"{count[s]} {s}" for s in ("running", "failed", "stopped") if count[s]]
    if total and share > done_before:
        left = (time.monotonic() - began) * (total - share) / (share - done_before)
        parts.append(f"{duration(left)} left")
    epochs = [f"{s['epoch']}/{s['max_epochs']}" for _, s in found if s["status"] == "running"]
    return ", ".join(parts) + (f" (epoch {', '.join(epochs[:4])})" if epochs else "")


def work_done(found: Sequence[tuple[str, dict[str, Any]]]) -> float:
    """Returns the runs done, a run under way as the share of its epochs, a failed one as done."""
    return sum(
        s.get("epoch", 0) / max(s.get("max_epochs", 1), 1) if s["status"] == "running" else 1.0
        for _, s in found
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
    timed = False
    shown: Any = None
    said = began
    while True:
        ended = stop.wait(SECONDS)
        if not timed and (done := work_done(states(folder))) > done_before:
            # libraries and images are loaded once: the rest is timed from the first epoch's end
            timed, began, done_before = True, time.monotonic(), done
        line = progress(folder, total, began=began, done_before=done_before)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{line[:79]:<79}" + ("\n" if ended else ""))
            sys.stderr.flush()
        else:
            count = Counter(status["status"] for _, status in states(folder))
            if count != shown or time.monotonic() - said > QUIET:
                sys.stderr.write(line + "\n")
                said = time.monotonic()
            shown = count
        if ended:
            return


def conclude(folder: Path) -> bool:
    """Tells how the runs ended, and writes the report of those that did.

    Returns whether any is not done, or the report could not be written.
    """
    settle(folder)
    found = states(folder)
    if not found:
        sys.stderr.write(f"No run of the sweep has begun: {folder}\n")
        return True
    undone = [(name, status) for name, status in found if status["status"] != "done"]
    missing = run_folder.not_begun(folder)
    for name, status in undone:
        reason = (
            str(status.get("error") or "in another process, or cut off").strip().splitlines()[0]
        )
        sys.stderr.write(f"{status['status']:8} {name}: {reason}\n")
        if (folder / name / "train.log").is_file():
            sys.stderr.write(f"         {folder / name / 'train.log'}\n")
    for one in missing:
        sys.stderr.write(f"not begun model={one['model']},seed={one['seed']}\n")
    show_search(folder)
    reported = len(undone) == len(found) or report(folder)
    sys.stderr.write(f"TensorBoard: tensorboard --logdir '{folder}'\n")
    if undone or missing:
        sys.stderr.write(
            f"{len(undone) + len(missing)} of {len(found) + len(missing)} runs are not done; "
            f"resume with: python -m pneumo.train sweep={folder}\n"
        )
    return bool(undone or missing) or not reported


def settle(folder: Path) -> None:
    """Corrects the status of each run that ended before it could write one itself."""
    for name, status in states(folder):
        if status["status"] != "running":
            continue
        epochs = {key: status.get(key, 0) for key in ("epoch", "max_epochs")}
        # where another process trains it, or the disk is still full, it stays as it is
        with contextlib.suppress(ValueError, OSError), RunWriter(folder / name).claim():
            RunWriter(folder / name).write_status("failed", error=CUT_OFF, **epochs)


def report(folder: Path) -> bool:
    """Writes the report of the finished runs, or tells why there is none; whether it did."""
    from pneumo.report.report_folder import write_report  # matplotlib, which only the end needs

    try:
        written = write_report([folder])
        sys.stderr.write(summary((written / "summary.csv").read_text(encoding="utf-8")))
        sys.stderr.write(f"Report:      {written / 'report.html'}\n")
    except Exception as error:  # whatever it is, the runs are done and their states must be told
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
    for (protocol, network, runs), found in networks.items():
        name = f"{network}, {protocol}"
        name = name if len(name) <= 40 else f"{name[:39]}…"
        f1, accuracy, auroc = (found.get(s, "") for s in ("f1_normal", "accuracy", "auroc"))
        lines.append(f"{name:40} {runs:>4} {f1:>10} {accuracy:>9} {auroc:>7}")
    return "\n".join(lines) + "\n"


def show_search(folder: Path) -> None:
    """Tells what a search found, where the sweep was one."""
    path = folder / "optimization_results.yaml"
    if path.is_file():
        found = yaml.safe_load(path.read_text())
        best = " ".join(f"{name}={value}" for name, value in found["best_params"].items())
        sys.stderr.write(f"Best of the search, {found['best_value']:.3f} on validation: {best}\n")
