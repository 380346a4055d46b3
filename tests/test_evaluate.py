import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import keep
from pneumo import atomic, evaluate
from pneumo.data import phantom, reader
from pneumo.evaluation import metrics, operating_point, scores
from pneumo.inference.leakage import labelled, shared_with_train
from pneumo.runs import run_folder
from pneumo.runs.run import Run
from pneumo.runs.writer import RunWriter
from pneumo.shift import evaluation
from tests.conftest import SMALL, Capture, Patch

# all of it stands on a run that is trained first
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("environment")]


@pytest.fixture(scope="module")
def folder(environment: None, finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs a and b of one split with a validation split, c of another, and paper without one."""
    from pneumo.train import main

    root = tmp_path_factory.mktemp("runs")
    shutil.copytree(finished_run, root / "a")
    settings = {
        "b": ("protocol=holdout", "decision=sensitivity", "seed=0", "optimizer.lr=0.004"),
        "c": ("protocol=holdout", "decision=sensitivity", "seed=3"),
        "paper": ("protocol=paper", "seed=0"),
    }
    for name, chosen in settings.items():
        few = ("trainer.max_epochs=1", *SMALL)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            patch.setattr(sys, "argv", ["train", f"hydra.run.dir={name}", *few, *chosen])
            main()
    return root


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled images of new patients, in a folder with NORMAL and PNEUMONIA and other names."""
    root = tmp_path_factory.mktemp("fresh")
    found = phantom.generate(root / "set", num_images=30, seed=5, num_workers=1, progress=False)
    for number, path in enumerate(sorted(found.rglob("*.jpeg"))):
        place = root / "clinic" / path.parent.name / f"case-{number}.jpeg"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return root / "clinic"


def scores_of(run_dirs: Sequence[Path], **options: Any) -> dict[str, Any]:
    return evaluation.evaluate([Run.open(run_dir) for run_dir in run_dirs], **options)


def call(*arguments: str | Path) -> int:
    return evaluate.main(list(map(str, arguments)))


def test_own_test_part_has_the_scores_of_the_training(folder: Path) -> None:
    found = scores_of([folder / "a"])
    trained = json.loads((folder / "a" / "metrics.json").read_text())["best"]["test"]
    (one,) = found["members"]
    for name in scores.SCORES:
        value = one["scores"][name]["value"]
        written = float("nan") if trained[name] is None else trained[name]
        assert value == pytest.approx(written, abs=1e-5, nan_ok=True)
        assert not value < one["scores"][name]["low"]
        assert not value > one["scores"][name]["high"]
    assert found["scored_on"]["images"] == sum(map(sum, trained["confusion"]))


def test_operating_point_and_temperature_are_of_validation_only(folder: Path) -> None:
    predictions = pd.read_csv(folder / "a" / "predictions.csv")
    val = predictions[predictions["split"] == "val"]
    label = (val["label"] == "PNEUMONIA").to_numpy(int)
    (one,) = scores_of([folder / "a"])["members"]
    point = one["operating_point"]
    p = val["p_pneumonia"].to_numpy()
    assert point["threshold"] == metrics.sensitivity_threshold(label, p)
    assert point["fixed_on"] == "val"
    assert point["val_images"] == len(val)
    reached = scores.operating_point(label, p, threshold=point["threshold"])
    assert reached["sensitivity"] >= 0.95
    expected = operating_point.fitted_temperature(label, p)
    assert one["calibration"]["temperature"] == pytest.approx(expected)
    for state in ("before", "after"):
        bins = one["calibration"][state]["reliability"]
        assert sum(row["images"] for row in bins) == len(Run.open(folder / "a").of_split("test"))
    assert one["net_benefit"]["probability"] == "calibrated"


def test_the_paper_protocol_has_no_temperature_and_the_text_says_why(
    folder: Path, capsys: Capture
) -> None:
    assert call(folder / "paper") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "at 0.5 (decision=argmax)" in text
    assert "has no validation split (protocol=paper)" in text
    assert "was chosen on the test split, which is optimistic" in text
    (one,) = scores_of([folder / "paper"])["members"]
    assert one["operating_point"]["fixed_on"] is None
    assert one["operating_point"]["threshold"] == 0.5
    assert one["calibration"]["after"] is one["calibration"]["temperature"] is None


@pytest.mark.parametrize("name", ["a", "paper"])
def test_the_assessment_of_the_training_is_the_same(folder: Path, name: str) -> None:
    trained = json.loads((folder / name / "metrics.json").read_text())["assessment"]
    (one,) = json.loads(atomic.json_text(scores_of([folder / name])))["members"]
    assert (trained["checkpoint"], trained["split"]) == ("best", "test")
    if name == "paper":
        why = trained["calibration"].pop("why_not")
        assert why == "the run has no validation split (protocol=paper)"
        del one["calibration"]["why_not"]
    for key in ("scores", "subgroups", "net_benefit", "operating_point", "calibration"):
        assert trained[key] == one[key]


def test_subgroups_add_up(folder: Path) -> None:
    found = scores_of([folder / "a"])
    rows = {(row["by"], row["group"]): row for row in found["members"][0]["subgroups"]}
    on = found["scored_on"]
    by_type = [rows["subtype", name]["PNEUMONIA"] for name in ("bacteria", "virus")]
    assert sum(by_type) == on["PNEUMONIA"]
    assert rows["subtype", "virus"]["NORMAL"] == on["NORMAL"]
    for by in ("source", "size"):
        group = [row for (kind, _), row in rows.items() if kind == by]
        assert len(group) > 1
        assert sum(row["NORMAL"] + row["PNEUMONIA"] for row in group) == on["images"]


def test_missing_images_are_reported(
    folder: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    assert call(folder / "a", "--full") == 0
    shown = capsys.readouterr().out
    assert "subtype" in shown
    assert "size" not in shown
    assert call(folder / "a", "--checkpoint", "last") == 2
    assert "set PNEUMO_DATA" in capsys.readouterr().err


# Another folder


def test_other_folder_is_scored(folder: Path, fresh: Path, capsys: Capture) -> None:
    assert call(folder / "a", "--data", fresh) == 0
    text = " ".join(capsys.readouterr().out.split())
    different = len({path.read_bytes() for path in fresh.rglob("*.jpeg")})  # identical: one patient
    assert f"30 images of {different} patients" in text
    assert "the bytes of 30 files with" in text
    found = scores_of([folder / "a", folder / "paper"], data=fresh)
    assert len(found["members"]) == 2
    assert found["members"][0]["operating_point"]["fixed_on"] == "val"


def test_folder_of_the_training_is_refused(folder: Path, phantoms: Path, capsys: Capture) -> None:
    assert call(folder / "a", "--data", phantoms) == 2
    error = capsys.readouterr().err
    assert "--data must be new to the run; it shares" in error
    assert "patients (" in error
    assert "identical images (" in error
    assert call(folder / "a", "--data", phantoms, "--allow-overlap") == 0
    assert "LEAK: shares" in capsys.readouterr().out


@pytest.mark.parametrize("renamed", [False, True])
def test_one_train_image_in_a_folder_is_found(
    folder: Path, fresh: Path, phantoms: Path, tmp_path: Path, renamed: bool
) -> None:
    data = Path(shutil.copytree(fresh, tmp_path / "data"))
    member = Run.open(folder / "a")
    path = member.split.loc[member.split["split"] == "train", "path"].iloc[-1]
    name = "x.jpeg" if renamed else Path(path).name
    shutil.copy(phantoms / path, data / "PNEUMONIA" / name)
    with pytest.raises(ValueError, match="1 identical images" if renamed else "1 patients"):
        scores_of([folder / "a"], data=data)


def test_patients_are_found_where_the_bytes_cannot_be_compared(
    folder: Path, fresh: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    member = Run.open(folder / "a")
    root, table = labelled(fresh, patient_key="person")
    shared, compared = shared_with_train(Run.open(folder / "a"), root, table)
    assert shared == ""
    assert "no bytes, since the run's images moved" in compared
    train = member.split[member.split["split"] == "train"]
    data = Path(shutil.copytree(fresh, tmp_path / "data"))
    name = Path(train["path"].iloc[0]).name
    Image.new("L", (90, 90), 80).save(data / "NORMAL" / name, "JPEG")
    shared, _ = shared_with_train(member, *labelled(data, patient_key="person"))
    assert shared.startswith("1 patients (IM")


def test_unreadable_image_ends_the_scoring(
    folder: Path, fresh: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = Path(shutil.copytree(fresh, tmp_path / "data"))
    (data / "NORMAL" / "broken.jpeg").write_bytes(b"no image")
    out = tmp_path / "a.json"
    assert call(folder / "a", "--data", data, "--out", out) == 3
    captured = capsys.readouterr()
    assert "broken.jpeg: must be a PNG, JPEG or DICOM image" in captured.err
    assert captured.out == ""
    assert not out.exists()


# Other images compared with the run's own


def test_other_folder_is_compared_with_validation(
    folder: Path, fresh: Path, tmp_path: Path, capsys: Capture
) -> None:
    out, page = tmp_path / "a.json", tmp_path / "a.html"
    assert call(folder / "a", "--data", fresh, "--full", "--out", out, "--page", page) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Against the run's " in text
    found = json.loads(out.read_text())
    shift = found["shift"]
    val = Run.open(folder / "a").of_split("val")
    assert shift["reference"] == "validation"
    assert shift["validation"]["images"] == len(val)
    assert shift["here"]["images"] == 30
    assert [one["group"] for one in shift["groups"]] == ["NORMAL", "PNEUMONIA"]
    html = page.read_text()
    assert "The images farthest from the run's own" in html or not shift["farthest"]
    assert "Sensitivity" in html
    assert "differences" not in found


@pytest.mark.parametrize(
    ("run", "checkpoint", "split", "reference"),
    [("a", "best", "val", "validation"), ("paper", "last", "test", "test")],
)
def test_each_image_is_read_once(
    folder: Path,
    fresh: Path,
    monkeypatch: Patch,
    checkpoint: str,
    run: str,
    split: str,
    reference: str,
) -> None:
    names = []
    read_bytes = reader._bytes

    def counted(name: str) -> bytes:
        names.append(name)
        return read_bytes(name)

    monkeypatch.setattr(reader, "_bytes", counted)
    found = scores_of([folder / run], data=fresh, checkpoint=checkpoint)
    assert found["shift"]["reference"] == reference
    own = Run.open(folder / run).of_split(split)
    assert len(names) == len(set(names)) == 30 + len(own)


def test_images_without_labels_are_only_compared(
    folder: Path, fresh: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr("pneumo.shift.two_sample.MIN_IMAGES", 5)  # the run has few patients
    data, page, out = tmp_path / "data", tmp_path / "a.html", tmp_path / "a.json"
    data.mkdir()
    for path in sorted(fresh.rglob("*.jpeg")):
        inverted = 255 - np.asarray(Image.open(path).convert("L"))
        Image.fromarray(inverted).save(data / path.name)
    latin = os.fsdecode(b"caf\xe9-")  # a name that is no UTF-8
    for path in sorted(data.glob("*.jpeg")):
        path.rename(data / (latin + path.name))
    files = ("--page", page, "--out", out)
    assert call(folder / "paper", "--data", data, "--unlabelled", *files) == 0
    assert json.loads(out.read_text())["shift"]["farthest"][0]["path"].startswith(latin)
    assert "caf\\xe9-case-" in page.read_text()
    text = " ".join(capsys.readouterr().out.split())
    assert "differ from the training hospital's: a classifier can tell them" in text
    assert "edge brightness" in text
    assert "AUROC F1 NORMAL" not in text
    assert "The images farthest from the run's own" in page.read_text()


def test_unreadable_images_are_named_and_the_others_compared(
    folder: Path, fresh: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = Path(shutil.copytree(fresh, tmp_path / "data"))
    (data / "NORMAL" / "broken.jpeg").write_bytes(b"no image")
    assert call(folder / "a", "--data", data, "--unlabelled") == 3
    out = capsys.readouterr().out
    assert "NORMAL/broken.jpeg: must be a PNG, JPEG or DICOM image" in " ".join(out.split())
    for path in data.rglob("case-*"):
        path.write_bytes(b"no image")
    assert call(folder / "a", "--data", data, "--unlabelled") == 2
    assert "none of 31 is" in capsys.readouterr().err


def test_mistakes_about_other_images_are_named(
    folder: Path, fresh: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    run, empty, both = folder / "a", tmp_path / "empty", tmp_path / "both.html"
    empty.mkdir()
    page = ("--page", tmp_path / "a.html")
    for arguments, message in (
        (("--unlabelled",), "compares the images of --data DIR with those of one RUN"),
        ((folder / "b", *page), "--page shows the images of one RUN; got 2 runs"),
        ((folder / "b", "--data", fresh, "--unlabelled"), "of one RUN"),
        (("--data", empty, "--unlabelled"), "--data must be a folder with at least one image"),
        (("--data", empty), "--data DIR --unlabelled"),
        (("--data", fresh, "--page", run / "metrics.json"), "--page must not replace a part of"),
        (("--data", fresh, "--page", both, "--out", both), "--out and --page must be two files"),
        (("--data", fresh, "--unlabelled", "--prevalence", "0.2"), "--prevalence sets predictive"),
    ):
        assert call(run, *arguments) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    assert call(run, "--data", fresh) == 0
    assert "! not compared with the run's own images" in capsys.readouterr().out
    for wrong in (("--unlabelled",), page):
        assert call(run, "--data", fresh, *wrong) == 2
        assert "set PNEUMO_DATA" in capsys.readouterr().err


# Runs on the same images


def test_runs_are_paired_on_the_same_images(folder: Path, capsys: Capture) -> None:
    found = scores_of([folder / "a", folder / "b", folder / "c"])
    assert [row["second"] for row in found["differences"]] == [str(folder / name) for name in "bc"]
    first, second = (one["scores"]["auroc"]["value"] for one in found["members"][:2])
    auroc = found["differences"][0]["auroc"]
    assert auroc["value"] == pytest.approx(first - second)
    for name in ("auroc", "sensitivity", "specificity"):
        row = found["differences"][0][name]
        equal = np.isnan([row["low"], row["high"]]).all() and row["value"] == 0
        assert equal or row["low"] <= row["value"] <= row["high"]
    assert call(folder / "a", folder / "b") == 0
    text = capsys.readouterr().out
    assert "(each at its own operating point; paired bootstrap over patients)" in text
    assert "decided differently" in text
    assert call(folder / "a", folder / "paper", "--allow-overlap") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "different decision rules (argmax, sensitivity)" in text


def test_a_sweep_stands_for_its_finished_runs(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    runs = [Path(shutil.copytree(folder / name, tmp_path / "sweep" / name)) for name in "abc"]
    RunWriter(runs[2]).write_status("failed")
    assert call(tmp_path / "sweep", "--out", tmp_path / "sweep.json") == 0
    assert "not finished: c (failed)\n" in capsys.readouterr().err
    assert call(*runs[:2], "--out", tmp_path / "runs.json") == 0
    assert (tmp_path / "sweep.json").read_text() == (tmp_path / "runs.json").read_text()


# The command


def test_the_text_is_short_and_fits_a_terminal_and_the_file_is_whole(
    folder: Path, fresh: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "a.json"
    out.write_text("before")
    assert call(tmp_path / "gone", "--out", out) == 2
    assert out.read_text() == "before"
    assert call(folder / "a", "--out", out) == 0
    shown = capsys.readouterr().out
    lines = [line for line in shown.split("\n") if line and line[0] not in "! "]
    assert len(lines) <= 8  # and two blank ones; the notes vary
    assert "net benefit" not in shown
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    (member,) = json.loads(out.read_text())["members"]
    assert member["run"] == str(folder / "a")
    assert member["net_benefit"]["at"]
    for arguments in ((folder / "a",), (folder / "a", folder / "b", folder / "c")):
        assert call(*arguments, "--full") == 0
        assert call(*arguments, "--data", fresh, "--full") == 0
    shown += capsys.readouterr().out
    assert max(map(len, shown.split("\n"))) <= 80
    assert str(folder) not in shown  # a path has no space to be broken at


def test_a_kept_run_is_small_and_evaluates_as_the_run_did(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "a"
    assert (
        keep.keep(folder / "a", kept) < (folder / "a" / "checkpoints" / "best.ckpt").stat().st_size
    )
    config = (kept / run_folder.CONFIG).read_text()
    assert str(folder) not in config
    (was,) = scores_of([folder / "a"])["members"]
    (now,) = scores_of([kept])["members"]
    for name in scores.SCORES:
        wanted = pytest.approx(was["scores"][name]["value"], abs=1e-4, nan_ok=True)
        assert now["scores"][name]["value"] == wanted
    with pytest.raises(FileExistsError):
        keep.keep(folder / "a", kept)
