"""The page of the most confident errors, of a network trained on phantoms."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from pneumo import evaluate
from pneumo.gallery import page
from pneumo.inference import scoring
from pneumo.inference.networks import Networks
from pneumo.runs.run import Run
from tests.conftest import Capture, Patch

pytestmark = pytest.mark.usefixtures("environment")


def test_misses_come_first_with_heat_map_and_similar_training_images(
    finished_run: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr(page, "MOST", 2)
    out, scores = tmp_path / "errors.html", tmp_path / "scores.json"
    files = ("--page", str(out), "--out", str(scores))
    assert evaluate.main([str(finished_run), *files, "--checkpoint", "last"]) == 0
    assert "AUROC" in capsys.readouterr().out  # the scores are printed, too
    text = out.read_text()
    run = scoring.rescored(Run.open(finished_run), ("test",), checkpoint="last")
    (member,) = json.loads(scores.read_text())["members"]
    threshold = member["operating_point"]["threshold"]
    assert threshold != 0.5  # of decision=sensitivity, on validation images
    test = run.of_split("test")
    rows = [
        row
        for kind in page.errors(test, threshold=threshold).values()
        for row in kind[:2].itertuples()
    ]
    assert rows
    shown = re.findall(r'alt="(.*) and its heat map".*\n?.*PNEUMONIA ([\d.]+)\.</b>', text)
    assert shown == [(row.path, f"{row.p_pneumonia:.3f}") for row in rows]
    train = set(run.split.loc[run.split["split"] == "train", "path"])
    similar = re.findall(r'<figure><img src="data:image/jpeg;base64,[^"]+" alt="([^"]+)">', text)
    beside = [path for path in similar if not path.endswith(" and its heat map")]
    assert len(beside) == page.NUM_SIMILAR * len(rows)
    assert set(beside) <= train
    assert "http" not in text


def test_errors_are_sorted_by_confidence() -> None:
    labels = ["PNEUMONIA"] * 4 + ["NORMAL"] * 3
    probabilities = [0.3, 0.1, 0.4, 0.9, 0.6, 0.4, 0.7]
    test = pd.DataFrame({"path": list("abcdefg"), "label": labels, "p_pneumonia": probabilities})
    missed, alarms = page.errors(test, threshold=0.4).values()
    assert (list(missed["path"]), list(alarms["path"])) == (["b", "a"], ["g", "e", "f"])


def test_an_image_is_most_similar_to_itself(finished_run: Path, phantoms: Path) -> None:
    run = Run.open(finished_run)
    train = run.split.loc[run.split["split"] == "train", "path"].tolist()
    networks = Networks([run], checkpoint="best", device="cpu")
    near = page.most_similar(networks, phantoms, train[7:9], among=train)
    assert [near[path][0] for path in train[7:9]] == [7, 8]
    assert page.most_similar(networks, phantoms, [], among=train) == {}


def test_without_the_images_nothing_is_written(
    finished_run: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    files = ("--page", tmp_path / "errors.html", "--out", tmp_path / "scores.json")
    assert evaluate.main([str(finished_run), *map(str, files)]) == 2
    captured = capsys.readouterr()
    assert "set PNEUMO_DATA" in captured.err
    assert (captured.err.count("\n"), captured.out) == (1, "")
    assert list(tmp_path.iterdir()) == []
