"""The numbers and words of a configuration, checked before anything slow is imported."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeGuard

Rule = tuple[str, Callable[[Any], bool]]


def at_least(low: int) -> Rule:
    """A whole number from ``low``."""
    return f"a whole number, at least {low}", lambda v: _whole(v) and v >= low


def between(low: float, high: float, *, open_: bool = False) -> Rule:
    """A number from ``low`` to ``high``; with ``open_`` without the two."""
    if open_:
        return f"a number between {low:g} and {high:g}", lambda v: _number(v) and low < v < high
    return f"a number from {low:g} to {high:g}", lambda v: _number(v) and low <= v <= high


def one_of(*choices: Any) -> Rule:
    """One of ``choices``."""
    return "one of " + ", ".join(map(str, choices)), lambda v: any(
        v is c or v == c for c in choices
    )


def optional(rule: Rule) -> Rule:
    """Null, or what ``rule`` says."""
    return f"null or {rule[0]}", lambda v: v is None or rule[1](v)


POSITIVE: Rule = ("a number above 0", lambda v: _number(v) and 0 < v < float("inf"))
NOT_NEGATIVE: Rule = ("a number, 0 or more", lambda v: _number(v) and 0 <= v < float("inf"))
YES_NO: Rule = ("true or false", lambda v: isinstance(v, bool))
PROBABILITY = between(0, 1)

RULES: dict[str, Rule] = {
    "seed": at_least(0),
    "num_threads": optional(at_least(1)),
    "model.f": at_least(1),
    "model.d": at_least(1),
    "model.c": at_least(1),
    "model.num_classes": one_of(2, 3),
    "model.batch_norm": YES_NO,
    "model.dense_dropout": ("a number from 0, below 1", lambda v: _number(v) and 0 <= v < 1),
    "model.level_dropout": (
        "five numbers from 0, below 1",
        lambda v: isinstance(v, list) and len(v) == 5 and all(_number(x) and 0 <= x < 1 for x in v),
    ),
    "model.micro_batch": at_least(0),
    "model.C": POSITIVE,
    "model.gamma": ("scale or a number above 0", lambda v: v == "scale" or POSITIVE[1](v)),
    "data.patient_key": one_of("person", "split_person", "series"),
    "data.on_unknown_name": one_of("error", "skip"),
    "data.image_size": (
        "a multiple of 32, at least 32",
        lambda v: _whole(v) and v >= 32 and v % 32 == 0,
    ),
    "data.aspect": one_of("stretch", "pad"),
    "data.batch_size": at_least(1),
    "data.num_workers": at_least(0),
    "data.resident": one_of("auto", True, False),
    "data.num_images": at_least(24),
    "data.seed": at_least(0),
    "protocol.k": at_least(2),
    "protocol.split.val": between(0, 1, open_=True),
    "protocol.split.fractions": (
        "positive shares that sum to 1",
        lambda v: (
            isinstance(v, dict)
            and all(_number(x) and x > 0 for x in v.values())
            and abs(sum(v.values()) - 1) < 1e-9
        ),
    ),
    "augment.rotation": between(0, 180),
    "augment.zoom": (
        "[low, high] with 0 < low <= high",
        lambda v: isinstance(v, list) and len(v) == 2 and all(map(_number, v)) and 0 < v[0] <= v[1],
    ),
    "augment.flip": PROBABILITY,
    "augment.fill": (
        "reflect or a grey value, a whole number from 0 to 255",
        lambda v: v == "reflect" or (_whole(v) and 0 <= v < 256),
    ),
    "optimizer.lr": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.eps": POSITIVE,
    "trainer.max_epochs": at_least(1),
    "trainer.val_check_interval": (
        "null or 1.0, since an epoch is scored at its end",
        lambda v: v is None or (isinstance(v, float) and v == 1.0),
    ),
    "trainer.num_nodes": one_of(1),
    "trainer.precision": one_of("32-true", "bf16-mixed", "16-mixed"),
    "trainer.devices": (
        "1, one process for each run (try several runs in a sweep instead)",
        lambda v: v == 1 or v == [0] or (isinstance(v, list) and len(v) == 1),
    ),
}


def check(config: Mapping[str, Any]) -> None:
    """Raises ValueError with every setting that breaks its rule, and the rule.

    Args:
        config: the composed configuration, plain and resolved.
    """
    broken = [
        f"{key} must be {rule}; got {value!r}"
        for key, (rule, holds) in RULES.items()
        for value in _find(config, key)
        if not holds(value)
    ]
    protocol = config.get("protocol") or {}
    fold, k = protocol.get("fold"), protocol.get("k", 0)
    if _whole(k) and k > 1 and not (_whole(fold) and 0 <= fold < k):
        broken.append(f"protocol.fold must be from 0 to {k - 1}; got {fold!r}")
    if broken:
        raise ValueError("\n".join(broken))


def nearest(word: str, choices: Iterable[str]) -> str:
    """Returns " Did you mean …?" with the choice most like ``word``, or nothing."""
    found = get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {found[0]}?" if found else ""


def keys(config: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """Returns all keys of a nested configuration, such as data.root."""
    found = []
    for name, value in config.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, Mapping):
            found += keys(value, prefix=f"{prefix}{name}.")
    return found


def _find(config: Mapping[str, Any], key: str) -> list[Any]:
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return []
        value = value[name]
    return [value]


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
