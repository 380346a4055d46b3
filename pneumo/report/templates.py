"""Templates of self-contained pages, shared by all packages with a page, and of Markdown."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

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
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(each, "") for each in (package, "pneumo.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def markdown_template(name: str) -> Template:
    """Returns a template of the report's Markdown; values are one line without markup.

    The filter ``table`` renders a Table, ``safe`` leaves a text as it is.
    """
    environment = Environment(
        loader=PackageLoader("pneumo.report", ""),
        autoescape=False,  # noqa: S701  (Markdown, not HTML)
        finalize=_escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"table": lambda table: Markdown(table.markdown()), "safe": Markdown}
    return environment.get_template(name)


def _escaped(value: Any) -> Any:
    return escaped(value) if isinstance(value, str) and not isinstance(value, Markdown) else value
