"""The walk of docs/use.md is run as it stands there."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pneumo.export import EXAMPLE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "use.md"


def block() -> str:
    (found,) = re.findall(r"runs this block -->\n```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


def test_the_example_without_torch_is_that_of_the_help() -> None:
    assert f"<<'END'\n{EXAMPLE}END\n" in block()


@pytest.mark.slow
def test_the_walk_goes_from_training_to_predictions(tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PNEUMO_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        ["bash", "-eu", "-c", block()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    out = tmp_path / "try"
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert not any(row["error"] for row in rows)
    assert {row["threshold_from"] for row in rows} == {"validation"}
    assert all((out / "maps" / row["heatmap"]).is_file() for row in rows)
    card = (out / "model-card.md").read_text()
    assert "GENERATED IMAGES" in card
    assert "| gradcam | PNEUMONIA |" in card
    page = (out / "report" / "report.html").read_text()
    assert "What the scores are worth" in page
    assert "What the heat maps are worth" in page
    assert re.search(r"^NORMAL: 0\.\d{4}\nPNEUMONIA: 0\.\d{4}\n", done.stdout, re.MULTILINE)
    columns = re.findall(r"`(\w+)`", PAGE.read_text().partition("| column")[2].partition("\n\n")[0])
    assert set(rows[0]) <= set(columns)
