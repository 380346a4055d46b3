"""What the value of a setting must be, in the words of a message, with its check."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")
R = TypeVar("R", bound="Rule")


@dataclass(frozen=True)
class Rule:
    """The words after "must be", and whether a value is that.

    In an Annotated type it is all that a value is checked by: pydantic would take True for 1, and
    no folder whose name is not UTF-8.
    """

    says: str
    holds: Callable[[Any], bool]

    def check(self, value: Any) -> Any:
        """Returns ``value``, or raises what pydantic collects."""
        if not self.holds(value):
            raise PydanticCustomError("rule", "{says}", {"says": self.says})
        return value

    def __get_pydantic_core_schema__(self, of: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)


class SectionRule(Rule):
    """A rule of several settings, told where each of them keeps its own."""

    def check_parts(self, value: Any, parts: Callable[[Any], T]) -> T | None:
        """Returns what ``parts`` makes of ``value``, or raises what pydantic collects."""
        made = parts(value) if isinstance(value, Mapping) else None
        self.check(value)
        return made

    def __get_pydantic_core_schema__(self, of: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self.check_parts, handler(of))


def shown(value: Any) -> str:
    """Returns a value as one would write it in a setting, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if is_whole(value) and value.bit_length() > 200:  # Python refuses to write the longest
        return f"a whole number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether this is a whole number, which true and 1.0 are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether this is a number, which true is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(low: int, high: int | None = None) -> Rule:
    """A whole number from ``low``, to ``high`` where that is given."""
    if high is None:
        return Rule(f"a whole number, at least {low}", lambda v: is_whole(v) and v >= low)
    return Rule(f"a whole number from {low} to {high}", lambda v: is_whole(v) and low <= v <= high)


def between(low: float, high: float, *, open_: bool = False) -> Rule:
    """A number from ``low`` to ``high``; with ``open_`` without the two."""
    if open_:
        says = f"a number between {low:g} and {high:g}"
        return Rule(says, lambda v: is_number(v) and low < v < high)
    return Rule(f"a number from {low:g} to {high:g}", lambda v: is_number(v) and low <= v <= high)


def one_of(*choices: Any, why: str = "") -> Rule:
    """One of ``choices``, of its type: 1 is neither true nor 1.0; ``why`` is the reason for it."""
    text = ", ".join(choice if isinstance(choice, str) else shown(choice) for choice in choices)
    rule = Rule(
        text if len(choices) == 1 else f"one of {text}",
        lambda v: any(type(v) is type(choice) and v == choice for choice in choices),
    )
    return explained(rule, why) if why else rule


def optional(rule: Rule) -> Rule:
    """Null, or what ``rule`` says."""
    return Rule(f"null or {rule.says}", lambda v: v is None or rule.holds(v))


def explained(rule: R, why: str) -> R:
    """``rule`` with the reason for it, or the way out."""
    return replace(rule, says=f"{rule.says}, {why}")


def is_list(value: Any, rule: Rule, *counts: int) -> bool:
    """Whether this is a list of as many as one of ``counts``, of which each keeps a rule."""
    return isinstance(value, list) and len(value) in counts and all(map(rule.holds, value))
