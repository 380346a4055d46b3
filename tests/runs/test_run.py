"""A run folder is read or refused in one line, whatever it holds, and nothing hangs."""

import gzip
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pneumo.data import split
from pneumo.data.boxes import SIDES
from pneumo.inference.scoring import own_root
from pneumo.runs import pretrained, run_folder
from pneumo.runs.run import Run
from pneumo.runs.tasks import DETECTION
from pneumo.runs.writer import RunWriter
from tests.conftest import Patch, start
from tests.detection_runs import make_detector

Spoil = Callable[[Path], object]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of pretrained:compact-robust, its split unpacked."""
    folder = Path(shutil.copytree(pretrained.find(pretrained.DEFAULT), tmp_path / "run"))
    packed = folder / "split.csv.gz"
    (folder / "split.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    return folder


def in_json(change: Callable[[Any], object], name: str = "metrics.json") -> Spoil:
    def spoil(run: Path) -> None:
        content = json.loads((run / name).read_text())
        change(content)
        (run / name).write_text(json.dumps(content))

    return spoil


def in_config(group: str, name: Any, value: Any) -> Spoil:
    def spoil(run: Path) -> None:
        config = yaml.safe_load((run / run_folder.CONFIG).read_text())
        config[group][name] = value
        (run / run_folder.CONFIG).write_text(yaml.safe_dump(config))

    return spoil


def in_table(change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> Spoil:
    def spoil(run: Path) -> None:
        table = pd.read_csv(run / "predictions.csv", dtype=object)
        changed = change(table)
        (table if changed is None else changed).to_csv(run / "predictions.csv", index=False)

    return spoil


def cell(column: str, value: Any) -> Spoil:
    return in_table(lambda table: table.__setitem__(column, [value, *table[column][1:]]))


def cut(name: str, share: float = 0.5) -> Spoil:
    return lambda run: os.truncate(run / name, int((run / name).stat().st_size * share))


def replaced(name: str, old: str, new: str) -> Spoil:
    def spoil(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new, 1))

    return spoil


def other_weights(run: Path) -> None:
    content = torch.load(run / run_folder.BEST, weights_only=True)
    name = next(key for key in content["state_dict"] if key.endswith("bias"))
    content["state_dict"][name][0] = float("nan")
    torch.save(content, run / run_folder.BEST)


BROKEN: list[tuple[Spoil, str]] = [
    (lambda run: shutil.rmtree(run), r"a run folder holds \.hydra/config\.yaml"),
    (lambda run: (run / "metrics.json").unlink(), r"a finished run has metrics\.json"),
    (in_json(lambda m: m.update(schema=0)), "got schema: Input should be 1"),
    (in_json(lambda m: m.update(selection=[])), "got selection: Input should be"),
    (in_json(lambda m: m.pop("model")), "got model: Field required"),
    (in_json(lambda m: m.update(decision="best")), "got decision: Input should be 'argmax'"),
    (in_json(lambda m: m.pop("decision")), "must have the key decision"),
    (in_json(lambda m: m.pop("preprocessing")), "must have the key preprocessing"),
    (in_json(lambda m: m["preprocessing"].update(mean=1)), "must be standardised as in"),
    (cut("metrics.json"), "must be JSON; it is broken"),
    (in_config("data", "image_size", "x"), r"config\.yaml lacks or breaks"),
    (in_config("data", "aspect", "crop"), r"data\.aspect must be one of"),
    (in_config("views", "turn", 90), "does not fit this version"),
    (in_config("model", "_partial_", True), r"must be a torch\.nn\.Module"),
    (in_config("model", "_target_", "os.system"), r"names os\.system, which is not run"),
    (in_config("model", "_target_", "torch.nn.Identity"), "does not fit|must"),
    (cut("split.csv"), r"split\.csv must"),
    (replaced("split.csv", ",train\n", ",test\n"), "must be the split whose digest is in"),
    (lambda run: (run / "predictions.csv").unlink(), r"a finished run has predictions\.csv"),
    (lambda run: (run / "predictions.csv").write_text(""), "must be a table"),
    (lambda run: (run / "predictions.csv").write_text("path\n"), "not found: .*'label'"),
    (cut("predictions.csv", 0.999), "its last line is truncated"),
    (in_table(lambda table: table[::2]), "must have a row for each of the"),
    (cell("p_pneumonia", 1.5), "must hold probabilities from 0 to 1"),
    (cell("p_pneumonia", "x"), "must hold probabilities from 0 to 1"),
    (cell("label", "WELL"), "holds other labels, or a path twice"),
    (cell("path", "../../x.jpeg"), "must lead to images within their folder"),
    (cell("path", "test/NORMAL/other.jpeg"), "of 624 rows 623 are"),
    (lambda run: (run / run_folder.BEST).unlink(), "there is no .*best.ckpt"),
    (cut(run_folder.BEST), "must be a checkpoint of weights only"),
    (lambda run: torch.save([1], run / run_folder.BEST), "it holds no state_dict"),
    (lambda run: torch.save({"state_dict": [1]}, run / run_folder.BEST), "it holds no state_dict"),
    (lambda run: torch.save({"x": Path("x")}, run / run_folder.BEST), "checkpoint of weights only"),
    (lambda run: torch.save({"state_dict": {}}, run / run_folder.BEST), "does not fit its config"),
    (other_weights, "must hold finite weights; .*bias is not finite"),
]


@pytest.mark.parametrize(("spoil", "message"), BROKEN)
def test_a_broken_run_is_refused_in_one_line(run: Path, spoil: Spoil, message: str) -> None:
    spoil(run)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        opened = Run.open(run)
        _ = opened.scored, opened.views, opened.decision
        opened.network()
    assert "\n" not in str(caught.value)


def test_a_run_reads_its_tables_once_and_can_be_rescored(run: Path) -> None:
    opened = Run.open(run)
    assert opened.name == str(run)
    assert opened.scored is opened.scored
    assert set(opened.scored["split"]) == {"test"}
    test = opened.of_split("test")
    assert test["path"].is_monotonic_increasing
    other = opened.rescored(test.assign(p_pneumonia=0.25))
    assert other.of_split("test")["p_pneumonia"].unique().tolist() == [0.25]
    assert opened.of_split("test")["p_pneumonia"].nunique() > 1


@pytest.mark.slow
def test_the_images_are_those_of_the_data_set_if_all_are_there(
    tmp_path: Path, phantoms: Path, finished_run: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("PNEUMO_DATA", str(phantoms))
    assert Run.open(finished_run).images() == phantoms
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path))
    assert Run.open(finished_run).images() is None
    too_long = "x" * 300
    for root in (str(tmp_path), "~nosuchuser/x", too_long):
        source = {"_target_": "pneumo.data.rsna.Rsna.open", "root": root}
        detector = Run.open(make_detector(tmp_path / root.replace("/", "_")[:200], source=source))
        assert detector.images() is None
    for path in detector.split["path"]:
        (tmp_path / path).touch()
    folder = tmp_path / str(tmp_path).replace("/", "_")
    assert Run.open(folder).images() == tmp_path


# Detectors


def test_boxes_are_those_of_the_file_image_by_image(tmp_path: Path) -> None:
    folder = make_detector(tmp_path / "run", confidence=0.25)
    run = Run.open(folder)
    table = pd.read_csv(folder / "boxes.csv")
    boxes = run.boxes
    assert (run.task, run.confidence) == (DETECTION, 0.25)
    assert boxes.images["path"].is_monotonic_increasing
    assert sum(map(len, boxes.truth)) == (table["kind"] == "truth").sum()
    for path, predicted, scores in zip(
        boxes.images["path"], boxes.predicted, boxes.scores, strict=True
    ):
        rows = table[(table["path"] == path) & (table["kind"] == "predicted")]
        np.testing.assert_array_equal(predicted, rows[SIDES].to_numpy())
        np.testing.assert_array_equal(scores, rows["score"])
        assert predicted.shape == (len(scores), 4)
    assert Run.open(make_detector(tmp_path / "other", task=None)).task != DETECTION


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (replaced("boxes.csv", "path,", "file,"), "not found: .*'path'"),
        (replaced("boxes.csv", ",predicted,", ",guessed,"), "must hold kind truth or predicted"),
        (replaced("boxes.csv", ",truth,,", ",truth,,9"), "must hold numbers with x_min < x_max"),
        (replaced("boxes.csv", ",predicted,0", ",predicted,7"), "must hold a score from 0 to 1"),
        (replaced("boxes.csv", "p001,val", "p001,test"), "must hold images of predictions.csv"),
        (lambda run: (run / "boxes.csv").unlink(), r"a finished run has boxes\.csv"),
        (replaced("metrics.json", '"confidence": 0.5', '"c": 1'), "must have the key confidence"),
        (replaced("metrics.json", '"confidence": 0.5', '"confidence": true'), "got confidence: "),
    ],
)
def test_broken_boxes_are_refused(tmp_path: Path, spoil: Spoil, message: str) -> None:
    folder = make_detector(tmp_path / "run")
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        _ = Run.open(folder).boxes, Run.open(folder).confidence


# Fast refusals


REFUSED = [
    ("predict", ["multirun/typo", "a.png"], "a run folder holds"),
    ("predict", ["pretrained:typo", "a.png"], "must be one of pretrained:compact-robust"),
    ("evaluate", ["pretrained:typo"], "must be one of pretrained:compact-robust"),
    ("evaluate", ["empty"], "a run folder holds"),
    ("heatmap", ["empty", "--out", "maps"], "a run folder holds"),
    ("heatmap", ["pretrained:compact-robust", "--out", "maps"], "needs captum"),
    ("export", ["pretrained:compact-robust"], "needs onnx"),
    ("export", ["pretrained:typo"], "must be one of pretrained:compact-robust"),
    ("calibrate", ["pretrained:typo", "--data", "empty"], "must be one of"),
    ("predict", ["pretrained:compact-robust", "a.png", "--heatmap", "maps"], "needs captum"),
    ("predict", ["pretrained:compact-robust", "a.png", "--dicom-sr", "sr"], "needs highdicom"),
]


def test_a_wrong_run_and_a_missing_extra_are_refused_before_torch_is_imported(
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    code = "import importlib, sys\n"
    code += "for name in ('captum', 'onnx', 'highdicom'): sys.modules[name] = None\n"
    code += f"for command, words in {[row[:2] for row in REFUSED]}:\n"
    code += "    assert importlib.import_module(f'pneumo.{command}').main(words) == 2, command\n"
    code += "    assert not {'torch', 'pandas'} & set(sys.modules), command\n"
    done = start(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for line, (*_, message) in zip(done.stderr.splitlines(), REFUSED, strict=True):
        assert message in line


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("path", "c.png", "added or removed"),
        ("split", "test", "split differently"),
        ("digest", "3", "files have changed under the same names"),
        ("label", "PNEUMONIA", "labels or boxes have changed"),
        ("boxes", np.array([[1, 2, 3, 5]]), "labels or boxes have changed"),
    ],
)
def test_a_run_resumes_with_the_images_that_it_was_started_with(
    tmp_path: Path, column: str, value: Any, message: str
) -> None:
    columns: dict[str, Any] = {name: ["1", "2"] for name in (*split.COLUMNS, "digest")}
    columns |= {"path": ["a.png", "b.png"], "boxes": [np.array([[1, 2, 3, 4]]), np.empty((0, 4))]}
    table = pd.DataFrame({**columns, "split": "train"})
    writer = RunWriter(tmp_path)
    assert writer.write_split(table) == writer.write_split(table)
    before = (tmp_path / "split.csv").read_bytes()
    changed = table.assign(**{column: [value, table[column][1]]})
    with pytest.raises(ValueError, match=message):
        writer.write_split(changed)
    assert (tmp_path / "split.csv").read_bytes() == before


def test_missing_images_are_named_by_what_places_them(run: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("PNEUMO_DATA", "/nowhere")
    with pytest.raises(FileNotFoundError, match="set PNEUMO_DATA to their folder; python -m"):
        own_root(Run.open(run))
    in_config("data", "root", "/gone")(run)
    with pytest.raises(FileNotFoundError, match="not found in /gone, where they were"):
        own_root(Run.open(run))
