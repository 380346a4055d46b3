"""The settings of a run: each with its type and its rule.

A field without a default is what a run cannot do without. None stands for what is not there, also
where the rule has no null. What else is there has no rule: it may be of a class of the user's own.
"""

import os
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator, SkipValidation

from pneumo.evaluation.scores import MONITORED
from pneumo.training.rules import (
    Rule,
    SectionRule,
    between,
    explained,
    is_list,
    is_number,
    is_whole,
    one_of,
    optional,
    whole,
)

MAX_SEED = 10**14  # torch's seed has 64 bits, and is made of this and the epoch
MAX_THREADS = 1024  # where the system refuses one of many, torch crashes
SPLITS = ("train", "val", "test")
PROFILERS = ("simple", "advanced", "pytorch")  # Lightning's
BOX_SCORES = ("challenge", "map")  # those of MONITORED that only task=detection has
SCORES = tuple(name for name in MONITORED if name not in BOX_SCORES)  # of each split and epoch
LAST = "last"  # in place of a score: the last epoch is kept, nothing is selected
TASKS = ("classification", "detection")


def direction(monitor: str) -> str:
    """Returns "min" or "max": which value of a score such as loss/val is best."""
    score = MONITORED.get(monitor.partition("/")[0])
    return "max" if score is None or score.higher_is_better else "min"


def is_object(value: Any) -> bool:
    """Whether this names what Hydra is to call."""
    return isinstance(value, Mapping) and TARGET.holds(value.get("_target_"))


NUMBER = Rule("a number", is_number)
POSITIVE = Rule("a number above 0", lambda v: is_number(v) and 0 < v <= sys.float_info.max)
NOT_NEGATIVE = Rule("a number, 0 or more", lambda v: is_number(v) and 0 <= v <= sys.float_info.max)
YES_NO = Rule("true or false", lambda v: isinstance(v, bool))
BELOW_1 = Rule("a number from 0, below 1", lambda v: is_number(v) and 0 <= v < 1)
TWO_BELOW_1 = Rule("two numbers from 0, below 1", lambda v: is_list(v, BELOW_1, 2))
FIVE_BELOW_1 = Rule("five numbers from 0, below 1", lambda v: is_list(v, BELOW_1, 5))
TEXT = Rule("text", lambda v: isinstance(v, str) and "\0" not in v)
NAME = Rule(
    "a name of letters, digits and . _ -",
    lambda v: isinstance(v, str) and re.fullmatch(r"\w[\w.-]*", v) is not None,
)
FOLDER = Rule(
    "a folder, written in full where no home is known for its ~",
    # this one leaves an unknown ~ as it is, where Path.expanduser raises RuntimeError
    lambda v: TEXT.holds(v) and bool(v) and not os.path.expanduser(v).startswith("~"),  # noqa: PTH111
)
# Hydra makes it, a folder named ~ too
RUN_DIR = Rule("a folder, without ~", lambda v: FOLDER.holds(v) and not v.startswith("~"))
CACHE_DIR = explained(FOLDER, "or set PNEUMO_CACHE=DIR")
TARGET = Rule(
    "a dotted name that can be imported, such as torch.optim.Adamax",
    lambda v: isinstance(v, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", v) is not None,
)
OBJECT = SectionRule("settings with a _target_", is_object)
CALLBACK = explained(OBJECT, "or left out with ~callbacks.NAME")
LOGGER = explained(OBJECT, "several of them by name, null or false")
PATIENT_KEY = one_of("person", "split_person", "series")
PRETRAINED = Rule("true, false or a file of weights", lambda v: YES_NO.holds(v) or FOLDER.holds(v))
FRACTIONS = Rule(
    "positive shares of train, test and, if wanted, val that sum to 1",
    lambda v: (
        isinstance(v, Mapping)
        and {"train", "test"} <= set(v) <= set(SPLITS)
        and all(is_number(x) and 0 < x < 1 for x in v.values())
        and abs(sum(v.values()) - 1) < 1e-9
    ),
)
ZOOM = Rule(
    "[low, high] with 0.1 <= low <= high <= 10",
    lambda v: is_list(v, NUMBER, 2) and 0.1 <= v[0] <= v[1] <= 10,
)
FILL = Rule(
    "reflect or a grey value, a whole number from 0 to 255",
    lambda v: v == "reflect" or (is_whole(v) and 0 <= v < 256),
)
OPTIMIZER = Rule(
    f"{TARGET.says}; LBFGS is none, since it scores a batch several times in a step",
    lambda v: TARGET.holds(v) and not v.endswith(".LBFGS"),
)
MONITOR = Rule(
    f"a score and a split, such as f1_normal/val, with one of the scores {', '.join(SCORES)}, of "
    f"task=detection also {', '.join(BOX_SCORES)}",
    # that there is such a split is checked with the protocol
    lambda v: isinstance(v, str) and "/" in v and v.partition("/")[0] in (*SCORES, *BOX_SCORES),
)
CHOICE = Rule(f"{MONITOR.says}; or {LAST}", lambda v: v == LAST or MONITOR.holds(v))
RATE_MONITOR = Rule(
    f"{MONITOR.says}, not of the test split, by which nothing may be trained",
    lambda v: MONITOR.holds(v) and not v.endswith("/test"),
)
VERSION = Rule("null, text or a whole number", lambda v: v is None or TEXT.holds(v) or is_whole(v))
DEVICES = Rule(
    "1, one process for each run (try several runs in a sweep instead), or [N], GPU N",
    lambda v: (is_whole(v) and v == 1) or is_list(v, whole(0), 1),
)
BATCHES = Rule(
    "null, a whole number of batches from 1, or a share of them above 0, up to 1.0",
    lambda v: v is None or (is_whole(v) and v >= 1) or (isinstance(v, float) and 0 < v <= 1),
)
TAGS = Rule(
    "a list of names, such as [first,small]",
    lambda v: isinstance(v, list) and all(map(NAME.holds, v)),
)
ENSEMBLES = Rule(
    "names, each with a list of two or more different networks, such as {two: [tiny,small]}",
    lambda v: (
        isinstance(v, Mapping)
        and all(map(NAME.holds, v))
        and all(
            isinstance(one, list) and len(one) >= 2 and is_list(one, NAME, len(set(map(str, one))))
            for one in v.values()
        )
    ),
)
GAMMA = Rule("scale or a number above 0", lambda v: v == "scale" or POSITIVE.holds(v))
RATES = Rule(
    "a number above 0, or one for each of the optimizer's groups",
    lambda v: POSITIVE.holds(v) or (isinstance(v, list) and is_list(v, POSITIVE, len(v))),
)
WIDTHS = Rule(
    "a list of stages, each a list of channels from 1",
    lambda v: (
        isinstance(v, list)
        and 0 < len(v) < 8
        and all(is_list(stage, whole(1, 10**4), *range(1, 99)) for stage in v)
    ),
)
WIDTH = Rule(
    "a multiple of 32, from 64 to 1024, as group normalisation needs it",
    lambda v: is_whole(v) and 64 <= v <= 1024 and v % 32 == 0,
)
DECAY = Rule("a number above 0, up to 1", lambda v: is_number(v) and 0 < v <= 1)
MODULES = Rule(
    "a list of modules of the network, such as [features.0,features.1]",
    lambda v: isinstance(v, list) and is_list(v, TEXT, len(v)),
)
CLASS_WEIGHTS = Rule(
    "null, balanced or a list of 2 or 3 numbers above 0, one for each class",
    lambda v: v is None or v == "balanced" or is_list(v, POSITIVE, 2, 3),
)


class Section(BaseModel):
    """Some settings."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        defer_build=True,  # Config builds them all at once
        # pydantic takes no field that begins with _: _target_ is target_
        alias_generator=lambda name: f"_{name}" if name.endswith("_") else name,
    )


class Split(Section):
    """Takes patients apart."""

    partial_: Annotated[bool, one_of(True)]
    val: Annotated[float | None, between(0, 1, open_=True)] = None
    fractions: Annotated[dict[str, float] | None, FRACTIONS] = None


class Protocol(Section):
    """How patients are split, and on which split the epoch is chosen."""

    name: Annotated[str, NAME]
    patient_key: Annotated[str | None, PATIENT_KEY] = None
    select_on: Annotated[str, one_of("val", "test")]
    k: Annotated[int | None, whole(2, 1000)] = None
    fold: SkipValidation[int | None]  # _wrong_split knows which
    split: Annotated[Split, OBJECT]


class Source(Section):
    """Finds the images."""

    root: Annotated[str | None, FOLDER] = None
    csv: Annotated[str | None, optional(FOLDER)] = None
    licence: Annotated[str | None, TEXT] = None
    cache_dir: Annotated[str | None, CACHE_DIR] = None


class Data(Section):
    """Which images there are, and how they are read."""

    root: Annotated[str | None, FOLDER] = None
    csv: Annotated[str | None, optional(FOLDER)] = None
    licence: Annotated[str | None, TEXT] = None
    num_images: Annotated[int | None, whole(24, 10**6)] = None
    seed: Annotated[int | None, whole(0, MAX_SEED)] = None
    patient_key: Annotated[str, PATIENT_KEY]
    on_unknown_name: Annotated[str, one_of("error", "skip")]
    image_size: Annotated[int, whole(32, 4096)]  # settings knows what the paper's network takes
    aspect: Annotated[str, one_of("stretch", "pad")]
    batch_size: Annotated[int, whole(1, 10**6)]
    num_workers: Annotated[int, whole(0, 512)]
    cache_dir: Annotated[str, CACHE_DIR]
    source: Annotated[Source, OBJECT]


class Model(Section):
    """A network or a baseline."""

    target_: Annotated[str, TARGET]
    name: Annotated[str, NAME]
    num_classes: Annotated[int | None, one_of(2, 3)] = None


class OwnModel(Model):
    """One of this package; those of others may mean something else by a name."""

    convert_: Annotated[str | None, one_of("all")] = None
    f: Annotated[int | None, whole(1, 10**6)] = None
    d: Annotated[int | None, whole(1, 10**6)] = None
    c: Annotated[int | None, whole(1, 10**6)] = None
    batch_norm: Annotated[bool | None, YES_NO] = None
    dense_dropout: Annotated[float | None, BELOW_1] = None
    level_dropout: Annotated[list[float] | None, FIVE_BELOW_1] = None
    stem: Annotated[int | None, whole(1, 10**4)] = None
    widths: Annotated[list[list[int]] | None, WIDTHS] = None
    dropout: Annotated[float | None, BELOW_1] = None
    per_image: Annotated[bool | None, YES_NO] = None
    library: Annotated[str | None, one_of("torchvision", "timm", "efficientnet_lite")] = None
    architecture: Annotated[str | None, NAME] = None
    pretrained: Annotated[bool | str | None, PRETRAINED] = None
    backbone: Annotated[str | None, NAME] = None
    width: Annotated[int | None, WIDTH] = None
    C: Annotated[float | None, POSITIVE] = None
    gamma: Annotated[float | str | None, GAMMA] = None


class ViewSettings(Section):
    """What scores are the mean over, see pneumo.models.views."""

    mirror: Annotated[bool, YES_NO]


class Augment(Section):
    """What training images are drawn anew by."""

    target_: Annotated[str, TARGET]
    convert_: Annotated[str | None, one_of("all")] = None
    rotation: Annotated[float | None, between(0, 180)] = None
    zoom: Annotated[list[float] | None, ZOOM] = None
    flip: Annotated[float | None, between(0, 1)] = None
    fill: Annotated[int | str | None, FILL] = None


class Loss(Section):
    """What training makes smaller."""

    target_: Annotated[str | None, TARGET] = None
    label_smoothing: Annotated[float | None, BELOW_1] = None
    class_weights: Annotated[list[float] | str | None, CLASS_WEIGHTS] = None
    gamma: Annotated[float | None, NOT_NEGATIVE] = None


class Optimizer(Section):
    """Changes the weights."""

    target_: Annotated[str, OPTIMIZER]
    partial_: Annotated[bool, one_of(True)]
    lr: Annotated[float, POSITIVE]
    betas: Annotated[list[float] | None, TWO_BELOW_1] = None
    weight_decay: Annotated[float | None, NOT_NEGATIVE] = None
    momentum: Annotated[float | None, NOT_NEGATIVE] = None
    eps: Annotated[float | None, POSITIVE] = None


class Schedule(Section):
    """Changes the learning rate."""

    target_: Annotated[str, TARGET]
    partial_: Annotated[bool, one_of(True)]
    T_max: Annotated[int | None, whole(1, 10**6)] = None
    factor: Annotated[float | None, between(0, 1)] = None
    total_iters: Annotated[int | None, whole(0, 10**6)] = None
    interval: Annotated[str | None, one_of("epoch", "step")] = None
    max_lr: Annotated[float | list[float] | None, RATES] = None
    pct_start: Annotated[float | None, between(0, 1, open_=True)] = None
    total_steps: Annotated[int | None, optional(whole(1))] = None
    monitor: Annotated[str | None, RATE_MONITOR] = None
    mode: Annotated[str | None, one_of("max", "min")] = None
    patience: Annotated[int | None, whole(0)] = None


class Callback(Section):
    """What Lightning calls in the course of a run."""

    monitor: Annotated[str | None, optional(MONITOR)] = None
    mode: Annotated[str | None, one_of("max", "min")] = None


class Checkpoint(Callback):
    """Keeps the weights."""

    monitor: Annotated[str, CHOICE]


class Lines(Callback):
    """Logs one line per epoch."""

    monitor: Annotated[str | None, CHOICE] = None


class Finetune(Callback):
    """What of a pretrained network is trained when."""

    head_epochs: Annotated[int | None, whole(0)] = None
    layer_decay: Annotated[float | None, DECAY] = None
    frozen: Annotated[list[str] | None, MODULES] = None


class Callbacks(Section):
    """By name."""

    __pydantic_extra__: dict[str, Annotated[Callback, CALLBACK]]
    checkpoint: Annotated[Checkpoint, OBJECT]
    lines: Annotated[Lines | None, CALLBACK] = None
    finetune: Annotated[Finetune | None, CALLBACK] = None


class Logger(Section):
    """Keeps the scores of each epoch."""

    save_dir: Annotated[str | None, RUN_DIR] = None
    name: Annotated[str | None, optional(TEXT)] = None
    version: Annotated[str | int | None, VERSION] = None
    default_hp_metric: Annotated[bool | None, YES_NO] = None


class Loggers(Section):
    """By name."""

    __pydantic_extra__: dict[str, Annotated[Logger, OBJECT]]


ONE_PROCESS = one_of("auto", why="one process for each run")
NO_DEV_RUN = one_of(
    None, False, why="since it leaves no checkpoint to score; trainer=one_batch is as short"
)
NO_STEPS = one_of(-1, why="since a run ends after trainer.max_epochs")
CHECKPOINTS = one_of(None, True, why="since a run keeps its weights")
EACH_EPOCH = one_of(None, 1, why="since the best epoch is chosen by the scores of each")
NO_TEST_LIMIT = one_of(
    None, why="since the test split is scored with the validation split: limit_val_batches"
)
AT_THE_END = Rule("null or 1.0, since an epoch is scored at its end", one_of(None, 1.0).holds)
NO_SANITY = one_of(0, why="since only whole epochs are scored")
NO_RELOAD = one_of(0, why="since the images of all epochs are the same")


class Trainer(Section):
    """Lightning's."""

    target_: Annotated[str, one_of("pytorch_lightning.Trainer")]
    convert_: Annotated[str | None, one_of("all")] = None
    accelerator: Annotated[str, one_of("auto", "cpu", "gpu", "cuda", "mps")]
    devices: Annotated[int | list[int] | None, DEVICES] = None
    num_nodes: Annotated[int | None, one_of(1)] = None
    strategy: Annotated[str | None, ONE_PROCESS] = None
    precision: Annotated[str | None, one_of("32-true", "bf16-mixed", "16-mixed")] = None
    callbacks: Any  # _wrong_lists knows which, and which logger
    logger: Any = None
    max_epochs: Annotated[int, whole(1, 10**6)]
    min_epochs: Annotated[int | None, optional(whole(0))] = None
    max_steps: Annotated[int | None, NO_STEPS] = None
    min_steps: Annotated[int | None, optional(whole(0))] = None
    limit_train_batches: Annotated[int | float | None, BATCHES] = None
    limit_val_batches: Annotated[int | float | None, BATCHES] = None
    limit_test_batches: Annotated[None, NO_TEST_LIMIT] = None
    overfit_batches: Annotated[int | None, optional(whole(1))] = None
    fast_dev_run: Annotated[bool | None, NO_DEV_RUN] = None
    barebones: Annotated[bool | None, one_of(False, why="since it leaves no checkpoint")] = None
    enable_checkpointing: Annotated[bool | None, CHECKPOINTS] = None
    check_val_every_n_epoch: Annotated[int | None, EACH_EPOCH] = None
    val_check_interval: Annotated[float | None, AT_THE_END] = None
    num_sanity_val_steps: Annotated[int | None, NO_SANITY] = None
    log_every_n_steps: Annotated[int | None, optional(whole(0))] = None
    enable_progress_bar: Annotated[bool | None, optional(YES_NO)] = None
    enable_model_summary: Annotated[bool | None, optional(YES_NO)] = None
    profiler: Annotated[str | None, one_of(None, *PROFILERS)] = None
    accumulate_grad_batches: Annotated[int | None, optional(whole(1))] = None
    gradient_clip_val: Annotated[float | None, optional(POSITIVE)] = None
    gradient_clip_algorithm: Annotated[str | None, one_of(None, "norm", "value")] = None
    deterministic: Annotated[bool | str | None, one_of(None, True, False, "warn")] = None
    benchmark: Annotated[bool | None, optional(YES_NO)] = None
    inference_mode: Annotated[bool | None, YES_NO] = None
    detect_anomaly: Annotated[bool | None, YES_NO] = None
    sync_batchnorm: Annotated[bool | None, YES_NO] = None
    use_distributed_sampler: Annotated[bool | None, YES_NO] = None
    reload_dataloaders_every_n_epochs: Annotated[int | None, NO_RELOAD] = None
    default_root_dir: Annotated[str | None, optional(FOLDER)] = None


def is_own(model: Any) -> bool:
    """Whether this is a network or a baseline of this package."""
    target = model.get("_target_", "pneumo.") if isinstance(model, Mapping) else "pneumo."
    return str(target).startswith("pneumo.")


def _model(value: Any) -> Model:
    return (OwnModel if is_own(value) else Model).model_validate(value)


def _logger(value: Any) -> Logger | Loggers | None:
    if value is None or value is False:
        return None
    named = isinstance(value, Mapping) and "_target_" not in value
    if named and (not value or any(isinstance(one, Mapping) for one in value.values())):
        return Loggers.model_validate(value)
    return LOGGER.check_parts(value, Logger.model_validate)


class Config(Section):
    """All settings of a run, those that others follow before them: only the first is told of."""

    model_config = ConfigDict(defer_build=False)

    task: Annotated[str | None, one_of(*TASKS)] = None
    seed: Annotated[int, whole(0, MAX_SEED)]
    num_threads: Annotated[int | None, optional(whole(1, MAX_THREADS))]
    run_dir: Annotated[str, RUN_DIR]
    tags: Annotated[list[str] | None, TAGS] = None
    ensembles: Annotated[dict[str, list[str]] | None, optional(ENSEMBLES)] = None
    protocol: Protocol
    data: Data
    model: Annotated[Model, PlainValidator(_model)]
    views: ViewSettings
    augment: Augment
    loss: Loss | None = None
    optimizer: Optimizer
    trainer: Trainer
    schedule: Schedule
    callbacks: Callbacks
    logger: Annotated[Logger | Loggers | None, PlainValidator(_logger)] = None
