"""A sweep of runs: Hydra's hooks around it, the arguments it began with, what it may change."""

import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pneumo import atomic, cli, untrusted
from pneumo.runs import run_folder, trust
from pneumo.training import sweep_runs

SECONDS = 0.2  # between two looks at the parent process
SILENCED = ("optuna.storages._in_memory", "hydra_plugins.hydra_optuna_sweeper._impl")  # loggers

current: "Sweep | None" = None  # of this process


class Sweep(Callback):
    """Hydra's hooks around a sweep, whatever launcher does its runs."""

    def __init__(
        self, sweep_pid: int | None = None, trusted: tuple[str, ...] | None = None
    ) -> None:
        self.sweep_pid, self.trusted = sweep_pid, trusted  # known in other processes only
        self.folder = Path()
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
        # not resolved: an argument may name other settings, as ${seed}
        overrides: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
        arguments = [*overrides["task"], *overrides["hydra"]]
        runs, folder = planned(config, arguments), Path(config.hydra.sweep.dir)
        try:
            check_search(config.protocol, config.hydra)
            begin(folder, arguments, runs)
        except ValueError as error:  # Hydra would only warn of another exception
            cli.error(str(error), word="Error")
            raise SystemExit(cli.MISTAKE) from None
        for name in SILENCED:
            logging.getLogger(name).setLevel(logging.ERROR)
        self.folder, current = folder, self
        total = config.hydra.sweeper.get("n_trials") or (None if runs is None else len(runs))
        self.watcher = threading.Thread(
            target=sweep_runs.watch, args=(folder, total, self.stop), daemon=True
        )
        self.watcher.start()

    def end(self) -> bool:
        """Ends the progress line and reports the runs; returns whether any is not done."""
        global current
        current = None
        self.stop.set()
        if self.watcher:
            self.watcher.join()
        if not [path for path in self.folder.glob("*") if path.is_dir()]:  # no run has started
            for name in (run_folder.SWEEP, "multirun.yaml"):
                (self.folder / name).unlink(missing_ok=True)
            run_folder.remove_empty(self.folder, levels=3)
        return sweep_runs.conclude(self.folder)


def check_search(protocol: Mapping[str, Any], hydra: Any) -> None:
    """Raises ValueError where a search would choose settings by the split they are scored on."""
    if "optuna" in hydra.sweeper["_target_"] and protocol["select_on"] == "test":
        raise ValueError(
            "a search must choose on a validation split, so that no setting is fitted to the test "
            f"split; got protocol={protocol['name']}, which has none. Use protocol=holdout, "
            "official or kfold, then train the best settings with protocol=paper"
        )


def begin(
    folder: Path, arguments: Sequence[str], runs: Sequence[Sequence[str]] | None = None
) -> None:
    """Writes sweep.json: the arguments that a sweep began with, and the overrides of its runs.

    Of a sweep that began before, adds the runs.

    Raises:
        OSError: the folder cannot be written.
        ValueError: sweep.json is broken.
    """
    path = folder / run_folder.SWEEP
    now = sorted(a for a in arguments if not a.startswith(("hydra.sweep.dir=", "hydra.mode=")))
    before = untrusted.read_json(path) if path.is_file() else {"arguments": now}
    known = before.get("planned") or []
    more = [list(run) for run in runs or [] if list(run) not in known]
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, before | {"planned": [*known, *more] or None})


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
        planned = untrusted.read_json(folder / run_folder.SWEEP).get("planned") or []
    except (OSError, ValueError):
        return set(), set()
    fixed = {
        f"{override.get_key_element()}={override.get_value_element_as_str()}"
        for override in overrides
        if not override.is_sweep_override()
    }
    keys = {o.get_key_element() for o in overrides if o.is_sweep_override()}
    return fixed, keys | {text.partition("=")[0] for run in planned for text in run}


def planned(config: DictConfig, arguments: Sequence[str]) -> list[tuple[str, ...]] | None:
    """Returns the overrides that vary of each run that the arguments ask for.

    They include those of an experiment's params. None where the sweeper decides, or where the
    arguments ask for all choices of a group (glob), which only Hydra's own loader knows.
    """
    params = config.hydra.sweeper.get("params") or {}
    named = {argument.partition("=")[0] for argument in arguments}
    texts = [*arguments, *(f"{key}={value}" for key, value in params.items() if key not in named)]
    parsed = OverridesParser.create().parse_overrides(texts)
    choices = [override for override in parsed if override.is_sweep_override()]
    globs = [override.value_type is ValueType.GLOB_CHOICE_SWEEP for override in choices]
    if "basic_sweeper" not in config.hydra.sweeper["_target_"] or any(globs):
        return None
    return list(
        itertools.product(
            *(
                [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
                for each in choices
            )
        )
    )


def end_with(parent: int) -> None:
    """Ends this process by SIGKILL as soon as its parent is not ``parent`` any more.

    A sweep that is killed cannot end its workers itself. A killed run resumes from its last epoch.
    """

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    if not any(thread.name == "parent" for thread in threading.enumerate()):
        threading.Thread(target=wait, daemon=True, name="parent").start()
