"""Templates of self-contained pages, shared by all packages with a page, and of Markdown."""

from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import (
    ChainableUndefined,
    ChoiceLoader,
    Environment,
    PackageLoader,
    StrictUndefined,
    Template,
)

from pneumo import cli
from pneumo.report import wording
from pneumo.report.table import escaped


class Markdown(str):
    """Text that is Markdown already, and not escaped."""

    __slots__ = ()


def page_template(name: str, *, package: str = "pneumo.report") -> Template:
    """Returns a package's template of a page; values are escaped as HTML.

    Args:
        name: of the file, which may include others of its package and of the report.
        package: that the file lies in.
    """
    return _environment(package, "pneumo.report", autoescape=True).get_template(name)


def markdown_template(name: str) -> Template:
    """Returns a template of Markdown; values are one line without markup.

    The filter ``table`` renders a Table; ``safe`` leaves a text as it is.
    """
    environment = _environment("pneumo.report", autoescape=False, finalize=_escaped)
    environment.filters["safe"] = Markdown
    return environment.get_template(name)


def text_template(name: str, *, finalize: Callable[[Any], Any] | None = None) -> Template:
    """Returns a template of plain text, in which missing values are "".

    ``finalize`` changes each value before it is inserted.
    """
    options = {"autoescape": False, "undefined": ChainableUndefined, "finalize": finalize}
    return _environment("pneumo.report", **options).get_template(name)


@cache
def _environment(*packages: str, **options: Any) -> Environment:
    environment = Environment(  # noqa: S701  (autoescape is an option: Markdown is not HTML)
        loader=ChoiceLoader([PackageLoader(package, "") for package in packages]),
        trim_blocks=True,
        lstrip_blocks=True,
        **{"undefined": StrictUndefined} | options,
    )
    environment.filters |= {
        "decimal": wording.decimal,
        "percent": lambda share: f"{100 * share:.0f} %",
        "count": lambda number: f"{number:,.0f}",
        "counted": cli.counted,
        "starting": lambda text: text[:1].upper() + text[1:],
        "table": lambda table: Markdown(table.markdown()),
    }
    return environment


def _escaped(value: Any) -> Any:
    return escaped(value) if isinstance(value, str) and not isinstance(value, Markdown) else value
