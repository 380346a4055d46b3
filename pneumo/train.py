"""Trains a network: python -m pneumo.train, the only command that reads conf/."""

# Only what --help, --cfg and a wrong setting need is imported here: torch and Lightning take
# seconds, and wait until a run really starts.
import contextlib
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pneumo import cli

if __name__ == "__main__":  # --help needs none of the following imports
    raise SystemExit(cli.start("train"))

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pneumo.arguments.train import CONF, parse
from pneumo.runs import run_folder, trust
from pneumo.runs.tasks import task_of
from pneumo.runs.writer import RunWriter, TakenError
from pneumo.training import hydra_cli, sweep
from pneumo.training.config import MAIN_SCORES, Config, read
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
    except MISTAKES as error:
        code, message = cli.MISTAKE, hydra_cli.mistake_message(error, run_dir)
        cli.error(message, word="Error")
        if not sweeping:
            run_folder.remove_empty(run_dir, levels=4)  # that Hydra has made
        elif not isinstance(error, TakenError):  # which is no failure of the run
            sweep.refuse(run_dir, message, HydraConfig.get().overrides.task)
    if sweeping and code == INTERRUPTED:
        raise KeyboardInterrupt
    if code and not sweeping:
        raise SystemExit(code)
    return None if code else best_score(run_dir, select_on=cfg.protocol.select_on)


def run(cfg: DictConfig, run_dir: Path, *, sweeping: bool, start: float | None = None) -> int:
    """Does one run in its folder, new or of this run, and returns the exit code.

    ``start``, of time.monotonic(), is when the user started the command; by default now.

    Raises:
        ValueError, OSError, OmegaConfBaseException: a setting is wrong, or the folder cannot be
            used; nothing was started.
    """
    start = start or time.monotonic()
    raw: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    cfg.run_dir = str(run_dir)
    settings: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    if sweeping:
        settings["trainer"]["enable_progress_bar"] = False
        settings["job_number"] = HydraConfig.get().job.num
    config = read(settings)
    if sweeping:
        sweep.check_search(cfg, HydraConfig.get())
    if trust.trusted is not None:
        trust.check_config(settings, CONF)
    is_done = run_folder.read_status(run_dir)["status"] == "done"
    fit = None if is_done else prepare(config)  # torch takes seconds
    writer = RunWriter(run_dir)
    with writer.claim():
        writer.write_config(raw, HydraConfig.get().overrides.task)
        (run_dir / sweep.REFUSED).unlink(missing_ok=True)
        with log_to(run_dir / "train.log", quiet=sweeping):
            if fit:
                return run_logged(partial(fit, config, writer, start=start), writer, config)
            log.info("Already done: %s", run_dir)
            return 0


def prepare(config: Config) -> Callable[..., None]:
    """Returns what trains and scores a run: its network, Trainer and data or its baseline built.

    Raises:
        ValueError: an object cannot be built of its settings.
    """
    if config.trainer.num_devices > 1:  # torch, which reads it now, would warn of DDP's options
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    from pneumo.baselines.classifiers import Baseline
    from pneumo.training import construction, fit, objects

    construction.build("protocol.split", config.protocol.split.plain(), partial)
    with construction.naming("model"):
        kind = get_object(config.model.target_)  # or a function that builds a network
    if isinstance(kind, type) and issubclass(kind, Baseline):
        from pneumo.baselines.run import fit as fit_baseline

        model = config.model.plain(without=("name",))
        baseline = construction.build("model", model, Baseline)  # type: ignore[type-abstract]
        return partial(fit_baseline, baseline=baseline, data_set=fit.open_data_set(config))
    parts = objects.build_parts(config)
    return partial(fit.fit, parts=parts, data_set=fit.open_data_set(config))


def run_logged(fit: Callable[[], None], writer: RunWriter, config: Config) -> int:
    """Does one run in a claimed folder; keeps status.json up to date and returns the exit code."""
    run_dir, epochs = writer.run_dir, config.trainer.max_epochs
    epoch = run_folder.read_status(run_dir).get("epoch", 0)
    writer.write_status("running", epoch=epoch, max_epochs=epochs)
    try:
        fit()
        return 0
    except KeyboardInterrupt:
        resume = shlex.quote(f"resume={run_dir}")
        log.warning("Stopped. Resume with: python -m pneumo.train %s", resume)
        end, message, code = "stopped", "interrupted", INTERRUPTED
    except Exception as error:
        # the latter is Lightning's, of settings that do not go together
        if isinstance(error, MISTAKES) or type(error).__name__ == "MisconfigurationException":
            end, message, code = "failed", hydra_cli.mistake_message(error, run_dir), cli.MISTAKE
            log.error("Error: %s", message)
        else:
            end, message, code = "failed", f"{type(error).__name__}: {error}", 1
            log.exception("Error: %s", type(error).__name__)
    epoch = run_folder.read_status(run_dir).get("epoch", 0)
    with contextlib.suppress(OSError):  # a full disk; a sweep corrects the status at its end
        writer.write_status(end, epoch=epoch, max_epochs=epochs, error=message)
    return code


def best_score(run_dir: Path, *, select_on: str) -> float | None:
    """Returns the main score of a finished run at the chosen epoch, None without ``select_on``."""
    metrics = json.loads((run_dir / "metrics.json").read_text())
    scores = metrics["best"].get(select_on)
    return scores and float(scores[MAIN_SCORES[task_of(metrics)]])


def main() -> None:
    """The command; exits with a code that is not 0 where the run or any of a sweep is not done."""
    parse(sys.argv[1:])
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
        is_mistake = isinstance(error, HydraException | OSError | OmegaConfBaseException)
        if is_mistake or not (sweep.current or HydraConfig.initialized()):  # broken file of conf/
            message, code = hydra_cli.mistake_message(error), cli.MISTAKE
        elif sweep.current:  # the launcher's or the sweeper's
            reason = (str(error) or "no reason given").strip().partition("\n")[0]
            message, code = f"the sweep ended early: {type(error).__name__}: {reason}", 1
        else:
            raise
        cli.error(message, word="Error")
    if sweep.current and sweep.current.end():
        code = code or 1
    if code:
        raise SystemExit(code)
