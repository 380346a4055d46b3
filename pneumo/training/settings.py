"""Checks the settings of a run before anything slow is imported: types, rules, missing files."""

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pneumo.choices import ARGMAX, AT_SENSITIVITY
from pneumo.runs import pretrained, run_folder
from pneumo.runs.run_folder import wrong_scales
from pneumo.training.config import BOX_SCORES, LAST, Config, OwnModel

FINETUNE = ".Finetune"  # a callback of classifiers
DETECTOR = "pneumo.models.detector.Detector"
AUTO, KERMANY = "pneumo.data.sets.auto", "pneumo.data.kermany.Kermany.open"
WAYS_OUT = {  # of a missing folder
    KERMANY: ". Get the set with python -m pneumo.download, or train on generated images: "
    "data=phantom",
    "pneumo.data.nih.Nih.open": ". Name its folder with data.root=DIR or PNEUMO_NIH",
}
NEEDED_BY = {  # packages that loggers import when they are built, and how pip names them
    "pytorch_lightning.loggers.WandbLogger": ("wandb", "wandb"),
    "pneumo.training.mlflow_log.make": ("mlflow", "'pneumo[mlflow]'"),
}
# Arguments of the Trainer that a run cannot have, with the values that pass, and why
FORBIDDEN: dict[str, tuple[tuple[Any, ...], str]] = {
    "num_nodes": ((1,), "since a run has the devices of one machine, trainer.devices"),
    "strategy": (("auto",), "since several devices, trainer.devices=N, train by DDP"),
    "use_distributed_sampler": ((False,), "since each device has its share of the batches"),
    "max_steps": ((-1,), "since a run ends after trainer.max_epochs"),
    "limit_test_batches": (
        (),
        "since the test split is scored with the validation split: trainer.limit_val_batches",
    ),
    "fast_dev_run": (
        (False,),
        "since it leaves no checkpoint to score; trainer=one_batch is as short",
    ),
    "barebones": ((False,), "since it leaves no checkpoint to score"),
    "enable_checkpointing": ((True,), "since a run keeps its weights"),
    "val_check_interval": ((1.0,), "since an epoch is scored at its end"),
    "num_sanity_val_steps": ((0,), "since only whole epochs are scored"),
    "reload_dataloaders_every_n_epochs": ((0,), "since the images of all epochs are the same"),
}
# Settings that are written in two places and must agree: the second is the one to set
FOLLOWS = {
    "model.image_size": "data.image_size",
    "protocol.split.k": "protocol.k",
    "protocol.split.fold": "protocol.fold",
    "protocol.split.val": "protocol.val",
    "data.source.num_images": "data.num_images",
    "data.source.seed": "data.seed",
    "callbacks.checkpoint.run_dir": "run_dir",
    "callbacks.folder.run_dir": "run_dir",
}


def read(config: Mapping[str, Any]) -> Config:
    """Returns the settings of a run, typed.

    Args:
        config: the composed configuration, plain and resolved.

    Raises:
        ValueError: settings are of another type, out of range, missing, or contradict each other;
            a line for each.
    """
    try:
        settings = Config.model_validate(config)
        if settings.model.is_own:
            OwnModel.model_validate(config["model"])
    except ValidationError as error:
        prefix = ("model",) if error.title == OwnModel.__name__ else ()
        raise ValueError("\n".join(_lines(error, config, prefix))) from None
    _raise(_contradictions(settings, config))
    return settings


def check_there(config: Mapping[str, Any], settings: Config) -> None:
    """Raises ValueError for each file and package that a run needs and that is missing."""
    _raise([*_missing_places(config, settings), *_missing_packages(config, settings)])


def _raise(lines: Iterator[str] | list[str]) -> None:
    if text := "\n".join(lines):
        raise ValueError(text)


def _lines(error: ValidationError, config: Mapping[str, Any], prefix: tuple[str, ...]) -> list[str]:
    """Returns a line for each wrong setting: its key, what it must be, and its value.

    The alternatives of a union are one line. A setting that repeats another's value is left out,
    as callbacks.lines.monitor does.
    """
    reasons: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        path = (*prefix, *map(str, detail["loc"]))
        missing = detail["type"] == "missing"
        key = ".".join(path if missing else path[: _depth(config, path)])
        reason = re.sub(r"^\w+ should", "must", detail["msg"].removeprefix("Value error, "))
        reasons.setdefault(key, []).append("must be set" if missing else reason)
    lines: dict[str, str] = {}
    for key, parts in reasons.items():
        text = " or ".join(dict.fromkeys(parts)).replace(" or must be ", " or ")
        if text == "must be set":
            lines[key] = f"{key} {text}"
        else:
            text += f"; got {shown(_value(config, key))}"
            lines.setdefault(text, f"{key} {text}")
    return list(lines.values())


def _depth(config: Any, path: tuple[str, ...]) -> int:
    """Returns how many parts of a path are settings; the rest are alternatives of a type."""
    for depth, name in enumerate(path):
        if not isinstance(config, Mapping) or name not in config:
            return depth
        config = config[name]
    return len(path)


def _value(config: Any, key: str) -> Any:
    """Returns a setting by a key such as data.root; None where there is none."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def shown(value: Any) -> str:
    """Returns a value as one would write it in a setting, at most 100 characters of it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _contradictions(settings: Config, config: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each setting that contradicts another, or that a run cannot have."""
    for key, leader in FOLLOWS.items():
        value, wanted = _value(config, key), _value(config, leader)
        if value not in (None, wanted) and (settings.model.is_own or not key.startswith("model.")):
            yield f"{key} must be {leader}, {shown(wanted)}; got {shown(value)}. Set {leader}"
    for name, (allowed, reason) in FORBIDDEN.items():
        value = config["trainer"].get(name)
        if value is not None and value not in allowed:
            yield f"trainer.{name} must be left out, {reason}; got {shown(value)}"
    if settings.optimizer.target_.endswith(".LBFGS"):
        yield "optimizer must not be LBFGS, which scores a batch several times in a step"
    small, size = settings.data.progressive, settings.data.image_size
    if small and small.side >= size:
        yield f"data.progressive.side must be below data.image_size, {size}; got {small.side}"
    if wrong := wrong_scales(settings.views.scales, image_size=settings.data.image_size):
        yield f"views.scales {wrong}"
    number, batch = settings.trainer.num_devices, settings.data.batch_size
    if number > 1 and batch < 2 * number:  # see pneumo.data.datamodule.batch_sizes
        yield (
            f"data.batch_size must be at least two images for each of {number} devices; got {batch}"
        )
    yield from _wrong_split(settings)
    yield from _wrong_schedule(settings)
    yield from OF_TASK[settings.task](settings)


def _wrong_split(settings: Config) -> Iterator[str]:
    protocol = settings.protocol
    fold, k, fractions = protocol.fold, protocol.k, protocol.split.fractions
    if k is None and fold is not None:
        yield f"protocol.fold must be null except with protocol=kfold; got {fold}"
    if k is not None and (fold is None or not 0 <= fold < k):
        yield f"protocol.fold must be from 0 to {k - 1}; got {shown(fold)}"
    if fractions and (
        {"train", "test"} - set(fractions) or abs(sum(fractions.values()) - 1) > 1e-9
    ):
        yield (
            "protocol.split.fractions must be shares of train, test and, if wanted, val that sum "
            f"to 1; got {fractions}"
        )
    if settings.decision == AT_SENSITIVITY and "val" not in protocol.splits:
        yield (
            "decision=sensitivity needs a validation split, on which its threshold is fixed: "
            f"protocol=holdout; got protocol={protocol.name}"
        )
    if protocol.split.val == 0 and settings.callbacks.checkpoint.monitor != LAST:
        yield (
            "callbacks.checkpoint.monitor must be last with protocol.val=0, which leaves no "
            f"validation split; got {settings.callbacks.checkpoint.monitor}"
        )
        return
    named = {**settings.monitors}
    if protocol.split.val != 0:
        named[protocol.select_on] = "protocol.select_on"
    by_split = {value.rpartition("/")[2]: (key, value) for value, key in named.items()}
    for split, (key, value) in by_split.items():
        if split not in protocol.splits:
            yield (
                f"{key} must name a split; got {value!r}. protocol={protocol.name} has "
                f"{', '.join(protocol.splits)}; protocol=holdout has train, val, test"
            )


def _wrong_schedule(settings: Config) -> Iterator[str]:
    schedule = settings.schedule
    if (schedule.monitor or "").endswith("/test"):
        yield (
            "schedule.monitor must not be of the test split, by which nothing may be trained; got "
            f"{schedule.monitor}"
        )
    if schedule.target_.endswith(".ReduceLROnPlateau"):
        if schedule.monitor is None:
            yield "schedule.monitor must be a score and a split, such as loss/train; got null"
        if schedule.interval == "step":
            yield "schedule.interval must be epoch, since the score is one of an epoch; got 'step'"


def _wrong_classifier(settings: Config) -> Iterator[str]:
    if settings.model.target_ == DETECTOR:
        yield f"model={settings.model.name} is a detector, which needs task=detection"
    for monitor, key in settings.monitors.items():
        if monitor.partition("/")[0] in BOX_SCORES:
            yield f"{key} must be a score of images, or task=detection; got {monitor}"


def _wrong_detection(settings: Config) -> Iterator[str]:
    if settings.model.target_ != DETECTOR:
        yield (
            f"model must be retinanet or maskrcnn with task=detection; got {settings.model.name}"
        )
    if "val" not in settings.protocol.splits:
        yield (
            "task=detection needs a validation split, on which the confidence of boxes is fixed: "
            f"protocol=holdout; got protocol={settings.protocol.name}"
        )
    is_warp = settings.augment["_target_"].endswith(".Warp")
    for is_wrong, rule in (
        (settings.loss, "loss must be null, since a detector has its own,"),
        (settings.init, "init must be null"),
        (settings.data.progressive, "data.progressive must be null"),
        (is_warp, "augment must be of albumentations, such as affine,"),
        (settings.decision != ARGMAX, "decision must be argmax"),
        (settings.views.mirror, "views.mirror must be false"),
        (settings.views.scales != [1], "views.scales must be [1]"),
    ):
        if is_wrong:
            yield f"{rule} with task=detection"
    for name, callback in settings.callbacks.others.items():
        if callback.target_.endswith(FINETUNE):
            yield f"callbacks.{name} must be left out with task=detection: ~callbacks.{name}"


OF_TASK = {"classification": _wrong_classifier, "detection": _wrong_detection}


def _missing_places(config: Mapping[str, Any], settings: Config) -> Iterator[str]:
    if settings.init and not run_folder.looks_like_run(pretrained.find(settings.init)):
        yield f"init must be a run folder or pretrained:NAME; got {settings.init}"
    source, weights = settings.data.source, config["model"].get("pretrained")
    target = source["_target_"]
    for name in ("root", "csv") if target.startswith("pneumo.") and target != AUTO else ():
        place = source.get(name)
        if isinstance(place, str) and not Path(place).expanduser().exists():
            way_out = WAYS_OUT.get(target, "")
            yield f"data.{name} must exist; got {place}: there is no such folder or file{way_out}"
    if (
        settings.model.is_own
        and isinstance(weights, str)
        and not Path(weights).expanduser().exists()
    ):
        yield f"model.pretrained must be true, false or a file of weights; there is no {weights}"


def _missing_packages(config: Mapping[str, Any], settings: Config) -> Iterator[str]:
    for monitor, key in settings.monitors.items():
        if monitor.startswith("map/") and not find_spec("pycocotools"):
            yield f"{key}={monitor} needs pycocotools: pip install 'pneumo[detection]'"
    if config["model"].get("library") == "timm" and not find_spec("timm"):
        yield "model.library=timm needs timm, which is not installed: pip install 'pneumo[timm]'"
    for key, target in _targets(config):
        top = target.partition(".")[0]
        package, install = NEEDED_BY.get(target, (top, top))
        if package != top and not find_spec(package):
            yield f"{key} needs {package}, which is not installed: pip install {install}"
        if not find_spec(top):
            yield f"{key}._target_ must be of an installed package; got {target}: no module {top}"


def _targets(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yields the key and the _target_ of each object of a configuration, its lists too."""
    for name, part in value.items() if isinstance(value, Mapping) else enumerate(value):
        if name == "_target_":
            yield key, str(part)
        elif isinstance(part, Mapping | list):
            yield from _targets(part, f"{key}.{name}".removeprefix("."))
