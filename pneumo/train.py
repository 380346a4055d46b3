"""Trains a network: python -m pneumo.train, the only command that reads conf/."""

# Only what --help, --cfg and a wrong setting need is imported here: torch and Lightning take
# seconds, and wait until a run really starts.
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pneumo import runs, settings

HERE = Path(__file__).parent
CONF = next(p for p in (HERE.parent / "conf", HERE / "conf") if (p / "train.yaml").is_file())

log = logging.getLogger("pneumo")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def job(cfg: DictConfig) -> None:
    """Does one run; in a sweep, one of its runs. Exits with 0, 1 (a bug), 2 (a mistake) or 130."""
    code = guarded(cfg, Path(cfg.run_dir))
    if code:
        raise SystemExit(code)


def guarded(cfg: DictConfig, run_dir: Path) -> int:
    """Does one run; what goes wrong is told in one message, in train.log and in status.json."""
    try:
        config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
        settings.check(config)
        with runs.claim(run_dir):
            raw: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
            runs.write_config(run_dir, raw, HydraConfig.get().overrides.task)
            return logged(config, run_dir)
    except (ValueError, FileNotFoundError, OmegaConfBaseException) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2


def logged(config: dict[str, Any], run_dir: Path) -> int:
    """Does one run in a folder that is ours, with its log."""
    status = runs.read_status(run_dir)
    epochs = config["trainer"]["max_epochs"]
    with log_to(run_dir / "train.log"):
        if status["status"] == "done" and status["epoch"] >= epochs:
            log.info("Done before, nothing to do: %s", run_dir)
            return 0
        runs.write_status(run_dir, "running", epoch=status.get("epoch", 0), max_epochs=epochs)
        try:
            from pneumo.fit import fit

            fit(config, run_dir)
        except KeyboardInterrupt:
            log.warning("Stopped. Go on with: python -m pneumo.train resume=%s", run_dir)
            end, error, code = "stopped", "interrupted", 130
        except Exception as problem:
            cause = problem.__cause__ if isinstance(problem, InstantiationException) else problem
            end, error, code = "failed", f"{cause}", 2
            if isinstance(cause, ValueError | FileNotFoundError | OSError):
                log.error("Error: %s", cause)
            else:
                log.exception("Error: %s", type(cause).__name__)
                error, code = f"{type(cause).__name__}: {cause}", 1
        else:
            return 0
        epoch = runs.read_status(run_dir).get("epoch", 0)
        runs.write_status(run_dir, end, epoch=epoch, max_epochs=epochs, error=error)
        return code


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Sends what is logged to the screen and to ``path``; Python's warnings to ``path`` only."""
    logger, warned = logging.getLogger("pneumo"), logging.getLogger("py.warnings")
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    screen = logging.StreamHandler(sys.stderr)
    logger.setLevel(logging.INFO)
    logger.propagate = warned.propagate = False
    logger.handlers = [screen, file]
    warned.handlers = [file]
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logger.handlers = []
        warned.handlers = []
        file.close()


def main() -> None:
    """The command; resume=RUN_DIR becomes Hydra's own arguments."""
    sys.argv[1:] = resume_arguments(sys.argv[1:])
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        job()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra leaves its errors to us
    try:
        job()
    except (HydraException, OmegaConfBaseException, OSError) as error:
        raise SystemExit(mistake(error)) from None
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")


def mistake(error: Exception) -> int:
    """Tells what is wrong with the arguments, with the nearest key there is; returns 2."""
    message = str(error).partition("\nConfig search path")[0].rstrip()
    wrong = re.search(r"Could not override '([^']+)'", message)
    if wrong:
        message = (
            f"a setting must be one that --cfg job shows; got {wrong[1]!r}."
            + settings.nearest(wrong[1], settings.keys(composed()))
        )
    elif isinstance(error, OSError) and error.strerror:
        message = (
            f"the run folder must be writable; {error.filename}: {error.strerror}. Choose another "
            "with hydra.run.dir=DIR, of a sweep with hydra.sweep.dir=DIR"
        )
    sys.stderr.write(f"Error: {message}\n")
    return 2


def composed() -> dict[str, Any]:
    """Returns the default configuration."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config: dict[str, Any] = OmegaConf.to_container(hydra.compose("train"))  # type: ignore[assignment]
    return config


def resume_arguments(arguments: list[str]) -> list[str]:
    """Returns the arguments with resume=RUN_DIR replaced by that run's configuration and folder."""
    folders = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if not folders:
        return arguments
    run_dir = Path(folders[-1]).expanduser().resolve()
    config = run_dir / ".hydra" / "config.yaml"
    if not config.is_file():
        sys.stderr.write(
            f"Error: resume must name a run folder, which holds .hydra/config.yaml; got "
            f"{folders[-1]}\n"
        )
        raise SystemExit(2)
    rest = [a for a in arguments if not a.startswith("resume=")]
    return [
        f"--config-path={config.parent}",
        "--config-name=config",
        f"hydra.run.dir={_quoted(run_dir)}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        *rest,
    ]


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


if __name__ == "__main__":
    main()
