import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from pneumo import atomic
from pneumo.data import phantom
from pneumo.inference import inputs, ood
from pneumo.report import documents
from pneumo.runs import pretrained, run_folder
from pneumo.runs.network import read_checkpoint, weights_digest
from pneumo.runs.run import Run
from pneumo.runs.writer import RunWriter
from pneumo.shift import evaluation
from tests.conftest import ROOT, Call, Patch, Refused, compose

FOLDER = pretrained.find(pretrained.DEFAULT)


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("radiographs") / "set"
    return phantom.generate(root, num_images=24, seed=7, progress=False)


def test_runs_and_images_are_distinguished(radiographs: Path, tmp_path: Path) -> None:
    image, empty, run = str(next(radiographs.rglob("*.jpeg"))), tmp_path / "empty", str(FOLDER)
    empty.mkdir()
    package = "pretrained:compact-robust"
    for runs, images in (
        ([], [image, "b.png"]),
        ([], [str(radiographs)]),
        ([], ["-"]),
        ([], ["gone.dcm"]),
        ([], []),
        ([package], [image]),
        ([run, package], [image]),
        (["multirun/gone"], [image]),  # more likely a run that is not there
        ([str(empty)], [image]),
    ):
        assert inputs.split_paths([*runs, *images]) == (runs, images)
    for run_name in (run, package):
        with pytest.raises(ValueError, match="the runs come first"):
            inputs.split_paths([image, run_name])


def test_without_a_run_the_packaged_network_predicts_with_a_note(
    radiographs: Path, call: Call
) -> None:
    shown = call("predict", next(radiographs.rglob("*.jpeg")), "--format", "jsonl")
    row = json.loads(shown.out)
    assert 0 <= row["p_pneumonia"] <= 1
    assert row["threshold_from"] == "balanced"
    assert row["ood_score"] > 0
    assert shown.err.startswith("note: no RUN is named, so pretrained:compact-robust predicts.")
    assert "was trained on children of one hospital, frontal views\n" in shown.err
    assert shown.err.endswith(" flagged, 0 unreadable; written to standard output\n")
    assert shown.err.count("\n") == 3


def test_a_terminal_shows_an_aligned_table_and_a_file_is_csv(
    radiographs: Path, tmp_path: Path, call: Call, monkeypatch: Patch
) -> None:
    broken, out = tmp_path / "broken.png", tmp_path / "a.csv"
    broken.write_bytes(b"no image")
    given = [*map(str, sorted(radiographs.rglob("*.jpeg"))[:2]), str(broken)]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("NO_COLOR", "1")
    folder, head, *lines = call("predict", *given, code=3).out.splitlines()
    assert head.split() == ["path", "p_pneumonia", "decision", "flags"]
    for line, path in zip(lines, given, strict=True):
        assert str(Path(folder.removeprefix("in ").removesuffix(":"), line.split()[0])) == path
    place = head.index("p_pneumonia")
    assert all(re.match(r"[01]\.\d{3} ", line[place:]) for line in lines[:2])
    assert "must be a PNG, JPEG or DICOM image" in lines[2]
    shown = call("predict", *given, "--out", out, code=3)
    assert shown.out == ""
    assert shown.err.endswith(f"1 unreadable; written to {out}\n")
    first = out.read_text().splitlines()[0].split(",")
    assert first[:6] == ["path", "p_pneumonia", "decision", "ood", "ood_reason", "error"]


def test_odd_dicom_headers_are_flagged_and_ids_are_columns(
    rsna_set: Path, tmp_path: Path, call: Call
) -> None:
    pydicom = pytest.importorskip("pydicom")
    image = pydicom.dcmread(next(rsna_set.rglob("*.dcm")))
    tags = {"PatientAge": "005Y", "ViewPosition": "AP", "BodyPartExamined": "CHEST"}
    odd_tags = {"PatientAge": "071Y", "ViewPosition": "LL", "BodyPartExamined": "HAND"}
    names = []
    for number, more in enumerate(({}, odd_tags, {"Modality": "CT"})):
        for tag, value in {"AccessionNumber": "=1+1", **tags, **more}.items():
            setattr(image, tag, value)
        names.append(str(tmp_path / f"{number}.dcm"))
        image.save_as(names[-1])
    plain, odd, scan = call("predict", *names, "--ids", code=3).rows
    for reason in ("lateral view", "body part: HAND", "age: 71 years, trained on 1 to 5"):
        assert reason in odd["ood_reason"]
        assert reason not in plain["ood_reason"]
    assert (odd["ood"], scan["ood"]) == ("true", "true")
    assert (scan["ood_reason"], scan["decision"]) == ("modality: CT, expected a radiograph", "")
    assert plain["SOPInstanceUID"] == image.SOPInstanceUID
    assert {row["AccessionNumber"] for row in (plain, odd, scan)} == {"'=1+1"}
    assert "AccessionNumber" not in call("predict", names[0], "--format", "jsonl").out


def test_images_that_it_was_trained_on_are_refused(
    radiographs: Path, call: Call, refused: Refused, tmp_path: Path
) -> None:
    trained_on = [p for p in Run.open(FOLDER).split["path"] if p.startswith("train/NORMAL")]
    for name in (trained_on[0], "train/PNEUMONIA/mine.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(radiographs.rglob(f"{Path(name).parent.name}/*.jpeg")), tmp_path / name)
    given = ("evaluate", "pretrained:compact-robust", "--data", tmp_path / "train")
    for message in ("it shares 1 patient", "with the train split of pretrained:compact-robust"):
        refused(message, *given)
    assert "LEAK" in call(*given, "--allow-overlap").out


def test_what_is_packed_packs_to_the_same(tmp_path: Path, call: Call, refused: Refused) -> None:
    out, pack = tmp_path / "again", ("export", "pretrained:compact-robust", "--to", "run")
    assert "MB, with model-card.md" in call(*pack, "--out", out).out
    names = {p.relative_to(FOLDER) for p in FOLDER.rglob("*") if p.is_file()}
    assert {p.relative_to(out) for p in out.rglob("*") if p.is_file()} == names
    first, again = Run.open(FOLDER).network(), Run.open(out).network()
    assert weights_digest(first) == weights_digest(again)
    (out / "mine.txt").touch()
    refused("holds mine.txt", *pack, "--out", out, keeps=out)
    refused("--out DIR", *pack)
    for more in (("--check", "a.png"), ("--checkpoint", "last")):
        refused("leave --check and", *pack, *more)


@pytest.mark.slow
def test_a_packed_run_has_the_same_scores_and_no_places(
    finished_run: Path, phantoms: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("PNEUMO_DATA", str(phantoms))
    out = tmp_path / "out"
    documents.pack(Run.open(finished_run), out)
    assert not (out / run_folder.LAST).exists()
    assert not has_path(out)
    texts = {  # as text, since NaN is not equal to itself
        atomic.json_text(evaluation.evaluate([Run.open(place)])["members"][0]["scores"])
        for place in (out, finished_run)
    }
    assert len(texts) == 1


def test_places_of_the_machine_that_trained_are_not_packed(tmp_path: Path) -> None:
    places = ["data.root=/a/x", "data.csv=/b/x", "data.cache_dir=/c/x", "init=/d/run"]
    overrides = ["seed=1", "data=folder", *places, "data.source.csv=/e/x"]
    config: Any = OmegaConf.to_container(compose(*overrides, "logger.tensorboard.save_dir=/f"))
    RunWriter(tmp_path).write_config(config, overrides)
    assert pretrained.public_overrides(tmp_path) == ["seed=1", "data=folder", "init=run"]
    packed = pretrained.without_places(config)
    assert not re.search(r"[\s'\"]/\w", yaml.safe_dump(packed))
    assert (packed["init"], packed["data"]["csv"]) == (None, None)
    assert packed["data"]["source"]["root"] == "${data.root}"
    nih: Any = OmegaConf.to_container(compose("data=nih", "init=pretrained:compact-robust"))
    assert pretrained.without_places(nih)["data"] == nih["data"]
    assert pretrained.without_places(nih)["init"] == nih["init"]


@pytest.mark.slow
def test_the_wheel_holds_it(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    if "No matching distribution found for hatchling" in built.stderr:
        pytest.skip("pip cannot fetch hatchling, which builds the wheel")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 2_000_000
    zipfile.ZipFile(wheel).extractall(tmp_path / "target")
    name = "pretrained:compact-robust"
    found = subprocess.run(
        [sys.executable, "-m", "pneumo.evaluate", name],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "target"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"the test split of {name}" in found.stdout


def test_the_folder_is_a_small_run_with_a_card_and_without_optimizer_and_places() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert list(read_checkpoint(FOLDER / run_folder.BEST)) == ["state_dict"]
    run = Run.open("pretrained:compact-robust")
    metrics: Any = run.metrics
    assert run_folder.read_status(FOLDER)["status"] == "done"
    assert (metrics["protocol"], metrics["selection"]["on"]) == ("official", "none")
    assert (run.name, Run.open(FOLDER).name) == ("pretrained:compact-robust",) * 2
    network = run.network()
    assert ood.load(run.run_dir, weights_sha256=weights_digest(network)) is not None
    (maps,) = run_folder.read_maps(FOLDER, checkpoint="best")
    assert maps["method"] == network.heatmap_method
    assert maps["mean"]["gap_low"] > 0
    card = (FOLDER / pretrained.CARD).read_text()
    assert f"| {maps['mean']['gap']:.3f} (" in card
    assert f"| test, 624 images | {metrics['best']['test']['accuracy']:.3f} |" in card
    command, digest = "python -m pneumo.train ", metrics["data"]["split_sha256"]
    for part in ("Not a medical device", "CC BY 4.0", "10.17632/rscbjbr9sj", command, digest):
        assert part in card
    assert not has_path(FOLDER)


def has_path(folder: Path) -> bool:
    """Whether a text in a folder has a path from the root."""
    files = [p for p in folder.rglob("*") if p.suffix in (".yaml", ".json", ".md", ".csv")]
    text = "".join(path.read_text() for path in files)
    return bool(re.search(r"(?<![\w.:/>)}])/\w+/", text))
