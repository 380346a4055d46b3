"""What all files have in common: imports go one way, from files of the levels below."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import pneumo
from pneumo import cli

ROOT = Path(pneumo.__file__).parent
ORDER = (  # a package may import those of the lines above its own, and its own
    {"atomic", "choices", "labels", "untrusted"},
    {"cli"},
    {"arguments"},
    {"data", "evaluation", "models"},
    {"runs"},
    {"inference"},
    {"report"},
    {"shift"},
    {"training"},
    {"baselines"},
    {"auditing"},
    {"audit", "calibrate", "download", "evaluate", "export", "heatmap", "predict", "train"},
    {"__main__", "api"},
)


def imports(path: Path) -> set[str]:
    """The packages of pneumo, and the files beside them, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "pneumo":
            found |= {alias.name for alias in node.names} - {"__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pneumo."):
            found.add(str(node.module).split(".")[1])
    return found


def place(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def test_every_package_has_its_place_in_the_order() -> None:
    assert {place(path) for path in ROOT.rglob("*.py")} - {"__init__"} == set().union(*ORDER)


def test_imports_go_down() -> None:
    line = {name: number for number, names in enumerate(ORDER) for name in names}
    for path in ROOT.rglob("*.py"):
        for other in imports(path) - {place(path)}:
            if place(path) != "__init__":
                assert line[other] < line[place(path)], f"{path.relative_to(ROOT)} imports {other}"


@pytest.mark.parametrize(
    "command",
    ["audit", "calibrate", "download", "evaluate", "export", "heatmap", "predict", "report"],
)
def test_help_fits_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        import_module(cli.MODULES.get(command, f"pneumo.{command}")).main(["--help"])
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert [line for line in shown.splitlines() if len(line) > 80] == []
