"""The allow-list for foreign run folders: their settings build networks and run no other code.

A configuration names classes and functions by ``_target_``, and Hydra calls them. In a foreign
folder they could be any, such as pandas.read_pickle.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

# Only their classes, such as torch.optim.SGD; their functions may read pickles
CLASSES_OF = ("pytorch_lightning.callbacks", "torch.optim", "torch.optim.lr_scheduler")
NETWORKS = (  # of this package
    "pneumo.models.compact.Compact",
    "pneumo.models.detector.Detector",
    "pneumo.models.library.LibraryNetwork",
    "pneumo.models.unet_encoder.Encoder",
)
CLASSES = ("pytorch_lightning.loggers.CSVLogger",)

# Arguments of timm.create_model that read a file, which timm may unpickle
TIMM_FILES = ("_args_", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")

# Settings of Hydra that a sweep may keep: sizes and names, no commands and no addresses
SIZE = re.compile(r"hydra\.(launcher|sweeper)\.[\w.]+=-?[\d.]+")
NAME = re.compile(
    r"hydra(/launcher|/sweeper|\.launcher\.(name|partition|pre_dispatch|batch_size)"
    r"|\.sweeper\.direction|\.sweep\.subdir)=[\w.,=${}:'+-]*"
)
PARAMS = "hydra.sweeper.params."  # before a setting that is searched

trusted: tuple[str, ...] | None = None  # packages of --trust; None for the user's own settings


def nodes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yields every mapping with a ``_target_`` in a configuration, however deep."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from nodes(value)


def check_target(node: Mapping[str, Any], *, run_dir: Path, trust: Sequence[str]) -> None:
    """Raises ValueError if a run folder may not name the ``_target_`` of a network's part.

    Allowed: networks of this package, builders of torchvision, those of timm by name, layers of
    torch.nn, and everything in a package of ``trust``.
    """
    target = str(node["_target_"])
    place, _, last = target.rpartition(".")
    top = target.partition(".")[0]
    if target in NETWORKS or top in trust:
        return
    if target == "timm.create_model":
        if any(node.get(key) for key in TIMM_FILES) or ":" in str(node.get("model_name")):
            raise ValueError(
                "a run folder may name a network of timm by model_name, not a file, which could "
                f"run code; it has {dict(node)}. If you know where it is from, add --trust timm"
            )
        return
    if place == "torchvision.models":
        from torchvision.models import list_models  # late, as torch below: seconds

        if last in list_models():
            return
    if place == "torch.nn":
        from torch import nn

        layer = getattr(nn, last, None)
        if isinstance(layer, type) and issubclass(layer, nn.Module):
            return
    raise ValueError(
        f"a run folder may name networks of this package, torchvision and timm; {run_dir} names "
        f"{target}, which is not run. If you know the folder's origin, add --trust {top}"
    )


def check_config(config: Mapping[str, Any], conf: Path) -> None:
    """Raises ValueError if a resumed configuration names a target that may not be called.

    ``config`` is plain and resolved, so that no interpolation hides a name. Targets of the YAML
    files under ``conf`` may be called.
    """
    files = [yaml.safe_load(path.read_text("utf-8")) for path in conf.rglob("*.yaml")]
    allowed = {*CLASSES, *(str(node["_target_"]) for node in nodes(files))}
    packages = trusted or ()
    for node in nodes({key: value for key, value in config.items() if key != "model"}):
        name = str(node["_target_"])
        place, _, last = name.rpartition(".")
        package = name.partition(".")[0]
        a_class = place in CLASSES_OF and re.fullmatch(r"[A-Z]\w*", last)
        if not (a_class or name in allowed or package in packages):
            raise ValueError(
                "a resumed run or sweep may only call targets of this package's settings, and "
                f"classes of {', '.join(CLASSES_OF)}; it names {name}, which is not called. If "
                f"you know the folder's origin, add --trust {package}"
            )
    for node in nodes(config.get("model")):
        if str(node["_target_"]) not in allowed - {"timm.create_model"}:
            check_target(node, run_dir=Path(config["run_dir"]), trust=packages)


def check_no_hydra(config: Mapping[str, Any], path: Path) -> None:
    """Raises ValueError if a run's configuration sets up Hydra, which no run writes."""
    for key in ("hydra", "defaults"):
        if key in config:
            raise ValueError(
                f"{path} must hold the settings of a run; it holds {key!r}, which no run writes. "
                "Remove it from the file if you know the folder's origin"
            )


def check_arguments(arguments: Sequence[str], path: Path) -> None:
    """Raises ValueError for an argument that could run code before the settings are checked.

    ``arguments`` are those in ``path``, a sweep.json, that the command line does not replace.
    HydraException: one is not an override.
    """
    for argument in arguments:
        if argument.startswith("-") or not argument.isprintable() or not _is_setting(argument):
            raise ValueError(
                f"{path} may hold settings of runs and sizes of a launcher; {argument!r} is not "
                "one, and could run code. If you know the folder's origin, repeat it on the "
                "command line, where it replaces the one in the file"
            )


def _is_setting(argument: str) -> bool:
    """Returns whether an override names a setting of a run, or a size or name of Hydra's."""
    override = OverridesParser.create().parse_override(argument)
    key, value = override.key_or_group, argument.partition("=")[2]
    if override.package is not None:  # a group loaded into another package
        return False
    if key.startswith(PARAMS):
        choices = override.value()
        return isinstance(choices, str) and _is_setting(f"{key.removeprefix(PARAMS)}={choices}")
    if "." not in key and (".." in value or "$" in value):  # a file outside its group's folder
        return False
    is_hydra = re.match(r"hydra\b", key)
    return not is_hydra or any(kind.fullmatch(argument) for kind in (SIZE, NAME))
