import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import keep
from pneumo import evaluate
from pneumo.data import phantom, reader, split
from pneumo.evaluation import metrics, operating_point, scores
from pneumo.inference import ensemble
from pneumo.inference.leakage import labelled, shared_with_train
from pneumo.runs import run_folder
from tests.conftest import SMALL

pytestmark = pytest.mark.slow  # all of it stands on a run that is trained first

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module", autouse=True)
def _environment(phantoms: Path, cache_dir: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PNEUMO_DATA", str(phantoms))
        patch.setenv("PNEUMO_CACHE", str(cache_dir))
        yield


@pytest.fixture(scope="module")
def folder(_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs a and b of one split with a validation split, c of another, and paper without one."""
    from pneumo.train import main

    root = tmp_path_factory.mktemp("runs")
    settings = {
        "a": ("protocol=holdout", "seed=0"),
        "b": ("protocol=holdout", "seed=0", "optimizer.lr=0.004"),
        "c": ("protocol=holdout", "seed=3"),
        "paper": ("protocol=paper", "seed=0"),
    }
    for name, chosen in settings.items():
        few = ("trainer.max_epochs=2", *SMALL)
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


def call(*arguments: str | Path) -> int:
    return evaluate.main(list(map(str, arguments)))


def test_own_test_part_has_the_scores_of_the_training(folder: Path) -> None:
    found = evaluate.evaluate([folder / "a"])
    told = json.loads((folder / "a" / "metrics.json").read_text())["best"]["test"]
    (one,) = found["members"]
    for name in scores.SCORES:
        value = one["scores"][name]["value"]
        written = float("nan") if told[name] is None else told[name]
        assert value == pytest.approx(written, abs=1e-5, nan_ok=True)
        assert not value < one["scores"][name]["low"]
        assert not value > one["scores"][name]["high"]
    assert found["scored_on"]["images"] == sum(map(sum, told["confusion"]))


def test_operating_point_and_temperature_are_of_validation_only(folder: Path) -> None:
    predictions = pd.read_csv(folder / "a" / "predictions.csv")
    val = predictions[predictions["split"] == "val"]
    label = (val["label"] == "PNEUMONIA").to_numpy(int)
    (one,) = evaluate.evaluate([folder / "a"])["members"]
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
        assert sum(row["images"] for row in bins) == len(
            ensemble.read(folder / "a").of_split("test")
        )
    assert one["net_benefit"]["probability"] == "calibrated"


def test_paper_protocol_fixes_nothing_and_says_so(folder: Path, capsys: Capture) -> None:
    assert call(folder / "paper") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "no operating point" in text
    assert "has no validation split (protocol=paper)" in text
    assert "was chosen on the test split, which is optimistic" in text
    (one,) = evaluate.evaluate([folder / "paper"])["members"]
    assert one["operating_point"]["fixed_on"] is None
    assert one["operating_point"]["threshold"] == 0.5
    assert one["calibration"]["after"] is one["calibration"]["temperature"] is None


@pytest.mark.parametrize("name", ["a", "paper"])
def test_metrics_of_the_training_say_the_same(folder: Path, name: str) -> None:
    told = json.loads((folder / name / "metrics.json").read_text())["assessment"]
    (one,) = evaluate.evaluate([folder / name])["members"]
    assert (told["checkpoint"], told["split"]) == ("best", "test")
    for key in ("scores", "subgroups", "net_benefit"):
        assert told[key] == _as_written(one[key])
    point, wanted = told["operating_point"], _as_written(one["operating_point"])
    if name == "paper":
        for found in (point, told["calibration"]):
            assert found.pop("why_not") == "the run has no validation split (protocol=paper)"
        del wanted["why_not"], one["calibration"]["why_not"]
    assert point == wanted
    assert told["calibration"] == _as_written(one["calibration"])


def _as_written(found: Any) -> Any:
    return json.loads(json.dumps(run_folder._finite(found)))


def test_run_of_an_earlier_version_is_assessed_from_its_predictions(folder: Path) -> None:
    member = ensemble.read(folder / "a")
    told = ensemble.assessment(member)
    earlier = {key: value for key, value in member.metrics.items() if key != "assessment"}
    made = ensemble.assessment(replace(member, metrics=earlier))
    for key in ("scores", "operating_point", "calibration", "net_benefit"):
        assert told[key] == _as_written(made[key])


def test_predictive_values_are_of_the_stated_prevalence(folder: Path) -> None:
    (one,) = evaluate.evaluate([folder / "a"], prevalences=[0.1, 0.9])["members"]
    point = one["operating_point"]
    own = metrics.predictive_values(
        sensitivity=point["sensitivity"]["value"],
        specificity=point["specificity"]["value"],
        prevalence=[0.1, 0.9],
    )
    rows = point["at_prevalence"]
    assert [row["prevalence"] for row in rows] == [0.1, 0.9]
    np.testing.assert_allclose([row["ppv"] for row in rows], own[0])
    np.testing.assert_allclose([row["npv"] for row in rows], own[1])


def test_subgroups_add_up(folder: Path) -> None:
    found = evaluate.evaluate([folder / "a"])
    rows = {(row["by"], row["group"]): row for row in found["members"][0]["subgroups"]}
    on = found["scored_on"]
    by_type = [rows["subtype", name]["PNEUMONIA"] for name in ("bacteria", "virus")]
    assert sum(by_type) == on["PNEUMONIA"]
    assert rows["subtype", "virus"]["NORMAL"] == on["NORMAL"]
    for by in ("source", "size"):
        group = [row for (kind, _), row in rows.items() if kind == by]
        assert len(group) > 1
        assert sum(row["NORMAL"] + row["PNEUMONIA"] for row in group) == on["images"]


def test_last_checkpoint_is_scored_from_the_images(folder: Path) -> None:
    told = json.loads((folder / "a" / "metrics.json").read_text())["last"]["test"]
    found = evaluate.evaluate([folder / "a"], checkpoint="last")
    (one,) = found["members"]
    assert one["scores"]["auroc"]["value"] == pytest.approx(told["auroc"], abs=1e-5)
    assert one["operating_point"]["fixed_on"] == "val"


def test_images_that_are_not_there_are_asked_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    assert call(folder / "a") == 0
    assert "size" not in capsys.readouterr().out
    assert call(folder / "a", "--checkpoint", "last") == 2
    assert "Set PNEUMO_DATA" in capsys.readouterr().err


def test_ensemble_is_the_mean_and_weights_are_of_validation(folder: Path) -> None:
    found = evaluate.evaluate([folder / "a", folder / "b"])
    both = [ensemble.read(folder / name).of_split("test") for name in "ab"]
    label, mean = ensemble.labels(both[0]), (both[0]["p_pneumonia"] + both[1]["p_pneumonia"]) / 2
    assert found["ensemble"]["scores"]["auroc"]["value"] == scores.auroc(label, mean)
    assert [one["run"] for one in found["members"]] == [str(folder / name) for name in "ab"]
    weights = found["weighted"]["weights"]
    val = ensemble.common_val([ensemble.read(folder / name) for name in "ab"])
    assert not isinstance(val, str)
    np.testing.assert_allclose(weights, operating_point.fit_weights(*val))
    assert found["weighted"]["operating_point"]["fixed_on"] == "val"


def test_order_of_the_runs_changes_no_score(folder: Path) -> None:
    one, other = (
        evaluate.evaluate([folder / name for name in names])["ensemble"] for names in ("ab", "ba")
    )
    # two-epoch networks call everything PNEUMONIA, so some scores are NaN, in both alike
    np.testing.assert_equal(one, other)
    assert np.isfinite(one["scores"]["auroc"]["value"])


def test_weights_find_the_better_member() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    good = np.clip(label * 0.6 + 0.2 + rng.normal(0, 0.1, 400), 0.01, 0.99)
    weights = operating_point.fit_weights(label, np.stack([rng.uniform(0.01, 0.99, 400), good]))
    assert weights.sum() == pytest.approx(1)
    assert weights[1] > 0.95
    np.testing.assert_allclose(
        operating_point.fit_weights(label, np.stack([good, good])), [0.5, 0.5]
    )


def test_calibration_keeps_order_and_one_half() -> None:
    p = np.linspace(0, 1, 21)
    after = operating_point.calibrated(p, temperature=2.0)
    assert (np.diff(after) > 0).all()
    assert after[10] == pytest.approx(0.5)
    np.testing.assert_allclose(operating_point.calibrated(p[1:-1], temperature=1), p[1:-1])


def test_runs_of_other_splits_are_scored_on_what_none_was_trained_on(folder: Path) -> None:
    found = evaluate.evaluate([folder / "a", folder / "c"])
    tests = [set(ensemble.read(folder / name).of_split("test")["path"]) for name in "ac"]
    assert found["scored_on"]["images"] == len(tests[0] & tests[1])
    assert "the runs have different splits" in found["notes"][0]
    assert found["weighted"]["why_not"] == "the runs have different validation splits"
    assert found["ensemble"]["operating_point"]["fixed_on"] is None


def _without_common(folder: Path, tmp_path: Path) -> list[Path]:
    """Runs a and c, whose test splits have but NORMAL radiographs in common."""
    known = [ensemble.read(folder / name) for name in "ac"]
    both = set(known[0].of_split("test")["path"]) & set(known[1].of_split("test")["path"])
    run = Path(shutil.copytree(folder / "c", tmp_path / "c"))
    table, scored = (pd.read_csv(run / f"{name}.csv") for name in ("split", "predictions"))
    for one in (table, scored):
        one.loc[one["path"].isin(both) & (one["label"] == "PNEUMONIA"), "split"] = "train"
    scored[scored["split"] != "train"].to_csv(run / "predictions.csv", index=False)
    table.to_csv(run / "split.csv", index=False)
    found = json.loads((run / "metrics.json").read_text())
    found["data"]["split_sha256"] = split.digest(table)
    (run / "metrics.json").write_text(json.dumps(found))
    return [folder / "a", run]


def test_ensemble_without_common_test_images_is_refused(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    both = _without_common(folder, tmp_path)
    assert call(*both) == 2
    assert "must be scored on images that no run was trained on" in capsys.readouterr().err
    assert call(*both, "--allow-overlap") == 0
    text = capsys.readouterr().out
    assert "! LEAK: other runs were trained on some of these images" in text
    assert f"{len(ensemble.read(both[0]).of_split('test'))} images" in text


# Another folder


def test_other_folder_is_scored(folder: Path, fresh: Path, capsys: Capture) -> None:
    assert call(folder / "a", "--data", fresh) == 0
    text = " ".join(capsys.readouterr().out.split())
    different = len({path.read_bytes() for path in fresh.rglob("*.jpeg")})  # identical: one patient
    assert f"30 images of {different} patients" in text
    assert "the bytes of 30 files with" in text
    found = evaluate.evaluate([folder / "a", folder / "paper"], data=fresh)
    assert len(found["members"]) == 2
    assert found["members"][0]["operating_point"]["fixed_on"] == "val"


def test_what_lies_beside_the_labels_is_told_once(
    folder: Path, fresh: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Path(shutil.copytree(fresh, tmp_path / "data"))
    (data / "VIRUS").mkdir()
    (data / "NORMAL" / "notes.txt").touch()
    (data / "loose.jpeg").touch()
    assert call(folder / "a", folder / "paper", "--data", data) == 0
    said = "Left out 3 that are not used: 'VIRUS/', 'loose.jpeg', 'NORMAL/notes.txt'"
    assert caplog.messages.count(said) == len(caplog.messages) == 1


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
    member = ensemble.read(folder / "a")
    path = member.split.loc[member.split["split"] == "train", "path"].iloc[-1]
    name = "x.jpeg" if renamed else Path(path).name
    shutil.copy(phantoms / path, data / "PNEUMONIA" / name)
    with pytest.raises(ValueError, match="1 identical images" if renamed else "1 patients"):
        evaluate.evaluate([folder / "a"], data=data)


def test_patients_are_found_where_the_bytes_cannot_be_compared(
    folder: Path, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    member = ensemble.read(folder / "a")
    root, table = labelled(fresh, patient_key="person")
    shared, compared = shared_with_train(member, root, table)
    assert shared == ""
    assert "no bytes, since the run's images are not where it found them" in compared
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
    assert call(folder / "a", "--data", fresh, "--out", out, "--page", page) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Against the run's " in text
    found = json.loads(out.read_text())
    shift = found["shift"]
    val = ensemble.read(folder / "a").of_split("val")
    assert shift["reference"] == "validation"
    assert shift["validation"]["images"] == len(val)
    assert shift["here"]["images"] == 30
    assert [one["group"] for one in shift["groups"]] == ["NORMAL", "PNEUMONIA"]
    html = page.read_text()
    assert "The images farthest from the run's own" in html or not shift["farthest"]
    assert "Sensitivity" in html
    assert "differences" not in found


@pytest.mark.parametrize(
    ("run", "split", "reference"), [("a", "val", "validation"), ("paper", "test", "test")]
)
@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_each_image_is_read_once(
    folder: Path,
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
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
    found = evaluate.evaluate([folder / run], data=fresh, checkpoint=checkpoint)
    assert found["shift"]["reference"] == reference
    own = ensemble.read(folder / run).of_split(split)
    assert len(names) == len(set(names)) == 30 + len(own)


def test_images_without_labels_are_only_compared(
    folder: Path, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
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
    assert "! These images are not exchangeable with the run's test images" in text
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


def test_one_image_is_not_tested(
    folder: Path, fresh: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(next(fresh.rglob("*.jpeg")), tmp_path / "data")
    assert call(folder / "a", "--data", tmp_path / "data", "--unlabelled") == 0
    assert "a test needs 20 patients" in " ".join(capsys.readouterr().out.split())


def test_mistakes_about_other_images_are_named(
    folder: Path, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run = folder / "a"
    for wrong in (["--unlabelled"], ["--page", tmp_path / "a.html"]):
        assert call(run, *wrong) == 2
        assert "compares the images of --data DIR with those of one RUN" in capsys.readouterr().err
    assert call(run, folder / "b", "--data", fresh, "--unlabelled") == 2
    assert "of one RUN" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert call(run, "--data", tmp_path / "empty", "--unlabelled") == 2
    assert "--data must hold at least one image" in capsys.readouterr().err
    assert call(run, "--data", tmp_path / "empty") == 2
    assert "by --unlabelled" in capsys.readouterr().err
    assert call(run, "--data", fresh, "--page", run / "metrics.json") == 2
    assert "--page must not replace a part of a run" in capsys.readouterr().err
    both = tmp_path / "both.html"
    assert call(run, "--data", fresh, "--page", both, "--out", both) == 2
    assert "--out and --page must be two files" in capsys.readouterr().err
    assert call(run, "--data", fresh, "--unlabelled", "--prevalence", "0.2") == 2
    assert "--prevalence is of predictive values" in capsys.readouterr().err
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    assert call(run, "--data", fresh) == 0
    assert "! not compared with the run's own images" in capsys.readouterr().out
    for wrong in (["--unlabelled"], ["--page", tmp_path / "a.html"]):
        assert call(run, "--data", fresh, *wrong) == 2
        assert "Set PNEUMO_DATA" in capsys.readouterr().err


# Runs on the same images


def test_runs_are_paired_on_the_same_images(folder: Path, capsys: Capture) -> None:
    found = evaluate.evaluate([folder / "a", folder / "b", folder / "c"])
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
    assert "point, at 0.5 where a run has none; paired" in " ".join(capsys.readouterr().out.split())


def test_a_sweep_stands_for_its_finished_runs(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    runs = [Path(shutil.copytree(folder / name, tmp_path / "sweep" / name)) for name in "abc"]
    run_folder.write_status(runs[2], "failed")
    assert call(tmp_path / "sweep", "--out", tmp_path / "sweep.json") == 0
    assert "not finished: c (failed)\n" in capsys.readouterr().err
    assert call(*runs[:2], "--out", tmp_path / "runs.json") == 0
    assert (tmp_path / "sweep.json").read_text() == (tmp_path / "runs.json").read_text()


@pytest.mark.parametrize("labels", [(), ("NORMAL",)])
def test_folder_without_labels_is_named(
    folder: Path, fresh: Path, tmp_path: Path, labels: tuple[str, ...], capsys: Capture
) -> None:
    for label in labels:
        shutil.copytree(fresh / label, tmp_path / "data" / label)
    assert call(folder / "a", "--data", tmp_path / "data") == 2
    message = "must hold images of both labels" if labels else "must be a folder with NORMAL and"
    assert message in capsys.readouterr().err


# The command


def test_text_fits_a_terminal(folder: Path, fresh: Path, capsys: Capture) -> None:
    for arguments in ((folder / "a",), (folder / "a", folder / "b", folder / "c")):
        assert call(*arguments) == 0
        assert call(*arguments, "--data", fresh) == 0
    # a path has no space to be broken at
    lines = capsys.readouterr().out.replace(str(fresh), "DIR").replace(str(folder), "R").split("\n")
    assert max(map(len, lines)) <= 80


def test_text_says_what_ece_prevalence_and_intervals_are_of(folder: Path, capsys: Capture) -> None:
    assert call(folder / "a", "--prevalence", "0.005", "0.1") == 0
    text = capsys.readouterr().out
    assert "calibration of PNEUMONIA's probability: ECE" in text
    starts = [line[:8].strip() for line in text.split("by prevalence:\n")[1].splitlines()]
    assert starts[2:] == ["0.5%", "10%"]
    assert "fewer than 20 patients of a class among" in text.replace("\n    ", " ")


def test_json_is_whole_and_replaces_only_what_was_named(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    out.write_text("before")
    assert call(tmp_path / "gone", "--out", out) == 2
    assert out.read_text() == "before"
    assert call(folder / "a", "--out", out) == 0
    assert json.loads(out.read_text())["members"][0]["run"] == str(folder / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("name", ["metrics.json", "status.json", "checkpoints/x.json"])
def test_json_does_not_replace_a_part_of_a_run(folder: Path, name: str, capsys: Capture) -> None:
    before = (folder / "a" / "metrics.json").read_bytes()
    assert call(folder / "a", "--out", folder / "a" / name) == 2
    assert "--out must not replace a part of a run" in capsys.readouterr().err
    assert (folder / "a" / "metrics.json").read_bytes() == before


def _column(name: str, value: Any) -> Any:
    def spoil(run: Path) -> None:
        table = pd.read_csv(run / "predictions.csv")
        table[name] = table[name].astype(object)
        table.loc[0, name] = value
        table.to_csv(run / "predictions.csv", index=False)

    return spoil


def _failed(run: Path) -> None:
    run_folder.write_status(run, "failed")
    (run / "metrics.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_column("p_pneumonia", 1.5), "must hold probabilities from 0 to 1"),
        (_column("p_pneumonia", ""), "must hold probabilities from 0 to 1"),
        (_column("p_pneumonia", "x"), "must hold probabilities from 0 to 1"),
        (_column("label", "WELL"), "holds other labels, or a path twice"),
        (_column("path", "../../x.jpeg"), "must lead to images within their folder"),
        (_column("path", "test/NORMAL/other.jpeg"), "must be of the images in split.csv"),
        (lambda run: (run / "predictions.csv").write_text("path\n"), "lacks label, split"),
        (lambda run: (run / "metrics.json").write_text('{"schema": 1}'), "it has no model"),
        (lambda run: (run / "metrics.json").write_text('{"schema": 9}'), "must have schema 1"),
        (_failed, "status: failed"),
    ],
)
def test_broken_runs_are_named(
    folder: Path, tmp_path: Path, spoil: Any, message: str, capsys: Capture
) -> None:
    run = Path(shutil.copytree(folder / "a", tmp_path / "run"))
    spoil(run)
    assert call(run) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("error: ") == 1


def test_mistakes_are_named(folder: Path, capsys: Capture) -> None:
    assert call(folder / "a", folder / "." / "a") == 2
    assert "each run may be named once" in capsys.readouterr().err
    for wrong in ("0", "1", "x", "nan"):
        with pytest.raises(SystemExit, match="2"):
            call(folder / "a", "--prevalence", wrong)


def test_ctrl_c_ends_with_130(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: stop())
    assert call(folder / "a", "--out", tmp_path / "a.json") == 130
    assert list(tmp_path.iterdir()) == []


def test_help_has_examples(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        evaluate.main(["--help"])
    assert "python -m pneumo.evaluate RUN --data" in capsys.readouterr().out


def test_a_kept_run_is_small_and_evaluates_as_the_run_did(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "a"
    assert (
        keep.keep(folder / "a", kept) < (folder / "a" / "checkpoints" / "best.ckpt").stat().st_size
    )
    config = (kept / run_folder.CONFIG).read_text()
    assert str(folder) not in config
    (was,) = evaluate.evaluate([folder / "a"])["members"]
    (now,) = evaluate.evaluate([kept])["members"]
    for name in scores.SCORES:
        wanted = pytest.approx(was["scores"][name]["value"], abs=1e-4, nan_ok=True)
        assert now["scores"][name]["value"] == wanted
    with pytest.raises(FileExistsError):
        keep.keep(folder / "a", kept)


def test_a_run_with_a_gap_is_not_kept(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "a", tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    path = tmp_path / "run" / "metrics.json"
    found = json.loads(path.read_text())
    del found["history"][0]
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"must be of all epochs; it has \[1\]"):
        keep.keep(tmp_path / "run", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
