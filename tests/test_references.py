"""Every dotted name and every link in docstrings, comments, pages and settings exists."""

import pkgutil
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

NAME = re.compile(r"(?<![\w./-])pneumo(?:\.[A-Za-z_]\w*)+")
PAGES = ("docs/**/*.md", "*.md")
FILES = ("pneumo/**/*.py", "benchmarks/*.py", "conf/**/*.yaml", *PAGES)
PLACEHOLDERS = {"pneumo.COMMAND", "pneumo.VERB"}
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_dotted_names_resolve() -> None:
    names: dict[str, str] = {}
    for pattern in FILES:
        for path in ROOT.glob(pattern):
            matches = NAME.findall(path.read_text(encoding="utf-8"))
            names |= {name: path.relative_to(ROOT).as_posix() for name in matches}
    dead = {}
    for name in sorted(names.keys() - PLACEHOLDERS):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            dead[name] = names[name]
    assert dead == {}


@pytest.mark.parametrize("pattern", PAGES)
def test_links_between_pages_resolve(pattern: str) -> None:
    for page in ROOT.glob(pattern):
        for name, anchor in LINK.findall(page.read_text()):
            target = page.parent / name if name else page
            assert target.exists(), f"{page.name}: {name} does not exist"
            assert not anchor or anchor in anchors(target), f"{page.name}: {name}#{anchor}"
