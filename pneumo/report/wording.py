"""Numbers as text: decimals with a true minus sign, ranges, p values, sizes, durations."""

from collections.abc import Mapping
from math import isnan, sqrt
from typing import Any

MINUS, DASH, PLUS_MINUS = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{PLUS-MINUS SIGN}"


def decimal(value: float | None, *, digits: int = 3, sign: bool = False) -> str:
    """Returns a number with a true minus sign; a dash if it is NaN or None, as in metrics.json."""
    if value is None or isnan(value):
        return DASH
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    zero = not text.strip("+-0.")
    return (text.lstrip("+-") if zero else text).replace("-", MINUS)


def interval(low: float | None, high: float | None, *, unknown: str = DASH, **form: Any) -> str:
    """Returns a range such as "0.925 to 0.940", each end by `decimal`; ``unknown`` without one."""
    ends = [decimal(end, **form) for end in (low, high)]
    return unknown if DASH in ends else " to ".join(ends)


def score_cell(score: Mapping[str, float | None], *, unknown: str = "") -> tuple[str, str]:
    """Returns value, and low to high, of a score: the two lines of a cell of a table."""
    return decimal(score["value"]), interval(score["low"], score["high"], unknown=unknown)


def mean_and_error(mean: float, sd: float, n: int) -> str:
    """Returns a mean, and of several values its standard error, such as "0.0300 ± 0.0100"."""
    error = f" {PLUS_MINUS} {decimal(sd / sqrt(n), digits=4)}" if n > 1 else ""
    return decimal(mean, digits=4) + error


def p_value(p: float) -> str:
    """Returns a p value with three digits, "< 0.001" if it is smaller; a dash if it is NaN."""
    return "< 0.001" if p < 0.001 else decimal(p)


def count(value: float) -> str:
    """Returns a large number in short: 115,062; 83.3 M; 1.2 G."""
    if isnan(value):
        return DASH
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Returns seconds in short: 48 s, 5.2 min, 1.3 h."""
    if isnan(seconds):
        return DASH
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
