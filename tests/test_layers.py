"""What all files share: imports go down and in no circle; dotted names and links exist."""

import ast
import pkgutil
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import pneumo
from pneumo import cli
from tests.conftest import Capture, Patch

ROOT = Path(pneumo.__file__).parent
REPOSITORY = ROOT.parent
ORDER = (  # a package may import those of the lines above its own, and its own
    {"atomic", "choices", "labels", "untrusted"},
    {"cli"},
    {"arguments"},
    {"data", "evaluation", "models"},
    {"runs"},
    {"inference"},
    {"report"},
    {"shift"},
    {"gallery"},
    {"training"},
    {"baselines"},
    {"auditing"},
    {"audit", "calibrate", "download", "evaluate", "export", "heatmap", "predict", "train"},
    {"__main__", "api"},
)


FILES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path
    for path in ROOT.rglob("*.py")
    if path.name != "__init__.py"
}


def imports(nodes: Iterator[ast.AST]) -> set[str]:
    """The modules of pneumo that import statements name; of `from a import b` a.b or a."""
    names = {
        f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pneumo"
        for alias in node.names
    }
    return {name if name in FILES else name.rpartition(".")[0] for name in names} - {"pneumo"}


def at_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs on import; an import for type checks does not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            continue
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from at_module_level(child)


def place(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def test_every_package_has_its_place_in_the_order() -> None:
    assert {place(path) for path in ROOT.rglob("*.py")} - {"__init__"} == set().union(*ORDER)


def test_imports_go_down() -> None:
    line = {name: number for number, names in enumerate(ORDER) for name in names}
    for name, path in FILES.items():
        for module in imports(ast.walk(ast.parse(path.read_text()))):
            other = module.split(".")[1]
            if other != place(path):
                assert line[other] < line[place(path)], f"{name} imports {module}"


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {
        name: imports(at_module_level(ast.parse(path.read_text()))) for name, path in FILES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError with the files of a circle


@pytest.mark.parametrize(
    "command",
    ["audit", "calibrate", "download", "evaluate", "export", "heatmap", "predict", "report"],
)
def test_help_fits_and_ends_with_examples(
    command: str, capsys: Capture, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        import_module(cli.MODULES.get(command, f"pneumo.{command}")).main(["--help"])
    shown = capsys.readouterr().out
    last = shown.partition("\nexamples:\n")[2]
    assert last
    assert all(line.startswith("  ") for line in last.splitlines())
    assert [line for line in shown.splitlines() if len(line) > 80] == []


NAME = re.compile(r"(?<![\w./-])pneumo(?:\.[A-Za-z_]\w*)+")
PAGES = ("docs/**/*.md", "*.md")
SOURCES = ("pneumo/**/*.py", "benchmarks/*.py", "conf/**/*.yaml", *PAGES)
PLACEHOLDERS = {"pneumo.COMMAND", "pneumo.VERB"}
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_dotted_names_resolve() -> None:
    names: dict[str, str] = {}
    for pattern in SOURCES:
        for path in REPOSITORY.glob(pattern):
            matches = NAME.findall(path.read_text(encoding="utf-8"))
            names |= {name: path.relative_to(REPOSITORY).as_posix() for name in matches}
    dead = {}
    for name in sorted(names.keys() - PLACEHOLDERS):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            dead[name] = names[name]
    assert dead == {}


@pytest.mark.parametrize("pattern", PAGES)
def test_links_between_pages_resolve(pattern: str) -> None:
    for page in REPOSITORY.glob(pattern):
        for name, anchor in LINK.findall(page.read_text()):
            target = page.parent / name if name else page
            assert target.exists(), f"{page.name}: {name} does not exist"
            assert not anchor or anchor in anchors(target), f"{page.name}: {name}#{anchor}"
