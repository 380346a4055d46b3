"""A run folder is read or refused in one line, whatever it holds, and nothing hangs."""

import gzip
import json
import os
import random
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

from pneumo.report import report_folder as report_module
from pneumo.runs import pretrained, run_folder, tables
from pneumo.runs.run import Run
from pneumo.runs.tasks import DETECTION
from pneumo.shift import evaluation
from pneumo.training import sweep_runs
from tests.conftest import Patch, start
from tests.detection_runs import make_detector

Spoil = Callable[[Path], object]
FILES = ("metrics.json", "status.json", "split.csv", "predictions.csv")
JUNK: tuple[Any, ...] = (
    *(None, True, -1, 10**400, 1e308, float("nan"), "", "../x", "\ud800", "a\0b", "x" * 5000),
    *([], [1], {}, {"a": []}, "~nosuchuser/x", "${x}", "${", "???"),
)
NUM_TRIED = 20
READERS: tuple[Callable[[Path], Any], ...] = (
    lambda run: evaluation.evaluate([Run.open(run)]),
    lambda run: Run.open(run).network(),
    lambda run: Run.open(run).images(),
)


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


def pipe(name: str) -> Spoil:
    def spoil(run: Path) -> None:
        (run / name).unlink()
        os.mkfifo(run / name)

    return spoil


def other_weights(run: Path) -> None:
    content = torch.load(run / run_folder.BEST, weights_only=True)
    name = next(key for key in content["state_dict"] if key.endswith("bias"))
    content["state_dict"][name][0] = float("nan")
    torch.save(content, run / run_folder.BEST)


BROKEN: list[tuple[Spoil, str]] = [
    (lambda run: shutil.rmtree(run), r"a run folder holds \.hydra/config\.yaml"),
    (lambda run: (run / "metrics.json").unlink(), r"a finished run has metrics\.json"),
    (lambda run: (run / "metrics.json").write_text('{"a":' * 1000), "is nested too deep"),
    (in_json(lambda m: m.update(schema=0)), "must have schema 1; got 0"),
    (in_json(lambda m: m["best"].update(epoch=10**400)), "more than 64 bits"),
    (in_json(lambda m: m.update(selection=[])), "got selection: Input should be"),
    (in_json(lambda m: m.pop("model")), "got model: Field required"),
    (in_json(lambda m: m.update(decision="best")), "got decision: Input should be 'argmax'"),
    (in_json(lambda m: m.pop("decision")), "must have its decision rule"),
    (in_json(lambda m: m.pop("preprocessing")), "must record its preprocessing"),
    (in_json(lambda m: m["preprocessing"].update(mean=1)), "must be standardised as in"),
    (cut("metrics.json"), "must be JSON; it is broken"),
    (in_config("model", 1, 2), "the name of a value is not text"),
    (in_config("data", "image_size", 32_000), "at most 4,096; .* has 32000"),
    (in_config("data", "image_size", "64"), "must be a whole number of pixels"),
    (in_config("data", "aspect", [1]), r"data\.aspect must be one of"),
    (in_config("views", "turn", 90), "does not fit this version"),
    (in_config("views", "scales", [1, 0.01]), "views.scales in .* must leave at least 32 pixels"),
    (in_config("views", "scales", "1"), "views.scales in .* must be numbers above 0"),
    (in_config("model", "_partial_", True), r"must be a torch\.nn\.Module"),
    (in_config("model", "_target_", "os.system"), r"names os\.system, which is not run"),
    (in_config("model", "_target_", "torch.nn.Identity"), "does not fit|must"),
    (pipe("split.csv"), r"split\.csv must be a regular file"),
    (cut("split.csv"), r"split\.csv must"),
    (replaced("split.csv", ",train\n", ",test\n"), "must be the split whose digest is in"),
    (lambda run: (run / "predictions.csv").unlink(), r"a finished run has predictions\.csv"),
    (lambda run: (run / "predictions.csv").write_text(""), "must be a table"),
    (lambda run: (run / "predictions.csv").write_text("path\n"), "lacks patient, label, split"),
    (cut("predictions.csv", 0.999), "must end with a whole line; it is truncated"),
    (in_table(lambda table: table[::2]), "must have a row for each of the"),
    (cell("p_pneumonia", 1.5), "must hold probabilities from 0 to 1"),
    (cell("p_pneumonia", ""), "must hold probabilities from 0 to 1"),
    (cell("p_pneumonia", "x"), "must hold probabilities from 0 to 1"),
    (cell("label", "WELL"), "holds other labels, or a path twice"),
    (cell("path", "../../x.jpeg"), "must lead to images within their folder"),
    (cell("path", "test/NORMAL/other.jpeg"), r"must be of the images in split\.csv"),
    (lambda run: (run / run_folder.BEST).unlink(), "there is no .*best.ckpt"),
    (pipe(run_folder.BEST), r"best\.ckpt must be a regular file"),
    (cut(run_folder.BEST), "must be a checkpoint of weights only"),
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
    for root in (str(tmp_path), "~nosuchuser/x"):
        source = {"_target_": "pneumo.data.rsna.Rsna.open", "root": root}
        detector = Run.open(make_detector(tmp_path / root.replace("/", "_"), source=source))
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
        np.testing.assert_array_equal(predicted, rows[tables.CORNERS].to_numpy())
        np.testing.assert_array_equal(scores, rows["score"])
        assert predicted.shape == (len(scores), 4)
    assert Run.open(make_detector(tmp_path / "other", task=None)).task != DETECTION


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (replaced("boxes.csv", "path,", "file,"), "lacks path"),
        (replaced("boxes.csv", ",predicted,", ",guessed,"), "must hold kind truth or predicted"),
        (replaced("boxes.csv", ",truth,,", ",truth,,9"), "must hold numbers with x_min < x_max"),
        (replaced("boxes.csv", ",predicted,0", ",predicted,7"), "must hold a score from 0 to 1"),
        (replaced("boxes.csv", "p001,val", "p001,test"), "split by split"),
        (lambda run: (run / "boxes.csv").unlink(), r"a finished run has boxes\.csv"),
        (
            lambda run: (run / "boxes.csv").write_text(
                "".join((run / "boxes.csv").read_text().splitlines(keepends=True)[:-6])
            ),
            "must be the highest score of the image's boxes",
        ),
        *(
            (replaced("metrics.json", '"confidence": 0.5', text), message)
            for text, message in (
                ('"c": 1', "must be from 0 to 1; got None"),
                ('"confidence": 1.5', "must be from 0 to 1; got 1.5"),
                ('"confidence": true', "got confidence: "),
                ('"confidence": "0.5"', "got confidence: "),
            )
        ),
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


# Random damage


def change(value: Any, rng: random.Random) -> Any:
    """Puts junk somewhere into nested lists and mappings, or takes something away."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(JUNK)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    if rng.random() < 0.2:
        del value[key]
    else:
        value[key] = change(value[key], rng)
    return value


def damage(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    how = rng.random()
    if how < 0.1:
        path.write_bytes(data[: rng.randrange(len(data))])
    elif how < 0.25 or (how < 0.9 and path.suffix not in (".json", ".yaml")):
        for _ in range(rng.choice((1, 5, 50))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
    elif how < 0.9:
        as_json = path.suffix == ".json"
        changed = change(json.loads(data) if as_json else yaml.safe_load(bytes(data)), rng)
        path.write_text(json.dumps(changed) if as_json else yaml.safe_dump(changed))
    elif how < 0.95:
        path.unlink()
        rng.choice((os.mkfifo, os.mkdir, lambda p: p.symlink_to("/dev/zero")))(path)
    else:
        path.write_text(rng.choice(("[", '{"a":')) * rng.choice((50, 5000, 100_000)))


@pytest.mark.slow  # about a second for each folder
@pytest.mark.filterwarnings("ignore")  # of undefined scores
def test_damaged_folders_are_read_or_refused(
    finished_run: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(report_module, "draw", lambda *_: None)
    for seed in range(NUM_TRIED):
        rng = random.Random(seed)
        root = tmp_path / str(seed)
        run = root / "model=tiny,seed=0"
        for place in (run, root / "good"):
            shutil.copytree(finished_run, place)
        damage(run / rng.choice((*FILES, run_folder.CONFIG, run_folder.BEST)), rng)
        for read in READERS:
            try:
                read(run)
            except (ValueError, FileNotFoundError) as error:
                assert str(error)
        run_folder.identity(run)
        sweep_runs.progress(root, 2, began=0, done_before=0)
        page = report_module.write_report([root], out=root / "report") / "report.html"
        assert page.is_file()
        shutil.rmtree(root)
