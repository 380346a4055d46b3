import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import keep
from pneumo import atomic
from pneumo.data import phantom
from pneumo.evaluation import metrics, operating_point, scores
from pneumo.evaluation.assessment import labels
from pneumo.inference.leakage import labelled, shared_with_train
from pneumo.runs import run_folder
from pneumo.runs.run import Run
from pneumo.runs.writer import RunWriter
from pneumo.shift import evaluation
from tests.conftest import SMALL, Call, Patch, Refused

# all of it stands on a run that is trained first
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("environment")]
BROKEN = "broken.jpeg: must be a PNG, JPEG or DICOM image"


@pytest.fixture(scope="module")
def folder(environment: None, finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs a, b and c of one split with a validation split, and paper without one.

    c has the weights of b.
    """
    from pneumo.train import main

    root = tmp_path_factory.mktemp("runs")
    shutil.copytree(finished_run, root / "a")
    settings = {
        "b": ("protocol=holdout", "decision=sensitivity", "seed=0", "optimizer.lr=0.004"),
        "paper": ("protocol=paper", "seed=0"),
    }
    for name, chosen in settings.items():
        few = ("trainer.max_epochs=1", *SMALL)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            patch.setattr(sys, "argv", ["train", f"hydra.run.dir={name}", *few, *chosen])
            main()
    shutil.copytree(root / "b", root / "c")
    text = (root / "c" / "metrics.json").read_text()
    (root / "c" / "metrics.json").write_text(text.replace('"seed": 0', '"seed": 9', 1))
    return root


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled images of new patients, in a folder with NORMAL and PNEUMONIA and other names."""
    root = tmp_path_factory.mktemp("fresh")
    found = phantom.generate(root / "set", num_images=30, seed=5, progress=False)
    for number, path in enumerate(sorted(found.rglob("*.jpeg"))):
        place = root / "clinic" / path.parent.name / f"case-{number}.jpeg"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return root / "clinic"


@pytest.fixture
def data(fresh: Path, tmp_path: Path) -> Path:
    """A copy of ``fresh`` to be changed."""
    return Path(shutil.copytree(fresh, tmp_path / "data"))


def scores_of(*run_dirs: Path, **options: Any) -> dict[str, Any]:
    return evaluation.evaluate([Run.open(run_dir) for run_dir in run_dirs], **options)


def test_own_test_split_has_the_scores_and_the_assessment_of_the_training(
    folder: Path, call: Call
) -> None:
    for name in ("a", "paper"):
        metrics = json.loads((folder / name / "metrics.json").read_text())
        trained, assessed = metrics["best"]["test"], metrics["assessment"]
        found = json.loads(atomic.json_text(scores_of(folder / name)))
        (one,) = found["members"]
        for score in scores.SCORES:
            value, low, high = one["scores"][score].values()
            assert value == pytest.approx(trained[score], abs=1e-5)
            assert value is None or low is None or low <= value <= high
        assert found["scored_on"]["images"] == sum(map(sum, trained["confusion"]))
        assert (assessed["checkpoint"], assessed["split"]) == ("best", "test")
        if name == "paper":
            why = assessed["calibration"].pop("why_not")
            assert why == "the run has no validation split (protocol=paper)"
            del one["calibration"]["why_not"]
            assert one["operating_point"]["fixed_on"] is None
            assert one["operating_point"]["threshold"] == 0.5
            assert one["calibration"]["after"] is one["calibration"]["temperature"] is None
        for key in ("scores", "subgroups", "net_benefit", "operating_point", "calibration"):
            assert assessed[key] == one[key]
    text = call("evaluate", folder / "paper").text
    assert "at 0.5 (decision=argmax)" in text
    assert "has no validation split (protocol=paper)" in text
    assert "was chosen on the test split, which is optimistic" in text


def test_operating_point_and_temperature_are_of_validation_and_subgroups_add_up(
    folder: Path,
) -> None:
    run, found = Run.open(folder / "a"), scores_of(folder / "a")
    val, on, (one,) = run.of_split("val"), found["scored_on"], found["members"]
    label, p = (val["label"] == "PNEUMONIA").to_numpy(int), val["p_pneumonia"].to_numpy()
    point = one["operating_point"]
    assert point["threshold"] == metrics.sensitivity_threshold(label, p)
    assert (point["fixed_on"], point["val_images"]) == ("val", len(val))
    expected = operating_point.fitted_temperature(label, p)
    assert one["calibration"]["temperature"] == pytest.approx(expected)
    for state in ("before", "after"):
        bins = one["calibration"][state]["reliability"]
        assert sum(row["images"] for row in bins) == on["images"]
    assert one["net_benefit"]["probability"] == "calibrated"
    rows = {(row["by"], row["group"]): row for row in one["subgroups"]}
    by_type = [rows["subtype", name]["PNEUMONIA"] for name in ("bacteria", "virus")]
    assert (sum(by_type), rows["subtype", "virus"]["NORMAL"]) == (on["PNEUMONIA"], on["NORMAL"])
    for by in ("source", "size"):
        group = [row for (kind, _), row in rows.items() if kind == by]
        assert len(group) > 1
        assert sum(row["NORMAL"] + row["PNEUMONIA"] for row in group) == on["images"]


# Another folder


def test_other_folder_is_scored_and_compared_with_validation(
    folder: Path, fresh: Path, tmp_path: Path, call: Call
) -> None:
    out, page = tmp_path / "a.json", tmp_path / "a.html"
    given = ("--data", fresh, "--full", "--out", out, "--page", page)
    text = call("evaluate", folder / "a", *given).text
    different = len({path.read_bytes() for path in fresh.rglob("*.jpeg")})  # identical: one patient
    assert f"30 images of {different} patients" in text
    assert "the bytes of 30 files with" in text
    assert "Against the run's " in text
    found = json.loads(out.read_text())
    shift, val = found["shift"], Run.open(folder / "a").of_split("val")
    assert (shift["reference"], shift["validation"]["images"]) == ("validation", len(val))
    assert shift["here"]["images"] == 30
    assert [one["group"] for one in shift["groups"]] == ["NORMAL", "PNEUMONIA"]
    html = page.read_text()
    assert "The images farthest from the run's own" in html or not shift["farthest"]
    assert "Sensitivity" in html
    assert "differences" not in found
    several = scores_of(folder / "a", folder / "paper", data=fresh)["members"]
    assert [one["operating_point"]["fixed_on"] for one in several] == ["val", None]
    train = labels(Run.open(folder / "paper").split.query("split == 'train'"))
    assert several[1]["net_benefit"]["fitted_at"] == train.mean()  # there is no validation split


def test_images_of_the_training_are_found(
    folder: Path, data: Path, phantoms: Path, call: Call, refused: Refused
) -> None:
    given = ("evaluate", folder / "a", "--data", phantoms)
    for part in ("--data must be new to the run; it shares", "patients (", "identical images ("):
        refused(part, *given)
    assert "LEAK: shares" in call(*given, "--allow-overlap").out
    split = Run.open(folder / "a").split
    path = split.loc[split["split"] == "train", "path"].iloc[-1]
    for name, shared in (("x.jpeg", "1 identical image"), (Path(path).name, "1 patient")):
        place = Path(shutil.copy(phantoms / path, data / "PNEUMONIA" / name))
        with pytest.raises(ValueError, match=shared):
            scores_of(folder / "a", data=data)
        place.unlink()


def test_without_the_runs_images_patients_are_compared_by_name_and_no_size_is_known(
    folder: Path, data: Path, tmp_path: Path, monkeypatch: Patch, call: Call, refused: Refused
) -> None:
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    run = Run.open(folder / "a")
    shared, compared = shared_with_train(run, *labelled(data, patient_key="person"))
    assert shared == ""
    assert "no bytes, since the run's images moved" in compared
    train = run.split[run.split["split"] == "train"]
    Image.new("L", (90, 90), 80).save(data / "NORMAL" / Path(train["path"].iloc[0]).name, "JPEG")
    shared, _ = shared_with_train(run, *labelled(data, patient_key="person"))
    assert shared.startswith("1 patient ('IM")
    shown = call("evaluate", folder / "a", "--full").out
    assert "subtype" in shown
    assert "size" not in shown
    refused("set PNEUMO_DATA", "evaluate", folder / "a", "--checkpoint", "last")


def test_unreadable_images_end_the_scoring_and_are_left_out_of_a_comparison(
    folder: Path, data: Path, tmp_path: Path, call: Call
) -> None:
    (data / "NORMAL" / "broken.jpeg").write_bytes(b"no image")
    given, out = ("evaluate", folder / "a", "--data", data), tmp_path / "a.json"
    shown = call(*given, "--out", out, code=3)
    assert BROKEN in shown.err
    assert (shown.out, out.exists()) == ("", False)
    assert f"NORMAL/{BROKEN}" in call(*given, "--unlabelled", code=3).text
    for path in data.rglob("case-*"):
        path.write_bytes(b"no image")
    assert "none of 31 is" in call(*given, "--unlabelled", code=2).err


def test_images_without_labels_are_only_compared(
    folder: Path, fresh: Path, tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    monkeypatch.setattr("pneumo.shift.two_sample.MIN_IMAGES", 5)  # the run has few patients
    data, page, out = tmp_path / "data", tmp_path / "a.html", tmp_path / "a.json"
    data.mkdir()
    latin = os.fsdecode(b"caf\xe9-")  # a name that is no UTF-8
    for path in sorted(fresh.rglob("*.jpeg")):
        inverted = 255 - np.asarray(Image.open(path).convert("L"))
        Image.fromarray(inverted).save(data / path.name)
        (data / path.name).rename(data / (latin + path.name))
    files = ("--page", page, "--out", out)
    text = call("evaluate", folder / "paper", "--data", data, "--unlabelled", *files).text
    assert json.loads(out.read_text())["shift"]["farthest"][0]["path"].startswith(latin)
    assert "caf\\xe9-case-" in page.read_text()
    assert "differ from the training hospital's: a classifier separates them" in text
    assert "edge brightness" in text
    assert "AUROC F1 NORMAL" not in text
    assert "The images farthest from the run's own" in page.read_text()


def test_mistakes_about_other_images_are_named(
    folder: Path, fresh: Path, tmp_path: Path, monkeypatch: Patch, call: Call, refused: Refused
) -> None:
    run, empty = folder / "a", tmp_path / "empty"
    empty.mkdir()
    page, other = ("--page", tmp_path / "a.html"), ("--data", fresh)
    for message, *words in (
        ("compares the images of --data DIR with those of one RUN", "--unlabelled"),
        ("--page shows the images of one RUN; got 2 runs", folder / "b", *page),
        ("of one RUN", folder / "b", *other, "--unlabelled"),
        ("must be a folder with at least one image", "--data", empty, "--unlabelled"),
        ("--data DIR --unlabelled", "--data", empty),
        ("--page must not replace a part of", *other, "--page", run / "metrics.json"),
        ("--out and --page must be two files", *page, "--out", page[1]),
        ("--prevalence sets predictive", *other, "--unlabelled", "--prevalence", "0.2"),
    ):
        refused(str(message), "evaluate", run, *words)
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    assert "! not compared with the run's own images" in call("evaluate", run, *other).out
    for wrong in (("--unlabelled",), page):
        refused("set PNEUMO_DATA", "evaluate", run, *other, *wrong)


# Runs on the same images


def test_runs_are_paired_on_the_same_images(
    folder: Path, fresh: Path, tmp_path: Path, call: Call
) -> None:
    found = scores_of(folder / "a", folder / "b", folder / "c")
    assert [row["second"] for row in found["differences"]] == [str(folder / name) for name in "bc"]
    first, second = (one["scores"]["auroc"]["value"] for one in found["members"][:2])
    assert found["differences"][0]["auroc"]["value"] == pytest.approx(first - second)
    for name in ("auroc", "sensitivity", "specificity"):
        row = found["differences"][0][name]
        equal = np.isnan([row["low"], row["high"]]).all() and row["value"] == 0
        assert equal or row["low"] <= row["value"] <= row["high"]
    long = [tmp_path / f"{20 * 'x'}{name}{20 * 'x'}" for name in "bc"]  # differ in the middle
    for run in long:
        shutil.copytree(folder / run.name[20], run)
    text = call("evaluate", folder / "a", *long).out
    assert "(each at its own operating point; paired bootstrap over patients)" in text
    assert "decided differently" in text
    text = call("evaluate", folder / "a", folder / "paper", "--data", fresh).text
    assert "different decision rules (argmax, sensitivity)" in text


def test_a_sweep_stands_for_its_finished_runs(folder: Path, tmp_path: Path, call: Call) -> None:
    runs = [Path(shutil.copytree(folder / name, tmp_path / "sweep" / name)) for name in "abc"]
    RunWriter(runs[2]).write_status("failed")
    done = call("evaluate", tmp_path / "sweep", "--out", tmp_path / "sweep.json")
    assert "not finished: c (failed)\n" in done.err
    call("evaluate", *runs[:2], "--out", tmp_path / "runs.json")
    assert (tmp_path / "sweep.json").read_text() == (tmp_path / "runs.json").read_text()


# The command


def test_the_text_is_short_and_fits_a_terminal_and_the_file_is_whole(
    folder: Path, fresh: Path, tmp_path: Path, call: Call, refused: Refused
) -> None:
    out = tmp_path / "a.json"
    out.write_text("before")
    refused("", "evaluate", tmp_path / "gone", "--out", out, keeps=tmp_path)
    shown = call("evaluate", folder / "a", "--out", out).out
    lines = [line for line in shown.split("\n") if line and line[0] not in "! "]
    assert len(lines) <= 8  # and two blank ones; the notes vary
    assert "net benefit" not in shown
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    (member,) = json.loads(out.read_text())["members"]
    assert member["run"] == str(folder / "a")
    assert member["net_benefit"]["at"]
    for runs in ("a", "abc"):
        for more in ((), ("--data", fresh)):
            shown += call("evaluate", *(folder / name for name in runs), *more, "--full").out
    assert max(map(len, shown.split("\n"))) <= 80
    assert str(folder) not in shown  # a path has no space to be broken at


def test_a_kept_run_is_small_and_evaluates_as_the_run_did(folder: Path, tmp_path: Path) -> None:
    kept, best = tmp_path / "a", folder / "a" / run_folder.BEST
    assert keep.keep(folder / "a", kept) < best.stat().st_size
    assert str(folder) not in (kept / run_folder.CONFIG).read_text()
    (was,), (now,) = (scores_of(run)["members"] for run in (folder / "a", kept))
    for name in scores.SCORES:
        wanted = was["scores"][name]["value"]  # of 5 digits there are ties
        assert now["scores"][name]["value"] == pytest.approx(wanted, abs=1e-3, nan_ok=True)
    with pytest.raises(FileExistsError):
        keep.keep(folder / "a", kept)
