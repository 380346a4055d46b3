"""The numbers and words of a configuration, checked before anything slow is imported."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, TypeGuard

Rule = tuple[str, Callable[[Any], bool]]

MAX_SEED = 10**14  # torch's seed has 64 bits, and is made of this and the epoch
MAX_THREADS = 1024  # where the system refuses one of many, torch crashes
MAX_WEIGHTS = 10**9  # of a network; 4 GB, and as much again for each moment of the optimizer
SPLITS = ("train", "val", "test")
SCORES = (  # of each split after each epoch, named as pneumo.training.task does
    "f1_normal",
    "f1_pneumonia",
    "precision_normal",
    "precision_pneumonia",
    "recall_normal",
    "recall_pneumonia",
    "accuracy",
    "auroc",
    "average_precision",
    "loss",
)


def shown(value: Any) -> str:
    """Returns a value as one would write it in a setting, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if _whole(value) and value.bit_length() > 200:  # Python refuses to write the longest
        return f"a whole number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(low: int, high: int | None = None) -> Rule:
    """A whole number from ``low``, to ``high`` where that is given."""
    if high is None:
        return f"a whole number, at least {low}", lambda v: _whole(v) and v >= low
    return f"a whole number from {low} to {high}", lambda v: _whole(v) and low <= v <= high


def between(low: float, high: float, *, open_: bool = False) -> Rule:
    """A number from ``low`` to ``high``; with ``open_`` without the two."""
    if open_:
        return f"a number between {low:g} and {high:g}", lambda v: _number(v) and low < v < high
    return f"a number from {low:g} to {high:g}", lambda v: _number(v) and low <= v <= high


def one_of(*choices: Any) -> Rule:
    """One of ``choices``, of its type: 1 is neither true nor 1.0."""
    text = ", ".join(choice if isinstance(choice, str) else shown(choice) for choice in choices)
    rule = text if len(choices) == 1 else f"one of {text}"
    return rule, lambda v: any(type(v) is type(choice) and v == choice for choice in choices)


def optional(rule: Rule) -> Rule:
    """Null, or what ``rule`` says."""
    return f"null or {rule[0]}", lambda v: v is None or rule[1](v)


def explained(rule: Rule, why: str) -> Rule:
    """``rule`` with the reason for it, or the way out."""
    return f"{rule[0]}, {why}", rule[1]


def _is_version(value: Any) -> bool:
    return value is None or TEXT[1](value) or _whole(value)


POSITIVE: Rule = ("a number above 0", lambda v: _number(v) and 0 < v <= sys.float_info.max)
NOT_NEGATIVE: Rule = ("a number, 0 or more", lambda v: _number(v) and 0 <= v <= sys.float_info.max)
YES_NO: Rule = ("true or false", lambda v: isinstance(v, bool))
PROBABILITY = between(0, 1)
BELOW_1: Rule = ("a number from 0, below 1", lambda v: _number(v) and 0 <= v < 1)
TEXT: Rule = ("text", lambda v: isinstance(v, str) and "\0" not in v)
NAME: Rule = (
    "a name of letters, digits and . _ -",
    lambda v: isinstance(v, str) and re.fullmatch(r"\w[\w.-]*", v) is not None,
)
FOLDER: Rule = (
    "a folder, written in full where no home is known for its ~",
    # this one leaves an unknown ~ as it is, where Path.expanduser raises RuntimeError
    lambda v: TEXT[1](v) and bool(v) and not os.path.expanduser(v).startswith("~"),  # noqa: PTH111
)
# Hydra makes it, a folder named ~ too
RUN_DIR: Rule = ("a folder, without ~", lambda v: FOLDER[1](v) and not v.startswith("~"))
CACHE_DIR = explained(FOLDER, "or set PNEUMO_CACHE=DIR")
TARGET: Rule = (
    "a dotted name that can be imported, such as torch.optim.Adamax",
    lambda v: isinstance(v, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", v) is not None,
)
OBJECT: Rule = (
    "settings with a _target_",
    lambda v: isinstance(v, Mapping) and TARGET[1](v.get("_target_")),
)
BATCHES: Rule = (
    "null, a whole number of batches from 1, or a share of them above 0, up to 1.0",
    lambda v: v is None or (_whole(v) and v >= 1) or (isinstance(v, float) and 0 < v <= 1),
)
MONITOR: Rule = (
    f"a score and a split, such as f1_normal/val, with one of the scores {', '.join(SCORES)}",
    # that there is such a split is checked with the protocol
    lambda v: isinstance(v, str) and "/" in v and v.partition("/")[0] in SCORES,
)

# A * stands for any name. What is not there is not checked.
RULES: dict[str, Rule] = {
    "seed": whole(0, MAX_SEED),
    "num_threads": optional(whole(1, MAX_THREADS)),
    "run_dir": RUN_DIR,
    "model._target_": TARGET,
    "model.name": NAME,
    "model.num_classes": one_of(2, 3),
    "data.source": OBJECT,
    "data.root": FOLDER,
    "data.csv": optional(FOLDER),
    "data.source.csv": optional(FOLDER),
    "data.licence": TEXT,
    "data.source.licence": TEXT,
    "data.source.root": FOLDER,
    "data.cache_dir": CACHE_DIR,
    "data.source.cache_dir": CACHE_DIR,
    "data.patient_key": one_of("person", "split_person", "series"),
    "data.on_unknown_name": one_of("error", "skip"),
    "data.image_size": (
        "a multiple of 32, from 32 to 4096",
        lambda v: _whole(v) and 32 <= v <= 4096 and v % 32 == 0,
    ),
    "data.aspect": one_of("stretch", "pad"),
    "data.batch_size": whole(1, 10**6),
    "data.num_workers": whole(0, 512),
    "data.resident": one_of("auto", True, False),
    "data.num_images": whole(24, 10**6),
    "data.seed": whole(0, MAX_SEED),
    "protocol.name": NAME,
    "protocol.patient_key": one_of("person", "split_person", "series"),
    "protocol.select_on": one_of("val", "test"),
    "protocol.k": whole(2, 1000),
    "protocol.split": OBJECT,
    "protocol.split._partial_": one_of(True),
    "protocol.split.val": between(0, 1, open_=True),
    "protocol.split.fractions": (
        "positive shares of train, test and, if wanted, val that sum to 1",
        lambda v: (
            isinstance(v, Mapping)
            and {"train", "test"} <= set(v) <= set(SPLITS)
            and all(_number(x) and 0 < x < 1 for x in v.values())
            and abs(sum(v.values()) - 1) < 1e-9
        ),
    ),
    "augment._target_": TARGET,
    "augment._convert_": one_of("all"),
    "augment.rotation": between(0, 180),
    "augment.zoom": (
        "[low, high] with 0.1 <= low <= high <= 10",
        lambda v: (
            isinstance(v, list)
            and len(v) == 2
            and all(map(_number, v))
            and 0.1 <= v[0] <= v[1] <= 10
        ),
    ),
    "augment.flip": PROBABILITY,
    "augment.fill": (
        "reflect or a grey value, a whole number from 0 to 255",
        lambda v: v == "reflect" or (_whole(v) and 0 <= v < 256),
    ),
    "optimizer._target_": (
        f"{TARGET[0]}; LBFGS is none, since it scores a batch several times in a step",
        lambda v: TARGET[1](v) and not v.endswith(".LBFGS"),
    ),
    "optimizer._partial_": one_of(True),
    "optimizer.lr": POSITIVE,
    "optimizer.betas": (
        "two numbers from 0, below 1",
        lambda v: isinstance(v, list) and len(v) == 2 and all(map(BELOW_1[1], v)),
    ),
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.momentum": NOT_NEGATIVE,
    "optimizer.eps": POSITIVE,
    "schedule._target_": (
        "a dotted name that can be imported, such as torch.optim.lr_scheduler.StepLR; "
        "ReduceLROnPlateau is none, since a resumed run could not repeat it",
        lambda v: TARGET[1](v) and not v.endswith(".ReduceLROnPlateau"),
    ),
    "schedule._partial_": one_of(True),
    "schedule.T_max": whole(1, 10**6),
    "schedule.factor": PROBABILITY,
    "schedule.total_iters": whole(0, 10**6),
    "callbacks.*": explained(OBJECT, "or left out with ~callbacks.NAME"),
    "callbacks.checkpoint.monitor": MONITOR,
    "callbacks.lines.monitor": MONITOR,
    "callbacks.*.monitor": optional(MONITOR),
    "callbacks.*.mode": one_of("max", "min"),
    "logger": OBJECT,
    "logger.save_dir": RUN_DIR,
    "logger.name": optional(TEXT),
    "logger.version": ("null, text or a whole number", _is_version),
    "logger.default_hp_metric": YES_NO,
    "trainer._target_": one_of("pytorch_lightning.Trainer"),
    "trainer._convert_": one_of("all"),
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.devices": (
        "1, one process for each run (try several runs in a sweep instead), or [N], GPU N",
        lambda v: (
            (_whole(v) and v == 1)
            or (isinstance(v, list) and len(v) == 1 and _whole(v[0]) and v[0] >= 0)
        ),
    ),
    "trainer.num_nodes": one_of(1),
    "trainer.strategy": explained(one_of("auto"), "one process for each run"),
    "trainer.precision": one_of("32-true", "bf16-mixed", "16-mixed"),
    "trainer.max_epochs": whole(1, 10**6),
    "trainer.min_epochs": optional(whole(0)),
    "trainer.max_steps": explained(one_of(-1), "since a run ends after trainer.max_epochs"),
    "trainer.min_steps": optional(whole(0)),
    "trainer.limit_train_batches": BATCHES,
    "trainer.limit_val_batches": BATCHES,
    "trainer.overfit_batches": explained(
        one_of(0, 0.0), "since scores of train images say nothing; trainer=debug is a short run"
    ),
    "trainer.fast_dev_run": explained(
        one_of(False), "since it writes no log; trainer=debug is a short run"
    ),
    "trainer.barebones": explained(one_of(False), "since it leaves no checkpoint"),
    "trainer.enable_checkpointing": explained(one_of(None, True), "since a run keeps its weights"),
    "trainer.check_val_every_n_epoch": explained(one_of(1), "since each epoch is scored"),
    "trainer.val_check_interval": (
        "null or 1.0, since an epoch is scored at its end",
        lambda v: v is None or (isinstance(v, float) and v == 1.0),
    ),
    "trainer.num_sanity_val_steps": explained(one_of(0), "since only whole epochs are scored"),
    "trainer.log_every_n_steps": optional(whole(0)),
    "trainer.enable_progress_bar": optional(YES_NO),
    "trainer.enable_model_summary": optional(YES_NO),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.gradient_clip_val": optional(NOT_NEGATIVE),
    "trainer.gradient_clip_algorithm": one_of(None, "norm", "value"),
    "trainer.deterministic": one_of(None, True, False, "warn"),
    "trainer.benchmark": optional(YES_NO),
    "trainer.inference_mode": YES_NO,
    "trainer.detect_anomaly": YES_NO,
    "trainer.sync_batchnorm": YES_NO,
    "trainer.use_distributed_sampler": YES_NO,
    "trainer.reload_dataloaders_every_n_epochs": explained(
        one_of(0), "since the images of all epochs are the same"
    ),
    "trainer.default_root_dir": optional(FOLDER),
}

# Of this package's networks and baselines; those of others may mean something else by a name
OWN_MODEL_RULES: dict[str, Rule] = {
    "model._convert_": one_of("all"),
    "model.f": whole(1, 10**6),
    "model.d": whole(1, 10**6),
    "model.c": whole(1, 10**6),
    "model.batch_norm": YES_NO,
    "model.dense_dropout": BELOW_1,
    "model.level_dropout": (
        "five numbers from 0, below 1",
        lambda v: isinstance(v, list) and len(v) == 5 and all(map(BELOW_1[1], v)),
    ),
    "model.micro_batch": whole(0, 10**6),
    "model.C": POSITIVE,
    "model.gamma": ("scale or a number above 0", lambda v: v == "scale" or POSITIVE[1](v)),
}

# What a run cannot do without; what ~KEY may leave out is not among it
NEEDED = (
    "seed",
    "num_threads",
    "run_dir",
    "model._target_",
    "model.name",
    "data.source",
    "data.cache_dir",
    "data.patient_key",
    "data.on_unknown_name",
    "data.image_size",
    "data.aspect",
    "data.batch_size",
    "data.num_workers",
    "protocol.name",
    "protocol.select_on",
    "protocol.fold",
    "protocol.split",
    "protocol.split._partial_",
    "augment._target_",
    "augment.rotation",
    "augment.zoom",
    "augment.flip",
    "optimizer._target_",
    "optimizer._partial_",
    "optimizer.lr",
    "schedule._target_",
    "schedule._partial_",
    "callbacks.checkpoint.monitor",
    "trainer._target_",
    "trainer.accelerator",
    "trainer.callbacks",
    "trainer.max_epochs",
)

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


def check_run(config: Mapping[str, Any]) -> None:
    """Raises ValueError as check does, also with what is missing for a run."""
    lacking = dict.fromkeys(place for key in NEEDED for place in _missing(config, key))
    if lacking:
        raise ValueError(
            "\n".join(
                f"{key} must be set; leave out what takes it away (~{key})" for key in lacking
            )
        )
    check(config)


def _missing(config: Mapping[str, Any], key: str) -> list[str]:
    """Returns the first part of a dotted key that is not there, or holds no settings, if any."""
    parts = key.split(".")
    for end in range(1, len(parts) + 1):
        place = ".".join(parts[:end])
        found = [value for _, value in _find(config, place)]
        if not found or (place != key and not isinstance(found[0], Mapping)):
            return [place]
    return []


def check(config: Mapping[str, Any]) -> None:
    """Raises ValueError with every setting that breaks its rule, and the rule; a line for each.

    Args:
        config: the composed configuration, plain and resolved, or some of it.
    """
    rules = RULES | OWN_MODEL_RULES if _is_own(config) else RULES
    broken: dict[str, str] = {}
    for pattern, (rule, holds) in rules.items():
        for key, value in _find(config, pattern):
            if not holds(value):  # what follows another setting breaks the rule with it
                broken.setdefault(f"must be {rule}; got {shown(value)}", key)
    lines = [f"{key} {what}" for what, key in broken.items()]
    lines = lines or [*_not_following(config), *_wrong_split(config), *_wrong_lists(config)]
    lines = lines or [*_too_large(config)]
    if lines:
        raise ValueError("\n".join(lines))


def _is_own(config: Mapping[str, Any]) -> bool:
    return str((config.get("model") or {}).get("_target_", "pneumo.")).startswith("pneumo.")


def _not_following(config: Mapping[str, Any]) -> Iterator[str]:
    for key, leader in FOLLOWS.items():
        if key.startswith("model.") and not _is_own(config):
            continue
        for (_, value), (_, wanted) in zip(_find(config, key), _find(config, leader), strict=False):
            if value != wanted:
                yield f"{key} must be {leader}, {shown(wanted)}; got {shown(value)}. Set {leader}"


def _wrong_split(config: Mapping[str, Any]) -> Iterator[str]:
    """What names a fold or a split that the protocol does not have."""
    protocol = config.get("protocol") or {}
    fold, k = protocol.get("fold"), protocol.get("k", 0)
    if not k and fold is not None:
        yield f"protocol.fold must be null but for protocol=kfold; got {shown(fold)}"
    if k and not (_whole(fold) and 0 <= fold < k):
        yield f"protocol.fold must be from 0 to {k - 1}; got {shown(fold)}"
    splits = list((protocol.get("split") or {}).get("fractions") or SPLITS)
    named = [*_find(config, "protocol.select_on"), *_find(config, "callbacks.*.monitor")]
    wrong: dict[Any, str] = {}
    for key, value in named:
        if value is not None and value.rpartition("/")[2] not in splits:
            wrong.setdefault(value.rpartition("/")[2], f"{key} must name a split; got {value!r}")
    for message in wrong.values():
        yield (
            f"{message}. protocol={protocol.get('name')} has {', '.join(splits)}; protocol=holdout "
            f"has {', '.join(SPLITS)}"
        )


def _wrong_lists(config: Mapping[str, Any]) -> Iterator[str]:
    """What the trainer does not get, though callbacks and logger are as they should be."""
    for _, listed in _find(config, "trainer.callbacks"):
        if not isinstance(listed, list) or not all(map(OBJECT[1], listed)):
            yield f"trainer.callbacks must be a list of {OBJECT[0]}; got {shown(listed)}"
        elif not any(one in listed for _, one in _find(config, "callbacks.checkpoint")):
            yield "trainer.callbacks must hold callbacks.checkpoint, which keeps the weights"
    for _, logger in _find(config, "trainer.logger"):
        if logger is not False and not OBJECT[1](logger):
            yield f"trainer.logger must be {OBJECT[0]}, or false; got {shown(logger)}"


def _too_large(config: Mapping[str, Any]) -> Iterator[str]:
    """The paper's network where its weights would not fit into memory."""
    model = config.get("model") or {}
    if not _is_own(config) or not {"f", "d", "c"} <= set(model):
        return
    filters = [1, *(model["f"] * 2 ** min(level / model["d"], 4) for level in range(5))]
    weights = sum(9 * (a * b + b * b) for a, b in pairwise(filters))
    weights += filters[-1] * (model.get("image_size", 256) / 32) ** 2 * model["c"]
    if weights > MAX_WEIGHTS:
        yield (
            f"model.f, model.d, model.c and data.image_size must give at most {MAX_WEIGHTS:,} "
            f"weights; these give {weights:,.0f}. A larger d or a smaller f, c or image_size helps"
        )


def nearest(word: str, choices: Iterable[str]) -> str:
    """Returns " Did you mean …?" with the choice most like ``word``, or nothing.

    Also where only the last part of a dotted choice is like that of ``word``: lr is optimizer.lr.
    """

    def alike(choice: str) -> tuple[float, float]:
        whole_word = SequenceMatcher(None, word, choice).ratio()
        last = SequenceMatcher(None, word.rpartition(".")[2], choice.rpartition(".")[2]).ratio()
        return max(whole_word, last if last > 0.7 else 0), whole_word

    best = max(choices, key=alike, default="")
    return f" Did you mean {best}?" if best and alike(best)[0] >= 0.5 else ""


def keys(config: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """Returns all keys of a nested configuration, such as data.root."""
    found = []
    for name, value in config.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, Mapping):
            found += keys(value, prefix=f"{prefix}{name}.")
    return found


def _find(config: Mapping[str, Any], pattern: str) -> Iterator[tuple[str, Any]]:
    """Yields each key that ``pattern`` stands for, and its value."""
    first, _, rest = pattern.partition(".")
    for name in config if first == "*" else [first] if first in config else []:
        if not rest:
            yield name, config[name]
        elif isinstance(config[name], Mapping):
            yield from ((f"{name}.{key}", value) for key, value in _find(config[name], rest))
