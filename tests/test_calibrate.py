import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pneumo import api, calibrate, evaluate, predict
from pneumo.data import phantom
from pneumo.inference import local_calibration
from pneumo.inference.networks import Networks
from pneumo.runs import pretrained
from pneumo.runs.run import Run
from tests.conftest import Capture, Patch

FOLDER = pretrained.find(pretrained.DEFAULT)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder of 48 generated images that no run was trained on."""
    root = tmp_path_factory.mktemp("local")
    phantom.generate(root / "set", num_images=48, seed=7, num_workers=1, progress=False)
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
    run: Path, local: Path, capsys: Capture
) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert calibrate.main([str(run), "--data", str(local)]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    path = run / "calibrations" / "mine.json"
    assert shown.splitlines()[-1] == str(path)
    assert before == {p: p.read_bytes() for p in before}
    found = json.loads(path.read_text())
    image = str(next((local / "PNEUMONIA").iterdir()))
    given = [str(run), image, "--threads", "1"]
    for more, where in (([], "balanced"), (["--calibration", "mine"], "calibration")):
        assert predict.main([*given, *more]) == 0
        (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
        assert row["threshold_from"] == where
    assert float(row["threshold"]) == found["threshold"]
    # never replaced without asking
    assert calibrate.main([str(run), "--data", str(local)]) == 2
    assert "must not exist yet" in capsys.readouterr().err
    assert calibrate.main([str(run), "--data", str(local), "--youden", "--replace"]) == 0
    assert json.loads(path.read_text())["rule"] == "the greatest Youden index"


def test_patients_are_counted_by_name_and_by_bytes(
    run: Path, local: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = Path(shutil.copytree(local, tmp_path / "data"))
    number = sum(1 for _ in data.rglob("*.jpeg"))
    different = len({path.read_bytes() for path in data.rglob("*.jpeg")})
    shutil.copy(data / "NORMAL" / "0.jpeg", data / "NORMAL" / "again.jpeg")
    Image.open(data / "NORMAL" / "0.jpeg").save(data / "NORMAL" / "other-bytes.png")
    assert calibrate.main([str(run), "--data", str(data)]) == 0
    shown = capsys.readouterr().out.splitlines()
    first = f"{different} images of {different} patients, as far as names, PatientID and identical"
    assert shown[0].startswith(first)
    assert shown[1].endswith(f"copies left out: {number + 2 - different}")
    assert max(map(len, shown[:-1])) <= 80
    named = tmp_path / "named"
    for label in ("NORMAL", "PNEUMONIA"):
        (named / label).mkdir(parents=True)
        for at, path in enumerate(sorted((local / label).iterdir())):
            name = f"IM-{at}-0001" if label == "NORMAL" else f"person{9000 + at}_virus_1"
            shutil.copy(path, named / label / f"{name}.jpeg")
    assert calibrate.main([str(run), "--data", str(named), "--allow-overlap"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"{different} images of {different} patients: ")


def test_images_that_it_cannot_rank_are_named_first_and_need_force(
    run: Path, local: Path, tmp_path: Path, capsys: Capture
) -> None:
    places = ("NORMAL", "PNEUMONIA")
    once = {path.read_bytes(): path for path in sorted(local.rglob("*.jpeg"))}
    for number, path in enumerate(once.values()):
        other = places[path.parent.name == "NORMAL"]
        for data, label in (("mixed", places[number % 2]), ("swapped", other)):
            (tmp_path / data / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / data / label)
    given = [str(run), "--data", str(tmp_path / "mixed")]
    start = "not shown to rank these images better than chance"
    assert evaluate.main(given) == 0
    assert capsys.readouterr().out.startswith(f"! {start}")
    for refused, why in ((given, start), ([*given[:2], str(tmp_path / "swapped")], "ranks these")):
        assert calibrate.main(refused) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {why}")
        assert error.count("\n") == 1
        assert not (run / "calibrations").exists()
    assert calibrate.main([*given, "--force"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"! {start}")
    assert calibrate.main([*given[:2], str(tmp_path / "swapped"), "--force"]) == 0
    assert "20.000, its upper bound" in " ".join(capsys.readouterr().out.split())
    image = str(next((local / "NORMAL").iterdir()))
    for name, warning in (("mixed", start), ("swapped", "its upper bound")):
        assert predict.main([str(run), image, "--calibration", name]) == 0
        assert warning in capsys.readouterr().err


def test_what_comes_with_the_package_is_only_read(
    local: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert calibrate.main(["pretrained:compact-robust", "--data", str(local)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "mine.json"
    assert not (FOLDER / "calibrations").exists()
    image = str(next((local / "NORMAL").iterdir()))
    assert predict.main(["pretrained:compact-robust", image, "--calibration", "mine.json"]) == 0
    assert ",calibration," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--out", "a.csv"], "--out must be a file that ends in .json"),
        (["--out", "gone/a.json"], "--out must lie in a folder that exists"),
        (["--out", "{run}/metrics.json", "--replace"], "--out must not replace a part of a run"),
        (["--data", "gone"], "--data must be a folder"),
    ],
)
def test_mistakes_are_one_line(
    run: Path, local: Path, given: list[str], message: str, capsys: Capture
) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    given = [one.format(run=run) for one in given]
    assert calibrate.main([str(run), "--data", str(local), *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}


@pytest.fixture
def unscored(monkeypatch: Patch) -> None:
    def score(*_: object) -> None:
        pytest.fail("an image was scored")

    monkeypatch.setattr(Networks, "score_files", score)


@pytest.mark.usefixtures("unscored")
def test_mistakes_are_reported_before_any_image_is_scored(
    run: Path, local: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = Path(shutil.copytree(local, tmp_path / "data"))
    for path in sorted((data / "NORMAL").iterdir())[4:]:
        path.unlink()
    assert calibrate.main([str(run), "--data", str(data)]) == 2
    for path in sorted((data / "NORMAL").iterdir()):
        shutil.copy(path, path.with_name(f"again-{path.name}"))
    few = "error: a calibration needs distinct images of at least 5 patients of each label; got 4"
    assert capsys.readouterr().err.startswith(few)


def test_images_that_it_was_trained_on_and_broken_ones_are_refused(
    run: Path, local: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = Path(shutil.copytree(local, tmp_path / "data"))
    (data / "NORMAL" / "broken.png").write_bytes(b"none")
    assert calibrate.main([str(run), "--data", str(data)]) == 3
    assert "must be a PNG, JPEG or DICOM image" in capsys.readouterr().err
    (data / "NORMAL" / "broken.png").unlink()
    shutil.copytree(data, tmp_path / "train")
    shutil.copy(next((data / "NORMAL").iterdir()), tmp_path / "train/NORMAL/IM-0115-0001.jpeg")
    given = [str(run), "--data", str(tmp_path / "train")]
    assert calibrate.main(given) == 2
    assert "--data must be new to the run; it shares 1 patients" in capsys.readouterr().err
    assert calibrate.main([*given, "--allow-overlap"]) == 0
    assert "! shares 1 patients" in capsys.readouterr().out


def test_prediction_sets_are_a_column_with_their_coverage_on_the_test_split(
    validated: Path, local: Path, capsys: Capture
) -> None:
    given = [str(next((local / "NORMAL").iterdir())), "--coverage", "0.9", "--threads", "1"]
    assert predict.main([str(validated), *given]) == 0
    shown = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(shown.out))
    assert row["prediction_set"] in ("NORMAL", "PNEUMONIA", "both", "neither")
    val = Run.open(validated).of_split("val")
    normal, sick = val.groupby("label")["group"].nunique()
    assert f"on one image each of {normal} NORMAL and {sick} PNEUMONIA validation" in shown.err
    assert normal + sick < len(val)
    assert "On the test split of" in shown.err
    found = api.predict(given[0], run=validated, coverage=0.9)
    assert found["prediction_set"].tolist() == [row["prediction_set"]]
    assert predict.main(given) == 2  # the packaged network has no validation images
    assert "--coverage needs labelled images" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        predict.main([*given[:2], "1"])
