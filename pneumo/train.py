"""Trains a network: python -m pneumo.train, the only command that reads conf/."""

# Only what --help, --cfg and a wrong setting need is imported here: torch and Lightning take
# seconds, and wait until a run really starts.
import argparse
import contextlib
import json
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pneumo import atomic, cli

if __name__ == "__main__":  # --help needs nothing of what follows
    raise SystemExit(cli.start("train"))

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pneumo.arguments.train import CONF, parse
from pneumo.runs import run_folder, trust
from pneumo.runs.writer import RunWriter, TakenError
from pneumo.training import settings, sweep

log = logging.getLogger("pneumo")

# How ValueErrors begin of --multirun with --cfg, of GROUP=null, and of 5,000 digits
MISTAKES = ("Only one of --run", "Config group override must be", "Exceeds the limit")
# Hydra's options that are followed by a value
WITH_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p"),
    *("--cfg", "-c", "--experimental-rerun"),
)
RESUMED = "resumed"  # name under which Hydra finds the configuration of a run that is resumed
INTERRUPTED = 130  # exit code of Ctrl-C, as shells have it


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def job(cfg: DictConfig) -> float | None:
    """Does one run, alone or of a sweep; returns its best F1 on the split that chooses the epoch.

    Alone it exits with 0, 1 (a bug), 2 (a mistake) or 130 (Ctrl-C). In a sweep a run that fails
    does not stop the others, and returns None, which a search counts as a failure.
    """
    named = cfg.get("run_dir")
    run_dir = Path(named if isinstance(named, str) else HydraConfig.get().runtime.output_dir)
    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    if sweeping and run_dir.parent != Path(HydraConfig.get().sweep.dir).absolute():
        sys.stderr.write(
            f"Error: the runs of a sweep lie in its folder, {HydraConfig.get().sweep.dir}; got "
            f"{run_dir}. Name them by hydra.sweep.subdir, and leave run_dir as it is\n"
        )
        return None
    code = run_safely(cfg, run_dir, sweeping=sweeping)
    if sweeping and code == INTERRUPTED:
        raise KeyboardInterrupt
    if code and not sweeping:
        raise SystemExit(code)
    return None if code else best_score(run_dir, select_on=cfg.protocol.select_on)


def run_safely(cfg: DictConfig, run_dir: Path, *, sweeping: bool) -> int:
    """Does one run; what goes wrong is told in one message, in train.log and in status.json."""
    try:
        return run_checked(cfg, run_dir, sweeping=sweeping, start=None if sweeping else cli.started)
    except TakenError as error:  # it is no failure of the run
        sys.stderr.write(f"Error: {error}\n")
        return 2
    except (ValueError, OSError, OmegaConfBaseException) as error:
        message = error_message(error, run_dir)
        sys.stderr.write(f"Error: {message}\n")
        refuse(run_dir, message, sweeping=sweeping)
        return 2


def run_checked(
    cfg: DictConfig, run_dir: Path, *, sweeping: bool, start: float | None = None
) -> int:
    """Does one run that its settings, its objects and its folder allow; returns its exit code.

    ``start``, of time.monotonic(), is when the user started it; by default now.

    Raises:
        ValueError, OSError, OmegaConfBaseException: they do not, and nothing was begun.
    """
    start = start or time.monotonic()
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    settings.check_run(config)
    if trust.trusted is not None:
        trust.check_config(config, CONF)
    if sweeping:
        sweep.check(config, HydraConfig.get())
        config["trainer"]["enable_progress_bar"] = False
        config["job_number"] = HydraConfig.get().job.num
    if run_folder.read_status(run_dir)["status"] != "done":  # torch takes seconds
        settings.check_there(config)
        check_objects(config)
    with RunWriter(run_dir).claim():
        raw: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
        RunWriter(run_dir).write_config(raw, HydraConfig.get().overrides.task)
        if sweeping:
            (run_dir / sweep.REFUSED).unlink(missing_ok=True)
        return run_with_log(config, run_dir, quiet=sweeping, start=start)


def error_message(error: BaseException, run_dir: Path) -> str:
    """Returns an error's message; for one of the disk's, what to do about it.

    Of OmegaConf's the first line, with the setting's name before it.
    """
    if isinstance(error, OmegaConfBaseException):
        key = f"{error.full_key}: " if error.full_key else ""
        return key + (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, OSError) and error.strerror:
        place = error.filename or run_dir
        if isinstance(place, str | Path) and Path(place).is_relative_to(run_dir):
            return run_folder.unwritable(run_dir, error)
    return str(error)


def refuse(run_dir: Path, error: str, *, sweeping: bool) -> None:
    """Leaves word of a run that was not begun where a sweep looks for it, otherwise nothing."""
    if sweeping:
        with contextlib.suppress(OSError):  # a full disk, which ends this run and not the sweep
            if not (run_dir / "status.json").exists():
                RunWriter(run_dir).write_status("failed", error=error)
            atomic.write_text(run_dir / sweep.REFUSED, error)
        return
    run_folder.remove_empty(run_dir, levels=4)  # multirun/<date>/<time>/ that Hydra has made


def best_score(run_dir: Path, *, select_on: str) -> float:
    """Returns the F1 of NORMAL of a finished run at the chosen epoch, on the split that chose it.

    For detectors, the challenge score. Where nothing was chosen, the score is on ``select_on``.
    """
    metrics = json.loads((run_dir / "metrics.json").read_text())
    on = (metrics["selection"] or {"on": "none"})["on"]
    on = select_on if on == "none" else on
    score = "challenge" if run_folder.of_detector(metrics) else "f1_normal"
    return float(metrics["best"][on][score])


def run_with_log(config: dict[str, Any], run_dir: Path, *, quiet: bool, start: float) -> int:
    """Does one run in a folder that is ours, with its log; ``start``: of time.monotonic()."""
    status = run_folder.read_status(run_dir)
    epochs = config["trainer"]["max_epochs"]
    with log_to(run_dir / "train.log", quiet=quiet):
        if status["status"] == "done":  # after fewer epochs too: early stopping, a baseline
            log.info("Done before, nothing to do: %s", run_dir)
            return 0
        writer = RunWriter(run_dir)
        writer.write_status("running", epoch=status.get("epoch", 0), max_epochs=epochs)
        try:
            fitter(config)(config, run_dir, start=start)
        except KeyboardInterrupt:
            log.warning("Stopped. Resume with: python -m pneumo.train resume=%s", run_dir)
            end, error, code = "stopped", "interrupted", INTERRUPTED
        except Exception as problem:
            wrapped = isinstance(problem, InstantiationException) and problem.__cause__
            cause = wrapped or problem
            end, error, code = "failed", error_message(cause, run_dir), 2
            # Lightning's own, of settings that do not go together
            refused = type(cause).__name__ == "MisconfigurationException"
            if refused or isinstance(cause, ValueError | OSError):
                log.error("Error: %s", error)
            else:
                log.exception("Error: %s", type(cause).__name__)
                error, code = f"{type(cause).__name__}: {cause}", 1
        else:
            return 0
        epoch = run_folder.read_status(run_dir).get("epoch", 0)
        writer.end(end, epoch=epoch, max_epochs=epochs, error=error)
        return code


def check_objects(config: dict[str, Any]) -> None:
    """Raises ValueError for a setting that the object it is for does not take, before any work."""
    from pneumo.training import fit, objects

    objects.check(config, sections=["model"])
    if run_folder.of_detector(config):
        from pneumo.training import fit_detection

        fit_detection.check(config)
    elif is_baseline(config["model"]):
        objects.check(config, sections=["data.source", "protocol.split"])
    else:
        fit.check(config)


def is_baseline(model: Mapping[str, Any]) -> bool:
    """Whether a model is no network, but learns at once."""
    from pneumo.baselines.base import Baseline

    kind = get_object(model["_target_"])  # a class, or a function that makes a network
    return isinstance(kind, type) and issubclass(kind, Baseline)


def fitter(config: Mapping[str, Any]) -> Callable[..., None]:
    """Returns what does a run: by Lightning, or at once where its model is a baseline."""
    if run_folder.of_detector(config):
        from pneumo.training.fit_detection import fit as fit_detector

        return fit_detector
    if is_baseline(config["model"]):
        from pneumo.baselines.run import fit as fit_baseline

        return fit_baseline
    from pneumo.training.fit import fit

    return fit


class LogFile(logging.FileHandler):
    """train.log, which a full disk cuts short: what is logged is on the screen too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """Says nothing where logging would print a traceback for each line."""

    def close(self) -> None:
        """Closes the file, what is not written yet is lost."""
        with contextlib.suppress(OSError):
            super().close()


@contextmanager
def log_to(path: Path, *, quiet: bool) -> Iterator[None]:
    """Sends what is logged, and each of Python's warnings once, to the screen and to ``path``.

    ``quiet``, for a run of a sweep: only errors on the screen, which has the sweep's progress.
    """
    logger = logging.getLogger("pneumo")
    file = LogFile(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.ERROR if quiet else logging.INFO)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [screen, file]
    show, warnings.showwarning = warnings.showwarning, warn_once()
    hook, threading.excepthook = threading.excepthook, _leave_disk_errors
    try:
        yield
    finally:
        threading.excepthook = hook
        warnings.showwarning = show
        logger.handlers = []
        logger.propagate = True
        file.close()


def warn_once() -> Callable[..., None]:
    """Returns what logs each warning in one line, the first time that it is raised."""
    shown = set()

    def show(
        message: Warning, category: type[Warning], filename: str, lineno: int, *_: Any
    ) -> None:
        text = f"{category.__name__}: {' '.join(str(message).split())}"
        if text not in shown:
            shown.add(text)
            log.warning("%s (%s:%d)", text, filename, lineno)

    return show


def _leave_disk_errors(problem: threading.ExceptHookArgs) -> None:
    """Shows what ended a thread, unless it is a full disk, which TensorBoard's raises again."""
    if not isinstance(problem.exc_value, OSError):
        threading.__excepthook__(problem)


def main() -> None:
    """The command; resume=RUN_DIR and sweep=DIR become Hydra's own arguments."""
    parse(sys.argv[1:])
    try:
        given = trust_arguments(sys.argv[1:])
        check_groups(given)
        sys.argv[1:] = options_first(sweep_arguments(resume_arguments(given)))
    except (ValueError, FileNotFoundError, HydraException) as error:
        raise SystemExit(mistake(error)) from None
    full = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra leaves its errors to us
    sweep.failed = False
    try:
        job()
    except Exception as error:
        if full == "1":
            raise
        raise SystemExit(report_error(error)) from None
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        if sweep.under_way:
            sweep.under_way.end()
        raise SystemExit(INTERRUPTED) from None
    finally:
        if full is None:
            os.environ.pop("HYDRA_FULL_ERROR")
    if sweep.failed:
        raise SystemExit(1)


def report_error(error: Exception) -> int:
    """Tells what ended Hydra and returns the exit code; raises ``error`` where it is a bug."""
    asked = str(error).startswith(MISTAKES)
    broken = isinstance(error, yaml.YAMLError | UnicodeDecodeError)  # a configuration file
    if asked or broken or isinstance(error, HydraException | OmegaConfBaseException | OSError):
        code = mistake(error)
    elif sweep.under_way:  # its runs tell of themselves: this is the launcher's or the sweeper's
        reason = (str(error) or "no reason given").strip().splitlines()[0]
        sys.stderr.write(f"Error: the sweep ended early: {type(error).__name__}: {reason}\n")
        code = 1
    else:
        raise error
    if sweep.under_way:
        sweep.under_way.end()
    return code


def mistake(error: Exception) -> int:
    """Tells what is wrong with the arguments; returns 2."""
    sys.stderr.write(f"Error: {broken_file(error) or mistake_message(error)}\n")
    return 2


def broken_file(error: Exception) -> str | None:
    """Returns what to report of a configuration file that is no YAML; None for another error."""
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        where = f"{mark.name}, line {mark.line + 1}," if mark else getattr(error, "name", "a file")
        reason = getattr(error, "problem", None) or getattr(error, "reason", error)
        return f"{where} must be YAML: {reason}. Correct it, or choose another file"
    if isinstance(error, UnicodeDecodeError):  # it does not tell which file
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--config-dir", "-cd", "--config-path", "-cp", dest="folder")
        folder = Path(parser.parse_known_args(sys.argv[1:])[0].folder or CONF)
        files = (path for path in folder.rglob("*.yaml") if error.object in path.read_bytes())
        return (
            f"{next(files, 'a configuration file')} must be text in UTF-8; byte {error.start + 1} "
            "is not. Save it in UTF-8"
        )
    return None


def mistake_message(error: Exception) -> str:
    """Returns what is wrong with the arguments, with the nearest key there is."""
    message = str(error) or str(error.__cause__)  # what Hydra says of a broken interpolation
    message = message.partition("\nConfig search path")[0].rstrip()
    wrong = re.search(r"Could not override '([^']+)'", message)
    ambiguous = re.match("Ambiguous value for argument '(.+)'\n", message)
    missing = re.search("Could not (?:find|load) '([^']+)/([^']+)'", message)
    plugin = re.search(r"Could not find 'hydra/\w+/(joblib|optuna|ray|submitit)", message)
    rule = settings.rules().get(wrong[1]) if wrong else None
    if wrong and rule:
        message = (
            f"{wrong[1]} is left to its library's default; write +{wrong[1]}=VALUE to set it, "
            f"{rule.says}"
        )
    elif wrong:
        message = f"a setting must be one that --cfg job shows; got {wrong[1]!r}." + cli.nearest(
            wrong[1], settings.keys(composed())
        )
    elif plugin:
        message = (
            f"{plugin[1]} must be installed for this; add it: pip install 'pneumo[{plugin[1]}]'"
        )
    elif missing:
        message = no_choice(*missing.groups(), told=message)
    elif isinstance(error, OverrideParseException):
        message = (
            f"an override must be KEY=VALUE; got {error.override!r}. A value with other characters "
            "than ASCII letters, digits and -_./:%+@?* needs quotes of its own, inside those of "
            f"the shell: {sweep.example(error.override)}"
        )
    elif ambiguous:
        message = (
            f"one run takes one value; got {ambiguous[1]!r}. For a run of each add --multirun; a "
            f"comma that belongs to a value is quoted, inside the shell's quotes: "
            f"{sweep.example(ambiguous[1])}; for a list write KEY=[VALUE,VALUE]"
        )
    elif isinstance(error, OSError) and error.strerror:
        message = run_folder.unwritable(None, error)
    return message


def no_choice(group: str, choice: str, *, told: str) -> str:
    """Returns one line for a choice that a group does not have.

    Args:
        group: such as model.
        choice: such as huge.
        told: Hydra's message, a choice a line where it names them; those of --config-dir too.
    """
    named = [line.strip() for line in told.splitlines() if line.startswith("\t")]
    choices = named or sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return f"{group} must be one of {', '.join(choices)}; got {choice!r}." + cli.nearest(
        choice, choices
    )


def check_groups(arguments: list[str]) -> None:
    """Raises ValueError where a list for a group, as callbacks=[a,b], holds what is no name.

    Hydra would end in a traceback.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        if value.startswith("[") and (CONF / key).is_dir():
            parsed = OverridesParser.create().parse_override(argument).value()
            if not all(isinstance(one, str) for one in parsed):  # type: ignore[union-attr]
                raise ValueError(f"{key} must be names of its choices; got {value}")


def composed() -> dict[str, Any]:
    """Returns the default configuration."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config: dict[str, Any] = OmegaConf.to_container(hydra.compose("train"))  # type: ignore[assignment]
    return config


def options_first(arguments: list[str]) -> list[str]:
    """Returns the options with their values, then the overrides: argparse wants these together."""
    options: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        options.append(argument)
        if argument in WITH_VALUE:
            options += [value for value in [next(rest, None)] if value is not None]
    return [*options, *overrides]


def trust_arguments(arguments: list[str]) -> list[str]:
    """Returns the arguments without --trust PACKAGE, which pneumo.runs.trust then knows.

    Raises:
        ValueError: it is given without a package, or with neither resume=RUN_DIR nor sweep=DIR.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--trust", action="append", default=[])
    try:
        given, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ValueError(f"{error}") from None
    others = any(argument.startswith(("resume=", "sweep=")) for argument in rest)
    if given.trust and not others:
        raise ValueError("--trust PACKAGE belongs to resume=RUN_DIR or sweep=DIR")
    trust.trusted = tuple(given.trust) if others else None
    return rest


def folder_named(text: str) -> Path:
    """Returns a path with its ~ resolved; as it is where that is no user's, so that none is there.

    Path.expanduser would raise RuntimeError.
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111


def resume_arguments(arguments: list[str]) -> list[str]:
    """Returns the arguments with resume=RUN_DIR replaced by that run's configuration and folder.

    Hydra gets the configuration as it was read and checked here: pointed to the file, it would also
    read what others lie beside it.

    Raises:
        FileNotFoundError: no run has begun there.
        ValueError: the configuration is broken or sets up Hydra.
    """
    folders = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if not folders:
        return arguments
    run_dir = folder_named(folders[-1]).resolve()
    config = run_dir / run_folder.CONFIG
    if not config.is_file():
        raise FileNotFoundError(
            f"resume must name a run folder, which holds {run_folder.CONFIG}; got {folders[-1]}"
        )
    rest = [a for a in arguments if not a.startswith("resume=")]
    settings_then = run_folder.read_config(run_dir)
    trust.check_no_hydra(settings_then, config)
    # wherever the folder lies now, and not where its configuration may point to
    settings_then["run_dir"] = "${hydra:runtime.output_dir}"
    try:
        ConfigStore.instance().store(RESUMED, OmegaConf.create(settings_then))
    except OmegaConfBaseException as error:  # of an interpolation that is none
        raise ValueError(f"{config} is broken: {error}") from None
    return [
        f"--config-name={RESUMED}",
        f"hydra.run.dir={sweep.quoted(run_dir)}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        *rest,
    ]


def sweep_arguments(arguments: list[str]) -> list[str]:
    """Returns the arguments with sweep=DIR replaced by those it began with, new ones instead.

    Raises:
        FileNotFoundError: no sweep has begun there.
        ValueError: sweep.json is broken, or has what could run code.
        HydraException: an argument in it is no override.
    """
    folders = [a.partition("=")[2] for a in arguments if a.startswith("sweep=")]
    if not folders:
        return arguments
    new = [a for a in arguments if not a.startswith("sweep=")]
    replaced = {a.partition("=")[0] for a in new}
    if replaced & {"launcher", "hydra/launcher"}:  # the settings of the one before go with it
        replaced |= {"launcher", "hydra/launcher", "hydra.launcher"}
    folder = folder_named(folders[-1])
    begun = sweep.arguments_of(folder)
    kept = [a for a in begun if not _is_one_of(a.partition("=")[0], replaced)]
    trust.check_arguments(kept, folder / run_folder.SWEEP)
    return ["--multirun", *kept, f"hydra.sweep.dir={sweep.quoted(folder)}", *new]


def _is_one_of(key: str, keys: set[str]) -> bool:
    return key in keys or ("hydra.launcher" in keys and key.startswith("hydra.launcher."))
