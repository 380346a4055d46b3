"""Templates of self-contained pages, shared by all packages with a page, and of Markdown."""

import base64
import io
from functools import cache
from typing import Any

from jinja2 import ChainableUndefined, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from PIL import Image

from pneumo import cli
from pneumo.report import wording
from pneumo.report.table import escaped


class Markdown(str):
    """Text that is Markdown already, and not escaped."""

    __slots__ = ()


def render_page(name: str, /, *, package: str = "pneumo.report", **values: Any) -> str:
    """Returns a page by a package's template, which may include others of it and of the report.

    Values are escaped as HTML.
    """
    environment = _environment(package, "pneumo.report", autoescape=True)
    return environment.get_template(name).render(values)


def data_uri(picture: Image.Image) -> str:
    """Returns a picture as the data URI of a JPEG, for a page."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def render_markdown(name: str, /, **values: Any) -> str:
    """Returns Markdown, with at most one empty line in a row; values are one line without markup.

    The filter ``table`` renders a Table; ``safe`` leaves a text as it is.
    """
    environment = _environment("pneumo.report", finalize=_escaped)
    environment.filters["safe"] = Markdown
    lines: list[str] = []
    for line in environment.get_template(name).render(values).splitlines():
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    return "\n".join(lines).rstrip() + "\n"


def render_text(name: str, /, **values: Any) -> list[str]:
    """Returns the lines of plain text that are not empty; each value is one line, "" if missing."""
    options = {"undefined": ChainableUndefined, "finalize": _one_line}
    text = _environment("pneumo.report", **options).get_template(name).render(values)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


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
        "interval": wording.interval,
        "percent": lambda share: f"{100 * share:.0f} %",
        "count": lambda number: f"{number:,.0f}",
        "counted": cli.counted,
        "starting": lambda text: text[:1].upper() + text[1:],
        "table": lambda table: Markdown(table.markdown()),
    }
    return environment


def _one_line(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else value


def _escaped(value: Any) -> Any:
    return escaped(value) if isinstance(value, str) and not isinstance(value, Markdown) else value
