"""Checks the settings of a run, before anything slow is imported."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pneumo.training.config import (
    BOX_SCORES,
    LAST,
    LOGGER,
    OBJECT,
    SPLITS,
    Config,
    is_object,
    is_own,
)
from pneumo.training.rules import Rule, is_whole, shown

MAX_WEIGHTS = 10**9  # of a network; 4 GB, and as much again for each moment of the optimizer
ABSENT: Any = object()
CLASSIFIERS_OWN = (".ProgressiveResize", ".Finetune")  # callbacks
DETECTOR = "pneumo.models.detector.Detector"

AUTO, KERMANY = "pneumo.data.sets.auto", "pneumo.data.kermany.Kermany.open"
GET_SET = ". Get the set with python -m pneumo.download, or train on generated images: data=phantom"
NEEDED_BY = {  # what Lightning's classes import when they are built
    "pytorch_lightning.loggers.WandbLogger": "wandb",
    "pytorch_lightning.loggers.MLFlowLogger": "mlflow",
}
LISTED_AGAIN = ("trainer.callbacks", "trainer.logger")  # they stand at callbacks and logger

# What is written in two places and must agree: the second is the one to set
FOLLOWS = {
    "model.image_size": "data.image_size",
    "protocol.split.k": "protocol.k",
    "protocol.split.fold": "protocol.fold",
    "data.source.num_images": "data.num_images",
    "data.source.seed": "data.seed",
    "callbacks.checkpoint.run_dir": "run_dir",
    "callbacks.folder.run_dir": "run_dir",
}


def check_run(config: Mapping[str, Any]) -> Config:
    """Returns the settings of a run; raises ValueError as check does, also with what is missing.

    Args:
        config: the composed configuration, plain and resolved.
    """
    _raise(_broken(config, whole_run=True) or _disagreeing(config))
    return Config.model_validate(config)


def check(config: Mapping[str, Any]) -> None:
    """Raises ValueError with every setting that breaks its rule, and the rule; a line for each.

    Args:
        config: the composed configuration, plain and resolved, or some of it.
    """
    _raise(_broken(config, whole_run=False) or _disagreeing(config))


def check_there(config: Mapping[str, Any]) -> None:
    """Raises ValueError for each file and package that a run needs and that is missing.

    Args:
        config: as in check_run, checked.
    """
    _raise([*_missing_places(config), *_missing_packages(config)])


def _raise(lines: list[str]) -> None:
    if lines:
        raise ValueError("\n".join(lines))


def _broken(config: Mapping[str, Any], *, whole_run: bool) -> list[str]:
    """Returns a line for each setting that breaks its rule, or that a whole run lacks."""
    try:
        Config.model_validate(config)
    except ValidationError as problem:
        keys: dict[str, str] = {}
        for error in problem.errors(include_url=False):
            if whole_run or error["type"] != "missing":
                key = ".".join(map(str, error["loc"]))
                # what follows another setting breaks the rule with it
                keys.setdefault(_what(key, error), key)
        return [f"{key} {what}" for what, key in keys.items()]
    return []


def _what(key: str, error: ErrorDetails) -> str:
    if error["type"] in {"missing", "model_type"}:  # the latter: it is no section
        return f"must be set; leave out what takes it away (~{key})"
    return f"must be {error['msg']}; got {shown(error['input'])}"


def _disagreeing(config: Mapping[str, Any]) -> list[str]:
    """Returns a line for each setting that does not go with others; each keeps its own rule.

    On plain settings, since pydantic calls no validator of a section where one is missing.
    """
    lines = [*_not_following(config), *_wrong_split(config), *_wrong_lists(config)]
    lines += [*_wrong_plateau(config), *_wrong_task(config)]
    return lines or [*_beyond_the_encoder(config)]


def _get(config: Mapping[str, Any], key: str, default: Any = None) -> Any:
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value


def _not_following(config: Mapping[str, Any]) -> Iterator[str]:
    for key, leader in FOLLOWS.items():
        if key.startswith("model.") and not is_own(config.get("model")):
            continue
        value, wanted = _get(config, key, ABSENT), _get(config, leader, ABSENT)
        if ABSENT not in (value, wanted) and value != wanted:
            yield f"{key} must be {leader}, {shown(wanted)}; got {shown(value)}. Set {leader}"


def _monitors(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns the key of each score that is followed, by the score; the first of several."""
    found: dict[str, str] = {}
    callbacks = (f"callbacks.{name}.monitor" for name in _get(config, "callbacks", {}))
    for key in ("schedule.monitor", *callbacks):
        if (value := _get(config, key)) not in (None, LAST):
            found.setdefault(value, key)
    return found


def _wrong_split(config: Mapping[str, Any]) -> Iterator[str]:
    """What names a fold or a split that the protocol does not have."""
    fold, k = _get(config, "protocol.fold"), _get(config, "protocol.k")
    if not k and fold is not None:
        yield f"protocol.fold must be null but for protocol=kfold; got {shown(fold)}"
    if k and not (is_whole(fold) and 0 <= fold < k):
        yield f"protocol.fold must be from 0 to {k - 1}; got {shown(fold)}"
    splits = list(_get(config, "protocol.split.fractions", SPLITS))
    wrong: dict[str, str] = {}
    select_on = _get(config, "protocol.select_on")
    named = {} if select_on is None else {select_on: "protocol.select_on"}
    for value, key in (named | _monitors(config)).items():
        split = value.rpartition("/")[2]
        if split not in splits:
            wrong.setdefault(split, f"{key} must name a split; got {value!r}")
    for message in wrong.values():
        yield (
            f"{message}. protocol={_get(config, 'protocol.name')} has {', '.join(splits)}; "
            f"protocol=holdout has {', '.join(SPLITS)}"
        )


def _wrong_plateau(config: Mapping[str, Any]) -> Iterator[str]:
    """A schedule that follows a score, without the score or at each step."""
    schedule = _get(config, "schedule", {})
    if not str(schedule.get("_target_")).endswith(".ReduceLROnPlateau"):
        return
    if schedule.get("monitor") is None:
        yield "schedule.monitor must name a score and a split, such as loss/train; it is not set"
    if schedule.get("interval") == "step":
        yield "schedule.interval must be epoch, since the score is one of an epoch; got 'step'"


def _wrong_task(config: Mapping[str, Any]) -> Iterator[str]:
    """What belongs to the other task."""
    if config.get("task") == "detection":
        yield from _wrong_detection(config)
        return
    if _get(config, "model._target_") == DETECTOR:
        yield f"model={_get(config, 'model.name')} is a detector, which needs task=detection"
    for value, key in _monitors(config).items():
        if value.partition("/")[0] in BOX_SCORES:
            yield f"{key} must be a score of images, or task=detection; got {value}"


def _wrong_detection(config: Mapping[str, Any]) -> Iterator[str]:
    """What a detector does not have."""
    if _get(config, "model._target_") != DETECTOR:
        yield (
            "model must be retinanet or maskrcnn with task=detection; got "
            f"{_get(config, 'model.name')}"
        )
    if config.get("loss") is not None:
        yield "loss must be null with task=detection, whose networks have their own; take it away"
    if "val" not in _get(config, "protocol.split.fractions", SPLITS):
        yield (
            "task=detection needs a validation split, on which the confidence of boxes is fixed: "
            f"protocol=holdout; got protocol={_get(config, 'protocol.name')}"
        )
    if _get(config, "views.mirror") is True:
        yield "views.mirror must be false with task=detection; got true"
    for name in _get(config, "callbacks", {}):
        if str(_get(config, f"callbacks.{name}._target_")).endswith(CLASSIFIERS_OWN):
            yield f"callbacks.{name} must be left out with task=detection: ~callbacks.{name}"


def _missing_places(config: Mapping[str, Any]) -> Iterator[str]:
    """Images and weights that are not where they should be."""
    source, weights = _get(config, "data.source", {}), _get(config, "model.pretrained")
    target = source["_target_"]
    for name in ("root", "csv") if target.startswith("pneumo.") and target != AUTO else ():
        place = source.get(name)
        if isinstance(place, str) and not _exists(place):
            way_out = GET_SET if target == KERMANY else ""
            yield f"data.{name} must exist; got {place}: there is no such folder or file{way_out}"
    if is_own(config["model"]) and isinstance(weights, str) and not _exists(weights):
        yield f"model.pretrained must be true, false or a file of weights; there is no {weights}"


def _exists(place: str) -> bool:
    return Path(place).expanduser().exists()


def _missing_packages(config: Mapping[str, Any]) -> Iterator[str]:
    """Packages that an object needs, or is of, and that are not installed."""
    if _get(config, "model.library") == "timm" and not find_spec("timm"):
        yield "model.library=timm needs timm, which is not installed: pip install 'pneumo[timm]'"
    for key, target in _targets(config):
        needed = NEEDED_BY.get(target)
        if needed and not find_spec(needed):
            yield f"{key} needs {needed}, which is not installed: pip install {needed}"
        top = target.partition(".")[0]
        if not find_spec(top):
            yield f"{key}._target_ must be of an installed package; got {target}: no module {top}"


def _targets(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yields the key and the _target_ of each object of a configuration, its lists too."""
    named = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, part in named:
        if name == "_target_":
            yield key, str(part)
        elif isinstance(part, Mapping | list) and f"{key}.{name}" not in LISTED_AGAIN:
            yield from _targets(part, f"{key}.{name}".removeprefix("."))


def _wrong_lists(config: Mapping[str, Any]) -> Iterator[str]:
    """What the trainer does not get, though callbacks and logger are as they should be."""
    kept = _get(config, "callbacks.checkpoint")
    listed = _get(config, "trainer.callbacks", ABSENT)
    if listed is not ABSENT and not (isinstance(listed, list) and all(map(is_object, listed))):
        yield f"trainer.callbacks must be a list of {OBJECT.says}; got {shown(listed)}"
    elif listed is not ABSENT and kept not in listed:
        yield "trainer.callbacks must hold callbacks.checkpoint, which keeps the weights"
    logger = _get(config, "trainer.logger")
    if not (logger is None or logger is False or is_object(logger)):
        several = list(logger.values()) if isinstance(logger, Mapping) else logger
        if not (isinstance(several, list) and all(map(is_object, several))):
            yield f"trainer.logger must be {LOGGER.says}; got {shown(logger)}"


def _beyond_the_encoder(config: Mapping[str, Any]) -> Iterator[str]:
    """Images that the paper's network cannot halve five times, and weights too large for memory."""
    model, image_size = _get(config, "model", {}), _get(config, "data.image_size", 256)
    if not is_own(model) or not {"f", "d", "c"} <= set(model):
        return
    if image_size % 32:
        yield (
            f"data.image_size must be a multiple of 32, from 32 to 4096; got {shown(image_size)}. "
            "The paper's networks halve it five times"
        )
    filters = [1, *(model["f"] * 2 ** min(level / model["d"], 4) for level in range(5))]
    weights = sum(9 * (a * b + b * b) for a, b in pairwise(filters))
    weights += filters[-1] * (image_size / 32) ** 2 * model["c"]
    if weights > MAX_WEIGHTS:
        yield (
            f"model.f, model.d, model.c and data.image_size must give at most {MAX_WEIGHTS:,} "
            f"weights; these give {weights:,.0f}. A larger d or a smaller f, c or image_size helps"
        )


def keys(config: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """Returns all keys of a nested configuration, such as data.root."""
    found = []
    for name, value in config.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, Mapping):
            found += keys(value, prefix=f"{prefix}{name}.")
    return found


def rules(section: type[BaseModel] = Config, prefix: str = "") -> dict[str, Rule]:
    """Returns the rule of each setting by its key, in which a * stands for any name."""
    found: dict[str, Rule] = {}
    for name, field in _fields(section).items():
        found |= {f"{prefix}{name}": rule for rule in field.metadata if isinstance(rule, Rule)}
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= rules(kind, f"{prefix}{name}.")
    return found


def _fields(section: type[BaseModel]) -> dict[str, FieldInfo]:
    fields = {field.alias or name: field for name, field in section.model_fields.items()}
    extra = get_args(section.__annotations__.get("__pydantic_extra__"))
    return fields | ({"*": FieldInfo.from_annotation(extra[1])} if extra else {})
