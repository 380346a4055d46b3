"""Every dotted name of this package in docstrings, comments, pages and settings can be imported."""

import pkgutil
import re

from tests.conftest import ROOT

NAME = re.compile(r"(?<![\w./-])pneumo(?:\.[A-Za-z_]\w*)+")
FILES = ("pneumo/**/*.py", "benchmarks/*.py", "conf/**/*.yaml", "docs/*.md", "*.md")
PLACEHOLDERS = {"pneumo.COMMAND", "pneumo.VERB"}


def test_dotted_names_resolve() -> None:
    names: dict[str, str] = {}
    for pattern in FILES:
        for path in ROOT.glob(pattern):
            found = NAME.findall(path.read_text(encoding="utf-8"))
            names |= {name: path.relative_to(ROOT).as_posix() for name in found}
    dead = {}
    for name in sorted(names.keys() - PLACEHOLDERS):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            dead[name] = names[name]
    assert dead == {}
