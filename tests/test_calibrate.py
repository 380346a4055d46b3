import json
import shutil
from pathlib import Path

import pytest

from pneumo import api
from pneumo.data import phantom
from pneumo.inference import local_calibration
from pneumo.inference.networks import Networks
from pneumo.runs import pretrained
from pneumo.runs.run import Run
from tests.conftest import Call, Patch, Refused, digests

FOLDER = pretrained.find(pretrained.DEFAULT)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder of 48 generated images that no run was trained on."""
    root = tmp_path_factory.mktemp("local")
    phantom.generate(root / "set", num_images=48, seed=7, progress=False)
    for number, path in enumerate(sorted((root / "set").rglob("*.jpeg"))):
        target = root / "mine" / path.parent.name / f"{number}.jpeg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root / "mine"


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: Patch) -> None:
    monkeypatch.setattr(local_calibration, "DRAWS", 5)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "run"))


def test_a_threshold_is_written_beside_the_run_and_used_when_named(
    run: Path, local: Path, call: Call, refused: Refused
) -> None:
    before = digests(run)
    *shown, last = call("calibrate", run, "--data", local).out.splitlines()
    assert max(map(len, shown)) <= 80
    path = run / "calibrations" / "mine.json"
    assert last == str(path)
    assert before.items() <= digests(run).items()
    found = json.loads(path.read_text())
    given = (run, next((local / "PNEUMONIA").iterdir()), "--threads", "1")
    for more, where in (((), "balanced"), (("--calibration", "mine"), "calibration")):
        (row,) = call("predict", *given, *more).rows
        assert row["threshold_from"] == where
    assert float(row["threshold"]) == found["threshold"]
    # never replaced without asking
    refused("must not exist yet", "calibrate", run, "--data", local, keeps=run)
    call("calibrate", run, "--data", local, "--youden", "--replace")
    assert json.loads(path.read_text())["rule"] == "the greatest Youden index"


def test_images_that_it_cannot_rank_are_named_first_and_need_force(
    run: Path, local: Path, tmp_path: Path, call: Call, refused: Refused
) -> None:
    mixed, swapped, places = tmp_path / "mixed", tmp_path / "swapped", ("NORMAL", "PNEUMONIA")
    once = {path.read_bytes(): path for path in sorted(local.rglob("*.jpeg"))}
    for number, path in enumerate(once.values()):
        other = places[path.parent.name == "NORMAL"]
        for place in (mixed / places[number % 2], swapped / other):
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    start = "not shown to rank these images better than chance"
    assert call("evaluate", run, "--data", mixed).out.startswith(f"! {start}")
    for data, why in ((mixed, start), (swapped, "ranks these")):
        refused(f"error: {why}", "calibrate", run, "--data", data, keeps=run)
    assert call("calibrate", run, "--data", mixed, "--force").text.startswith(f"! {start}")
    assert "20.000, its upper bound" in call("calibrate", run, "--data", swapped, "--force").text
    image = next((local / "NORMAL").iterdir())
    for name, warning in (("mixed", start), ("swapped", "ranks these")):
        assert warning in call("predict", run, image, "--calibration", name).err


def test_what_comes_with_the_package_is_only_read(
    local: Path, tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = call("calibrate", "pretrained:compact-robust", "--data", local).out
    assert shown.splitlines()[-1] == "mine.json"
    assert not (FOLDER / "calibrations").exists()
    image = next((local / "NORMAL").iterdir())
    given = ("pretrained:compact-robust", image, "--calibration", "mine.json")
    assert ",calibration," in call("predict", *given).out


def test_mistakes_are_one_line_and_too_few_patients_are_refused_before_any_image_is_scored(
    run: Path, local: Path, tmp_path: Path, monkeypatch: Patch, refused: Refused
) -> None:
    for given, message in (
        (("--out", "a.csv"), "--out must be a file that ends in .json"),
        (("--out", "gone/a.json"), "--out must lie in a folder that exists"),
        (("--out", f"{run}/metrics.json", "--replace"), "--out must not replace a part of a run"),
        (("--data", "gone"), "--data must be a folder"),
    ):
        refused(message, "calibrate", run, "--data", local, *given, keeps=run)
    monkeypatch.setattr(Networks, "score_files", lambda *_: pytest.fail("an image was scored"))
    data = Path(shutil.copytree(local, tmp_path / "data"))
    for path in sorted((data / "NORMAL").iterdir())[4:]:
        path.unlink()
    few = "a calibration needs distinct images of at least 5 patients of each label; got 4"
    refused(few, "calibrate", run, "--data", data)


def test_images_that_it_was_trained_on_and_broken_ones_are_refused(
    run: Path, local: Path, tmp_path: Path, call: Call, refused: Refused
) -> None:
    data = Path(shutil.copytree(local, tmp_path / "train"))
    given, broken = ("calibrate", run, "--data", data), data / "NORMAL" / "broken.png"
    broken.write_bytes(b"none")
    assert "must be a PNG, JPEG or DICOM image" in call(*given, code=3).err
    broken.unlink()
    shutil.copy(next((data / "NORMAL").iterdir()), data / "NORMAL/IM-0115-0001.jpeg")
    refused("--data must be new to the run; it shares 1 patient", *given, keeps=run)
    assert "! shares 1 patient" in call(*given, "--allow-overlap").out


def test_prediction_sets_are_a_column_with_their_coverage_on_the_test_split(
    validated: Path, local: Path, call: Call, refused: Refused
) -> None:
    given = (next((local / "NORMAL").iterdir()), "--coverage", "0.9", "--threads", "1")
    shown = call("predict", validated, *given)
    (row,) = shown.rows
    assert row["prediction_set"] in ("NORMAL", "PNEUMONIA", "both", "neither")
    val = Run.open(validated).of_split("val")
    normal, sick = val.groupby("label")["group"].nunique()
    assert f"on one image each of {normal} NORMAL and {sick} PNEUMONIA validation" in shown.err
    assert normal + sick < len(val)
    assert "On the test split of" in shown.err
    found = api.predict(given[0], run=validated, coverage=0.9)
    assert found["prediction_set"].tolist() == [row["prediction_set"]]
    # the packaged network has no validation images
    assert "--coverage needs labelled images" in call("predict", *given, code=2).err
    with pytest.raises(SystemExit, match="2"):
        call("predict", *given[:2], "1")
