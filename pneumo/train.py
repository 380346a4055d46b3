"""Trains a network: python -m pneumo.train, the only command that reads conf/."""

# Only what --help, --cfg and a wrong setting need is imported here: torch and Lightning take
# seconds, and wait until a run really starts.
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pneumo import atomic, cli

if __name__ == "__main__":  # --help needs nothing of what follows
    raise SystemExit(cli.start("train"))

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pneumo.arguments.train import CONF, parse
from pneumo.runs import run_folder, trust
from pneumo.runs.tasks import task_of
from pneumo.runs.writer import RunWriter, TakenError
from pneumo.training import hydra_cli, settings, sweep, sweep_runs
from pneumo.training.config import MAIN_SCORES, Config
from pneumo.training.run_log import log_to

log = logging.getLogger("pneumo")

INTERRUPTED = cli.STOPPED  # exit code of Ctrl-C
MISTAKES = (ValueError, OSError, OmegaConfBaseException)  # of the user's


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def job(cfg: DictConfig) -> float | None:
    """Does one run, alone or of a sweep; returns its score on the split that chooses the epoch.

    Alone it exits with 0, 1 (a bug), 2 (a mistake) or 130 (Ctrl-C). In a sweep a run that fails
    does not stop the others, and returns None, which a search counts as a failure.
    """
    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    run_dir = Path((not sweeping and cfg.run_dir) or HydraConfig.get().runtime.output_dir)
    try:
        code = run(cfg, run_dir, sweeping=sweeping, start=None if sweeping else cli.started)
    except TakenError as error:  # another process trains there: no failure of the run
        cli.error(str(error), word="Error")
        code = cli.MISTAKE
    except MISTAKES as error:
        refuse(run_dir, error_message(error, run_dir), sweeping=sweeping)
        code = cli.MISTAKE
    if sweeping and code == INTERRUPTED:
        raise KeyboardInterrupt
    if code and not sweeping:
        raise SystemExit(code)
    return None if code else best_score(run_dir, select_on=cfg.protocol.select_on)


def run(cfg: DictConfig, run_dir: Path, *, sweeping: bool, start: float | None = None) -> int:
    """Does one run: checks its settings, builds its objects, trains and scores in its folder.

    Args:
        cfg: the composed configuration.
        run_dir: the run folder, new or of this run.
        sweeping: whether it is one of several.
        start: of time.monotonic(), when the user started it; by default now.

    Returns:
        The exit code.

    Raises:
        ValueError, OSError, OmegaConfBaseException: a setting is wrong, or the folder cannot be
            used; nothing was started.
    """
    start = start or time.monotonic()
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    typed = settings.read(config)
    if trust.trusted is not None:
        trust.check_config(config, CONF)
    if sweeping:
        sweep.check_run(typed, HydraConfig.get())
        config["trainer"]["enable_progress_bar"] = False
        config["job_number"] = HydraConfig.get().job.num
    fit = _done_before
    if run_folder.read_status(run_dir)["status"] != "done":  # torch takes seconds
        settings.check_there(config, typed)
        if typed.trainer.num_devices > 1:  # torch, which reads it now, would warn of DDP's options
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        fit = prepare(config, typed)
    writer = RunWriter(run_dir)
    with writer.claim():
        raw: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
        writer.write_config(raw, HydraConfig.get().overrides.task)
        (run_dir / sweep_runs.REFUSED).unlink(missing_ok=True)
        with log_to(run_dir / "train.log", quiet=sweeping):
            return run_logged(fit, config, writer, start=start)


def prepare(config: dict[str, Any], typed: Config) -> Callable[..., None]:
    """Returns what trains and scores a run, its network and Trainer or its baseline built.

    Raises:
        ValueError: an object cannot be built of its settings.
    """
    from pneumo.baselines.base import Baseline
    from pneumo.training import construction

    construction.build("protocol.split", config["protocol"]["split"], partial)
    construction.check_arguments("data.source", config["data"]["source"])
    if construction.is_a(Baseline, config["model"]):
        from pneumo.baselines.run import fit as fit_baseline

        model = {key: value for key, value in config["model"].items() if key != "name"}
        baseline = construction.build("model", model, Baseline)  # type: ignore[type-abstract]
        return partial(fit_baseline, baseline=baseline)
    from pneumo.training.fit import fit
    from pneumo.training.objects import build_parts

    return partial(fit, parts=build_parts(config, typed))


def _done_before(_: dict[str, Any], writer: RunWriter, *, start: float) -> None:
    log.info("Done before, nothing to do: %s", writer.run_dir)


def run_logged(
    fit: Callable[..., None], config: dict[str, Any], writer: RunWriter, *, start: float
) -> int:
    """Does one run in a claimed folder; keeps status.json up to date and returns the exit code."""
    run_dir, epochs = writer.run_dir, config["trainer"]["max_epochs"]
    status = run_folder.read_status(run_dir)
    if status["status"] != "done":
        writer.write_status("running", epoch=status.get("epoch", 0), max_epochs=epochs)
    try:
        fit(config, writer, start=start)
    except KeyboardInterrupt:
        log.warning("Stopped. Resume with: python -m pneumo.train resume=%s", run_dir)
        end, error, code = "stopped", "interrupted", INTERRUPTED
    except Exception as problem:
        # the latter is Lightning's, of settings that do not go together
        if isinstance(problem, MISTAKES) or type(problem).__name__ == "MisconfigurationException":
            end, error, code = "failed", error_message(problem, run_dir), cli.MISTAKE
            log.error("Error: %s", error)
        else:
            log.exception("Error: %s", type(problem).__name__)
            end, error, code = "failed", f"{type(problem).__name__}: {problem}", 1
    else:
        return 0
    epoch = run_folder.read_status(run_dir).get("epoch", 0)
    writer.end(end, epoch=epoch, max_epochs=epochs, error=error)
    return code


def error_message(error: BaseException, run_dir: Path) -> str:
    """Returns an error's message; of OmegaConf's key and first line, of a disk's also a way out."""
    if isinstance(error, OmegaConfBaseException):
        key = f"{error.full_key}: " if error.full_key else ""
        return key + (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, OSError) and error.strerror:
        place = error.filename or run_dir
        if isinstance(place, str | Path) and Path(place).is_relative_to(run_dir):
            return run_folder.unwritable(run_dir, error)
    return str(error)


def refuse(run_dir: Path, message: str, *, sweeping: bool) -> None:
    """Reports a run that was not started: on the screen, and where its sweep looks for it."""
    cli.error(message, word="Error")
    if not sweeping:
        run_folder.remove_empty(run_dir, levels=4)  # multirun/<date>/<time>/ that Hydra has made
        return
    with contextlib.suppress(OSError):  # a full disk, which ends this run and not the sweep
        if not (run_dir / "status.json").exists():
            RunWriter(run_dir).write_status("failed", error=message)
        atomic.write_text(run_dir / sweep_runs.REFUSED, message)


def best_score(run_dir: Path, *, select_on: str) -> float | None:
    """Returns the main score of a finished run at the chosen epoch, on the split that chose it.

    Where nothing was chosen, the score is on ``select_on``, None without such a split.
    """
    metrics = json.loads((run_dir / "metrics.json").read_text())
    on = (metrics["selection"] or {"on": "none"})["on"]
    split = select_on if on == "none" else on
    scores = metrics["best"].get(split)
    return scores and float(scores[MAIN_SCORES[task_of(metrics)]])


def main() -> None:
    """The command; exits with a code that is not 0 where the run or any of a sweep is not done."""
    parse(sys.argv[1:])
    full = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises its errors
    HydraConfig.instance().cfg = None  # set by Hydra when it has composed a configuration
    sweep.current = None
    code: Any = 0
    try:
        sys.argv[1:] = hydra_cli.hydra_arguments(sys.argv[1:])
        job()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        code = INTERRUPTED
    except Exception as error:
        code = report(error, full=full == "1")
    finally:
        os.environ.pop("HYDRA_FULL_ERROR") if full is None else None
    if sweep.current and sweep.current.end():
        code = code or 1
    if code:
        raise SystemExit(code)


def report(error: Exception, *, full: bool) -> int:
    """Reports an error that ended Hydra in one line, and returns the exit code; raises a bug's."""
    composing = not HydraConfig.initialized()
    users = isinstance(error, HydraException | OSError | OmegaConfBaseException)
    if full or not (users or composing or sweep.current):
        raise error
    if sweep.current and not users:  # the launcher's or the sweeper's
        reason = (str(error) or "no reason given").strip().splitlines()[0]
        cli.error(f"the sweep ended early: {type(error).__name__}: {reason}", word="Error")
        return 1
    cli.error(hydra_cli.mistake_message(error), word="Error")
    return cli.MISTAKE
