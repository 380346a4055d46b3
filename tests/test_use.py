"""The walks of docs/use.md and docs/extending.md are run as they stand there."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pneumo.arguments.export import EXAMPLE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "use.md"


def block(page: Path = PAGE) -> str:
    found = re.findall(r"runs this block -->\n```bash\n(.*?)```", page.read_text(), re.DOTALL)
    return "\n".join(found)


def walk(page: Path, place: Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PNEUMO_CACHE": str(place / "cache"),
    }
    done = subprocess.run(
        ["bash", "-eu", "-c", block(page)],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_example_without_torch_is_that_of_the_help() -> None:
    assert f"<<'END'\n{EXAMPLE}END\n" in block()


@pytest.mark.slow
def test_the_walk_goes_from_training_to_predictions(tmp_path: Path) -> None:
    done = walk(PAGE, tmp_path)
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
    assert re.search(r"^NORMAL: 0\.\d{4}\nPNEUMONIA: 0\.\d{4}\n", done.stdout, re.MULTILINE)
    columns = re.findall(r"`(\w+)`", PAGE.read_text().partition("| column")[2].partition("\n\n")[0])
    assert set(rows[0]) <= set(columns)


@pytest.mark.slow
def test_networks_of_ones_own_are_trained_reported_and_exported(tmp_path: Path) -> None:
    walk(ROOT / "docs" / "extending.md", tmp_path)
    text = (tmp_path / "mine" / "report" / "summary.md").read_text()
    for name in ("shallow", "mobilenet_v3_small", "tiny"):
        assert f"| {name} |" in text
    assert (tmp_path / "mine" / "shallow-card.md").is_file()
    recipe = tmp_path / "mine" / "recipe"
    assert (recipe / "csv" / "version_0" / "metrics.csv").is_file()
    assert (
        json.loads((recipe / "metrics.json").read_text())["hyperparameters"]["schedule"] == "StepLR"
    )
