"""The command line between the user and Hydra: resume=, sweep=, --trust, and what went wrong."""

import argparse
import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pneumo import cli
from pneumo.arguments.train import CONF
from pneumo.runs import run_folder, trust
from pneumo.training import sweep
from pneumo.training.config import direction

RESUMED = "resumed"  # name under which Hydra finds the configuration of a run that is resumed
LONGEST = 255  # bytes in the name of a folder, on most file systems
QUOTES = "\"'"


def folder_name(first: str, more: str, sweep_dir: str = "") -> str:
    """Returns the name of a run's folder: network and seed, then the other overrides.

    Those that all runs of the sweep in ``sweep_dir`` began with are left out. A slash is written
    %2F, so that the run stays in the sweep's folder; a name that is too long ends in the first
    digits of its SHA-256.
    """
    name = f"{first},{more},"
    for override in sweep.overrides_of(Path(sweep_dir)):
        if not override.is_sweep_override():
            same = f"{override.get_key_element()}={override.get_value_element_as_str()}"
            name = name.replace(f",{same},", ",", 1)
    name = name.rstrip(",")
    name = name.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    encoded = name.encode()
    if len(encoded) <= LONGEST:
        return name
    end = "-" + hashlib.sha256(encoded).hexdigest()[:12]
    return encoded[: LONGEST - len(end)].decode(errors="ignore") + end


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
OmegaConf.register_new_resolver("mode_of", direction, replace=True)


def hydra_arguments(arguments: list[str]) -> list[str]:
    """Returns the arguments for Hydra, with resume=, sweep= and --trust resolved.

    Raises:
        FileNotFoundError, ValueError, HydraException: there is no such run or sweep, or its folder
            holds what could run code.
    """
    return _sweep_arguments(_resume_arguments(_trust_arguments(arguments)))


def _trust_arguments(arguments: list[str]) -> list[str]:
    """Returns the arguments without --trust PACKAGE, which go to pneumo.runs.trust."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--trust", action="append", default=[])
    try:
        args, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ValueError(f"{error}") from None
    foreign = any(argument.startswith(("resume=", "sweep=")) for argument in rest)
    if args.trust and not foreign:
        raise ValueError("--trust PACKAGE belongs to resume=RUN_DIR or sweep=DIR")
    trust.trusted = tuple(args.trust) if foreign else None
    return rest


def _resume_arguments(arguments: list[str]) -> list[str]:
    """Returns the arguments with resume=RUN_DIR replaced by that run's configuration and folder.

    Hydra gets the configuration as it was read and checked here: pointed to the file, it would also
    read others that lie beside it.
    """
    folder, rest = _named_folder("resume", arguments)
    if folder is None:
        return arguments
    run_dir = folder.resolve()
    config = run_folder.read_config(run_dir)
    trust.check_no_hydra(config, run_dir / run_folder.CONFIG)
    config["run_dir"] = "${hydra:runtime.output_dir}"  # wherever the folder lies now
    try:
        ConfigStore.instance().store(RESUMED, OmegaConf.create(config))
    except OmegaConfBaseException as error:  # of a broken interpolation
        raise ValueError(f"{run_dir / run_folder.CONFIG} is broken: {error}") from None
    return [
        f"--config-name={RESUMED}",
        f"hydra.run.dir={quoted(run_dir)}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        *rest,
    ]


def _sweep_arguments(arguments: list[str]) -> list[str]:
    """Returns the arguments with sweep=DIR replaced by those it began with, new ones instead."""
    folder, new = _named_folder("sweep", arguments)
    if folder is None:
        return arguments
    replaced = {argument.partition("=")[0] for argument in new}
    if replaced & {"launcher", "hydra/launcher"}:  # the settings of the one before go with it
        replaced |= {"launcher", "hydra/launcher", "hydra.launcher"}
    kept = [
        a for a in sweep.arguments_of(folder) if not _is_replaced(a.partition("=")[0], replaced)
    ]
    trust.check_arguments(kept, folder / run_folder.SWEEP)
    return ["--multirun", *kept, f"hydra.sweep.dir={quoted(folder)}", *new]


def _is_replaced(key: str, keys: set[str]) -> bool:
    return key in keys or ("hydra.launcher" in keys and key.startswith("hydra.launcher."))


def _named_folder(option: str, arguments: list[str]) -> tuple[Path | None, list[str]]:
    """Returns the folder of an option such as resume=, and the other arguments."""
    folders = [a.partition("=")[2] for a in arguments if a.startswith(f"{option}=")]
    rest = [a for a in arguments if not a.startswith(f"{option}=")]
    # an unknown ~ stays, where Path.expanduser raises RuntimeError: there is no such folder
    return (Path(os.path.expanduser(folders[-1])) if folders else None), rest  # noqa: PTH111


def quoted(path: Path | str, *, mark: str = "'") -> str:
    """Returns a text as Hydra's grammar takes it, whatever characters it has.

    There a backslash stands for itself but before a quotation mark, at the end, and before ``${``,
    which OmegaConf would fill in.
    """
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(path))
    text = re.sub(rf"(\\*){mark}", lambda match: f"{match[1]}{match[1]}\\{mark}", text)
    return mark + re.sub(r"(\\+)$", r"\1\1", text) + mark


def example(override: str) -> str:
    """Returns an override with its value quoted for Hydra, and all of it for the shell."""
    key, _, value = override.partition("=")
    return shlex.quote(f"{key}={quoted(value.strip(QUOTES), mark=QUOTES[0])}")


def mistake_message(error: Exception) -> str:
    """Returns one line for an error of Hydra's, with the nearest key or choice there is."""
    message = str(error) or str(error.__cause__)  # Hydra's error of a broken interpolation
    message = message.partition("\nConfig search path")[0].rstrip()
    unknown = re.search(r"Could not override '([^']+)'", message)
    several = re.match("Ambiguous value for argument '(.+)'\n", message)
    choice = re.search("Could not (?:find|load) '([^']+)/([^']+)'", message)
    plugin = re.search(r"Could not find 'hydra/\w+/(joblib|optuna|ray|submitit)", message)
    if unknown:
        return (
            f"a setting must be one that --cfg job shows (+KEY=VALUE adds another); got "
            f"{unknown[1]!r}.{cli.nearest(unknown[1], keys(composed()))}"
        )
    if plugin:
        return f"{plugin[1]} must be installed for this; add it: pip install 'pneumo[{plugin[1]}]'"
    if choice:
        group, name = choice.groups()
        listed = [line.strip() for line in message.splitlines() if line.startswith("\t")]
        choices = listed or sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        nearest = cli.nearest(name, choices)
        return f"{group} must be one of {', '.join(choices)}; got {name!r}.{nearest}"
    if isinstance(error, OverrideParseException):
        return (
            f"an override must be KEY=VALUE; got {error.override!r}. A value with other characters "
            "than ASCII letters, digits and -_./:%+@?* needs quotes of its own, inside those of "
            f"the shell: {example(error.override)}"
        )
    if several:
        return (
            f"one run takes one value; got {several[1]!r}. For a run of each add --multirun; a "
            f"comma that belongs to a value is quoted, inside the shell's quotes: "
            f"{example(several[1])}; for a list write KEY=[VALUE,VALUE]"
        )
    if isinstance(error, OSError) and error.strerror:
        return run_folder.unwritable(None, error)
    return " ".join(message.split())


def composed() -> dict[str, Any]:
    """Returns the default configuration."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config: dict[str, Any] = OmegaConf.to_container(hydra.compose("train"))  # type: ignore[assignment]
    return config


def keys(config: Mapping[str, Any], *, prefix: str = "") -> Iterator[str]:
    """Yields all keys of a nested configuration, such as data.root."""
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from keys(value, prefix=f"{prefix}{name}.")
