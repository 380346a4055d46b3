"""The commands of the tutorials run as they stand there, and print what the pages show."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pneumo import heatmap
from pneumo.__main__ import run
from pneumo.arguments.export import EXAMPLE
from tests.conftest import ROOT, Capture, Patch

TUTORIALS = ROOT / "docs" / "tutorials"
EXPORT = ROOT / "docs" / "how-to" / "export.md"
SMALL = "data=phantom data.num_images=160 data.image_size=64 num_threads=1 trainer.max_epochs={}"

# Bash asks this process to run the package's commands: each start of torch takes seconds.
PYTHON = """python() {{
    if [ "$1" = -m ] && [ "$2" != pneumo.data.phantom ]; then
        printf '%q ' "${{PYTHONPATH%%:*}}" "${{@:2}}" >&{asks}; echo >&{asks}
        read -r code <&{answers}; return "$code"
    fi
    command {python} "$@"
}}
"""


def block(page: Path) -> str:
    marked = r"runs this block[^>]*-->\n```bash\n(.*?)```"
    return "\n".join(re.findall(marked, page.read_text(), re.DOTALL))


def walk(commands: str, place: Path, patch: Patch) -> None:
    """Runs commands in bash, and their ``python -m pneumo.VERB`` in this process."""
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv("PNEUMO_CACHE", str(place / "cache"))
    patch.chdir(place)
    asks, write_asks = os.pipe()
    read_answers, answers = os.pipe()
    python = PYTHON.format(asks=write_asks, answers=read_answers, python=sys.executable)
    inherited = (write_asks, read_answers)
    with subprocess.Popen(["bash", "-euc", python + commands], pass_fds=inherited) as bash:
        for end in inherited:
            os.close(end)
        with os.fdopen(asks) as lines, os.fdopen(answers, "w") as codes:
            for line in lines:
                path, module, *arguments = shlex.split(line)
                patch.syspath_prepend(path)
                print(run(module.removeprefix("pneumo."), arguments), file=codes, flush=True)
    sys.modules.pop("my_networks", None)
    assert bash.returncode == 0


def lines(text: str) -> set[str]:
    """The lines of an output, without the digits of its numbers."""
    return {re.sub(r"-?\d[\d.e-]*", "N", line).strip() for line in text.splitlines()}


def shown_outputs(page: Path) -> str:
    """What the page shows below the blocks that are run."""
    return "\n".join(re.findall(r"```\n\n```text\n(.*?)```", page.read_text(), re.DOTALL))


def test_the_example_without_torch_is_that_of_the_help() -> None:
    assert f"<<'END'\n{EXAMPLE}END\n" in block(EXPORT)


@pytest.mark.slow
def test_the_first_prediction_is_as_shown(
    tmp_path: Path, monkeypatch: Patch, capfd: Capture
) -> None:
    monkeypatch.delenv("PNEUMO_DATA", raising=False)  # the reader has not downloaded the set
    page = TUTORIALS / "first-prediction.md"
    walk(block(page) + block(EXPORT), tmp_path, monkeypatch)
    shown = capfd.readouterr()
    assert "Traceback" not in shown.err
    assert lines(shown_outputs(page)) - {"…"} <= lines(shown.out)
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert not any(row["error"] for row in rows)
    assert {row["threshold_from"] for row in rows} == {"balanced"}
    reference = (ROOT / "docs" / "reference" / "predictions.md").read_text()
    columns = re.findall(r"`(\w+)`", reference.partition("| column")[2].partition("\n\n")[0])
    assert set(rows[0]) <= set(columns)
    assert len(list((tmp_path / "maps").glob("*.png"))) == 1
    assert re.search(r"^NORMAL: 0\.\d{4}\nPNEUMONIA: 0\.\d{4}\n", shown.out, re.MULTILINE)


@pytest.mark.slow
def test_the_reproduction_is_as_shown(tmp_path: Path, monkeypatch: Patch, capfd: Capture) -> None:
    monkeypatch.setattr(heatmap, "MAX_OWN", 6)
    commands = block(TUTORIALS / "reproduce.md").replace("num_threads=1", "")
    longer = f"{SMALL.format(10)} data.batch_size=8 data.progressive=null experiment"
    commands = commands.replace("data=kermany experiment", longer)
    walk(commands.replace("data=kermany", SMALL.format(1)), tmp_path, monkeypatch)
    assert "Traceback" not in capfd.readouterr().err
    text = (tmp_path / "report" / "summary.md").read_text()
    for name in ("tiny", "compact-fast", "compact-robust", "thumbnail_svm"):
        assert f"| {name} |" in text
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<h3>Operating point</h3>" in page
    run_dir = tmp_path / "random" / "compact-fast"
    scores = json.loads((run_dir / "metrics.json").read_text())["best"]["test"]
    assert scores["auroc"] > 0.8
    card = (tmp_path / "network-card.md").read_text()
    assert "GENERATED IMAGES" in card
    assert "| integrated | PNEUMONIA |" in card


@pytest.mark.slow
def test_networks_and_data_of_ones_own_are_trained_reported_and_exported(
    tmp_path: Path, monkeypatch: Patch, no_report: None
) -> None:
    walk(block(TUTORIALS / "extend.md"), tmp_path, monkeypatch)
    mine = tmp_path / "mine"
    text = (mine / "report" / "summary.md").read_text()
    for name in ("shallow", "mobilenet_v3_small", "tiny"):
        assert f"| {name} |" in text
    assert (mine / "shallow-card.md").is_file()
    assert (mine / "audit" / "audit.html").is_file()
    patients = json.loads((mine / "own_set" / "metrics.json").read_text())["data"]["splits"]
    assert sum(split["patients"] for split in patients.values()) < 60  # of 60 images
    recipe = mine / "recipe"
    assert (recipe / "csv" / "version_0" / "metrics.csv").is_file()
    hyperparameters = json.loads((recipe / "metrics.json").read_text())["hyperparameters"]
    assert hyperparameters["schedule"] == "StepLR"
