"""What all files have in common: imports go one way, from files of the levels below."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import pneumo

ROOT = Path(pneumo.__file__).parent
LEVELS = (
    {"atomic", "untrusted"},
    {
        "augment",
        "cache",
        "cli",
        "complexity",
        "cpu",
        "network",
        "image",
        "index",
        "influence",
        "metrics",
        "nets",
    }
    | {"paper", "phantom", "runs", "settings", "split", "unlike"},
    {
        "calibration",
        "data",
        "dicom",
        "graph",
        "intervals",
        "objects",
        "saliency",
        "finished",
        "folder",
        "medmnist",
        "trust",
        "weights",
    }
    | {"output"},
    {"films", "module", "operating", "source", "trained"},
    {"assess", "callbacks", "checkpoint", "overlay", "scoring", "tensorboard"},
    {"members", "record", "report"},
    {"card", "fit", "overlap", "sweep"},
    {"baselines"},
    {"download", "evaluate", "export", "heatmap", "predict", "train"},
)
# the cache holds what the one preprocessing makes; the networks have a form for the CPU
BESIDE = {
    ("cache", "image"),
    ("nets", "network"),
    ("nets", "cpu"),
    ("cache", "cli"),
    ("influence", "metrics"),
    ("cache", "dicom"),
}


def imports(path: Path) -> set[str]:
    """The files of pneumo that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "pneumo":
            found |= {alias.name for alias in node.names} - {"__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pneumo."):
            found.add(str(node.module).split(".")[1])
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def test_every_file_has_a_level() -> None:
    files = {name(path) for path in ROOT.rglob("*.py")} - {"__init__"}
    assert files == set().union(*LEVELS)


def test_imports_go_down() -> None:
    level = {file: number for number, files in enumerate(LEVELS) for file in files}
    for path in ROOT.rglob("*.py"):
        file = name(path)
        for other in imports(path) - {file}:
            if file != "__init__" and (file, other) not in BESIDE:
                assert level[other] < level[file], f"{file} imports {other}"


@pytest.mark.parametrize(
    "command", ["download", "evaluate", "export", "heatmap", "predict", "report"]
)
def test_help_fits_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        import_module(f"pneumo.{command}").main(["--help"])
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert [line for line in shown.splitlines() if len(line) > 80] == []
