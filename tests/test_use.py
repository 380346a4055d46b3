"""The walks of the tutorials are run as they stand there."""

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
from tests.conftest import Capture, Patch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorials" / "first-prediction.md"


# Bash asks this process to run the package's commands: each start of torch takes seconds.
PYTHON = """python() {{
    if [ "$1" = -m ]; then
        printf '%q ' "${{PYTHONPATH%%:*}}" "${{@:2}}" >&{asks}; echo >&{asks}
        read -r code <&{answers}; return "$code"
    fi
    command {python} "$@"
}}
"""


def block(page: Path = PAGE) -> str:
    texts = re.findall(r"runs this block -->\n```bash\n(.*?)```", page.read_text(), re.DOTALL)
    return "\n".join(texts)


def walk(page: Path, place: Path, patch: Patch) -> None:
    """Runs the blocks of ``page`` in bash, and their ``python -m pneumo.VERB`` in this process."""
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv("PNEUMO_CACHE", str(place / "cache"))
    patch.chdir(place)
    asks, write_asks = os.pipe()
    read_answers, answers = os.pipe()
    python = PYTHON.format(asks=write_asks, answers=read_answers, python=sys.executable)
    inherited = (write_asks, read_answers)
    with subprocess.Popen(["bash", "-euc", python + block(page)], pass_fds=inherited) as bash:
        for end in inherited:
            os.close(end)
        with os.fdopen(asks) as lines, os.fdopen(answers, "w") as codes:
            for line in lines:
                path, module, *arguments = shlex.split(line)
                patch.syspath_prepend(path)
                print(run(module.removeprefix("pneumo."), arguments), file=codes, flush=True)
    sys.modules.pop("my_networks", None)
    assert bash.returncode == 0


def test_the_example_without_torch_is_that_of_the_help() -> None:
    assert f"<<'END'\n{EXAMPLE}END\n" in block()


@pytest.mark.slow
def test_the_walk_goes_from_training_to_predictions(
    tmp_path: Path, monkeypatch: Patch, capfd: Capture
) -> None:
    monkeypatch.setattr(heatmap, "MAX_OWN", 6)
    walk(PAGE, tmp_path, monkeypatch)
    shown = capfd.readouterr()
    assert "Traceback" not in shown.err
    out = tmp_path / "try"
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert not any(row["error"] for row in rows)
    assert {row["threshold_from"] for row in rows} == {"validation"}
    assert all((out / "maps" / row["heatmap"]).is_file() for row in rows)
    card = (out / "model-card.md").read_text()
    assert "GENERATED IMAGES" in card
    assert "LEARNT NOTHING" not in card
    scores = json.loads((out / "run" / "metrics.json").read_text())["best"]["test"]
    assert scores["auroc"] > 0.8
    assert "| integrated | PNEUMONIA |" in card
    page = (out / "report" / "report.html").read_text()
    assert "What the scores are worth" in page
    assert "What the heat maps are worth" in page
    assert re.search(r"^NORMAL: 0\.\d{4}\nPNEUMONIA: 0\.\d{4}\n", shown.out, re.MULTILINE)
    columns = re.findall(r"`(\w+)`", PAGE.read_text().partition("| column")[2].partition("\n\n")[0])
    assert set(rows[0]) <= set(columns)


@pytest.mark.slow
def test_networks_of_ones_own_are_trained_reported_and_exported(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    walk(ROOT / "docs" / "tutorials" / "extend.md", tmp_path, monkeypatch)
    text = (tmp_path / "mine" / "report" / "summary.md").read_text()
    for name in ("shallow", "mobilenet_v3_small", "tiny"):
        assert f"| {name} |" in text
    assert (tmp_path / "mine" / "shallow-card.md").is_file()
    recipe = tmp_path / "mine" / "recipe"
    assert (recipe / "csv" / "version_0" / "metrics.csv").is_file()
    assert (
        json.loads((recipe / "metrics.json").read_text())["hyperparameters"]["schedule"] == "StepLR"
    )
