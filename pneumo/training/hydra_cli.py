"""The command line between the user and Hydra: resume=, sweep=, --trust, and error messages."""

import argparse
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pneumo import cli
from pneumo.arguments.train import CONF
from pneumo.runs import run_folder, trust
from pneumo.training import sweep
from pneumo.training.config import NO_CHECKPOINT, direction

RESUMED = "resumed"  # name under which Hydra finds the configuration of a run that is resumed
UNNAMED = (  # settings of where and how
    *("data.root", "data.cache_dir", "data.num_workers", "num_threads", "launcher"),
    *("hparams_search", "tags", "ensembles"),
)
LONGEST = 255  # bytes in the name of a folder, on most file systems


def folder_name(first: str, overrides: ListConfig, sweep_dir: str = "") -> str:
    """Returns the name of a run's folder: network and seed, then the other overrides.

    Those that all runs of the sweep in ``sweep_dir`` began with are left out, and those of UNNAMED,
    unless the sweep varies them. A slash is written %2F, so that the run stays in the sweep's
    folder; a name that is too long ends in the first digits of its SHA-256.
    """
    fixed, varied = sweep.fixed_and_varied(Path(sweep_dir))
    left_out = {"model", "seed", *(key for key in UNNAMED if key not in varied)}
    texts: Any = OmegaConf.to_container(overrides)  # one may name other settings, as ${seed}
    more = sorted(t for t in texts if t not in fixed and t.partition("=")[0] not in left_out)
    encoded = ",".join([first, *more]).replace("%", "%25").replace("/", "%2F").encode()
    if len(encoded) > LONGEST:
        end = f"-{hashlib.sha256(encoded).hexdigest()[:12]}".encode()
        encoded = encoded[: LONGEST - len(end)] + end
    return encoded.decode(errors="ignore")


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
OmegaConf.register_new_resolver("mode_of", direction, replace=True)


def hydra_arguments(arguments: list[str]) -> list[str]:
    """Returns the arguments for Hydra, with resume=, sweep= and --trust resolved.

    Raises:
        FileNotFoundError, ValueError, HydraException: there is no such run or sweep, or its folder
            holds what could run code.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--trust", action="append", default=[])
    try:
        args, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ValueError(f"{error}") from None
    folders = {
        name: Path(os.path.expanduser(folder))  # noqa: PTH111  (Path's fails for an unknown ~)
        for name, _, folder in (argument.partition("=") for argument in rest)
        if name in ("resume", "sweep")
    }
    if args.trust and not folders:
        raise ValueError("--trust PACKAGE belongs to resume=RUN_DIR or sweep=DIR")
    trust.trusted = tuple(args.trust) if folders else None
    rest = [quoted(argument) for argument in rest if argument.partition("=")[0] not in folders]
    if "resume" in folders:
        return [f"--config-name={_stored(folders['resume'].resolve())}", *rest]
    return _of_sweep(folders["sweep"], rest) if "sweep" in folders else rest


def quoted(override: str) -> str:
    """Returns an override whose run folder is quoted: its name has = and commas.

    >>> quoted("init=multirun/model=tiny,seed=0")
    "init='multirun/model=tiny,seed=0'"
    """
    return re.sub(r"^init=([^'\"()\[\]]*=[^'\"()\[\]]*)$", r"init='\1'", override)


def _stored(run_dir: Path) -> str:
    """Returns the name under which Hydra finds a run's configuration, with its folder.

    Hydra gets the configuration as it was read and checked here: pointed to the file, it would also
    read others that lie beside it.
    """
    config = run_folder.read_config(run_dir)
    trust.check_no_hydra(config, run_dir / run_folder.CONFIG)
    config |= {
        "run_dir": "${hydra:runtime.output_dir}",  # wherever the folder lies now
        "hydra": {"run": {"dir": str(run_dir)}, "output_subdir": None},
        "defaults": [
            "_self_",
            *({f"override hydra/{name}_logging": "none"} for name in ("job", "hydra")),
        ],
    }
    ConfigStore.instance().store(RESUMED, OmegaConf.create(config))
    return RESUMED


def _of_sweep(folder: Path, new: list[str]) -> list[str]:
    """Returns the arguments that a sweep began with, and ``new`` ones, which replace them."""
    replaced = {argument.partition("=")[0] for argument in new}
    if replaced & {"launcher", "hydra/launcher"}:  # the settings of the one before go with it
        replaced |= {"launcher", "hydra/launcher", "hydra.launcher"}
    kept = [
        argument
        for argument, key in ((a, a.partition("=")[0]) for a in sweep.arguments_of(folder))
        if key not in replaced
        and not (key.startswith("hydra.launcher.") and "hydra.launcher" in replaced)
    ]
    trust.check_arguments(kept, folder / run_folder.SWEEP)
    quoted = str(folder).replace("'", r"\'")
    return ["--multirun", *kept, f"hydra.sweep.dir='{quoted}'", *new]


def mistake_message(error: Exception, run_dir: Path | None = None) -> str:
    """Returns the message for a mistake of the user's: one line, of settings one for each.

    For an error of OmegaConf it has the key, of a disk a way out, of Hydra the nearest key or
    choice there is. ``run_dir`` is that of a run that has begun.
    """
    if isinstance(error, OmegaConfBaseException):
        line = (str(error).splitlines() or [type(error).__name__])[0]
        if "'callbacks.checkpoint.monitor' not found" in line:
            return NO_CHECKPOINT
        return f"{error.full_key}: {line}".removeprefix("None: ")
    if isinstance(error, OSError) and error.strerror:
        place = Path(str(error.filename or run_dir))
        is_outside = run_dir and not place.is_relative_to(run_dir)
        return str(error) if is_outside else run_folder.unwritable(run_dir, error)
    if isinstance(error, ValueError | OSError) and not isinstance(error, HydraException):
        return str(error)
    text = str(error) or str(error.__cause__)  # Hydra's error of a broken interpolation
    text = text.partition("\nConfig search path")[0]
    if key := re.search(r"Could not override '([^']+)'", text):
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            default: Any = OmegaConf.to_container(hydra.compose("train"))
        choices = [*keys(default)]
        if (CONF / key[1]).is_dir():
            return f"a run that is resumed takes settings, not groups of them; got {key[1]!r}"
        # it may be a setting of other choices than those of the command
        hint = "" if key[1] in choices else cli.nearest(key[1], choices)
        return (
            f"a setting must be one that --cfg job shows (+KEY=VALUE adds another); got "
            f"{key[1]!r}.{hint}"
        )
    line = " ".join(text.split())
    if choice := re.search("Could not (?:find|load) '([^']+)/([^']+)'", text):
        group, name = choice.groups()
        line += cli.nearest(name, re.findall(r"^\t(.+)$", text, re.MULTILINE))
        line += f" Install it with pip install 'pneumo[{name}]'" * group.startswith("hydra/")
    return line


def keys(config: Mapping[str, Any], *, prefix: str = "") -> Iterator[str]:
    """Yields all keys of a nested configuration, such as data.root."""
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from keys(value, prefix=f"{prefix}{name}.")
