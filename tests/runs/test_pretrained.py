import csv
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pneumo import atomic, evaluate, export, predict
from pneumo.data import phantom
from pneumo.inference import inputs, reference
from pneumo.report import documents
from pneumo.runs import pretrained, run_folder, weights
from pneumo.runs.run import Run
from pneumo.shift import evaluation
from tests.conftest import ROOT, Capture, Patch

FOLDER = pretrained.find(pretrained.DEFAULT)


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("radiographs") / "set"
    return phantom.generate(root, num_images=24, seed=7, num_workers=1, progress=False)


def test_the_folder_is_a_small_run_without_optimizer_and_places() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert list(weights.load(FOLDER / run_folder.BEST)) == ["state_dict"]
    run = Run.open("pretrained:compact-robust")
    metrics: Any = run.metrics
    assert run_folder.read_status(FOLDER)["status"] == "done"
    assert (metrics["protocol"], metrics["selection"]["on"]) == ("official", "none")
    assert (run.name, Run.open(FOLDER).name) == ("pretrained:compact-robust",) * 2
    network = run.network()
    assert reference.stored(run, network, checkpoint="best") is not None
    (maps,) = run_folder.read_maps(FOLDER, checkpoint="best")
    assert maps["method"] == network.heatmap_method
    assert maps["mean"]["gap_low"] > 0
    assert f"| {maps['mean']['gap']:.3f} (" in (FOLDER / pretrained.CARD).read_text()
    text = "".join(path.read_text() for path in files if path.suffix in (".yaml", ".json", ".md"))
    assert not re.search(r"(?<![\w.:/>)}])/\w+/", text)  # a path from the root


def test_the_card_names_its_command_and_the_images() -> None:
    card = (FOLDER / pretrained.CARD).read_text()
    metrics: Any = Run.open(FOLDER).metrics
    assert "python -m pneumo.train " in card
    assert f"| test, 624 images | {metrics['best']['test']['accuracy']:.3f} |" in card
    for part in ("Not a medical device", "CC BY 4.0", "10.17632/rscbjbr9sj", "protocol=official"):
        assert part in card
    assert metrics["data"]["split_sha256"] in card


def test_runs_and_images_are_distinguished(radiographs: Path, tmp_path: Path) -> None:
    one = str(next(radiographs.rglob("*.jpeg")))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert inputs.split_paths([one, "b.png"]) == ([], [one, "b.png"])
    assert inputs.split_paths([str(radiographs)]) == ([], [str(radiographs)])
    assert inputs.split_paths(["-"]) == ([], ["-"])
    assert inputs.split_paths(["gone.dcm"]) == ([], ["gone.dcm"])
    assert inputs.split_paths([]) == ([], [])
    assert inputs.split_paths(["pretrained:compact-robust", one]) == (
        ["pretrained:compact-robust"],
        [one],
    )
    both = [str(FOLDER), "pretrained:compact-robust"]
    assert inputs.split_paths([*both, one]) == ([str(FOLDER), "pretrained:compact-robust"], [one])
    for no_image in ("multirun/gone", str(empty)):  # more likely a run that is not there
        assert inputs.split_paths([no_image, one]) == ([no_image], [one])


def test_without_a_run_the_packaged_network_predicts_with_a_note(
    radiographs: Path, capsys: Capture
) -> None:
    one = str(next(radiographs.rglob("*.jpeg")))
    assert predict.main([one, "--format", "jsonl"]) == 0
    shown = capsys.readouterr()
    row = json.loads(shown.out)
    assert 0 <= row["p_pneumonia"] <= 1
    assert row["threshold_from"] == "balanced"
    assert row["ood_score"] > 0
    assert shown.err.startswith("note: no RUN is named, so pretrained:compact-robust predicts.")
    assert "was trained on children of one hospital, frontal views\n" in shown.err
    assert shown.err.endswith(" flagged, 0 unreadable; written to standard output\n")
    assert shown.err.count("\n") == 3


def test_a_terminal_shows_an_aligned_table_and_a_pipe_gets_csv(
    radiographs: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    given = [*map(str, sorted(radiographs.rglob("*.jpeg"))[:2]), str(broken)]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("NO_COLOR", "1")
    assert predict.main(given) == 3
    folder, head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["path", "p_pneumonia", "decision", "flags"]
    for line, path in zip(lines, given, strict=True):
        assert str(Path(folder.removeprefix("in ").removesuffix(":"), line.split()[0])) == path
    place = head.index("p_pneumonia")
    assert all(re.match(r"[01]\.\d{3} ", line[place:]) for line in lines[:2])
    assert "must be a PNG, JPEG or DICOM image" in lines[2]
    assert predict.main([*given, "--out", str(tmp_path / "a.csv")]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith(f"1 unreadable; written to {tmp_path / 'a.csv'}\n")
    first = (tmp_path / "a.csv").read_text().splitlines()[0].split(",")
    assert first[:6] == ["path", "p_pneumonia", "decision", "ood", "ood_reason", "error"]


def test_odd_dicom_headers_are_flagged_and_ids_are_columns(
    rsna_set: Path, tmp_path: Path, capsys: Capture
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
    assert predict.main([*names, "--ids"]) == 3
    plain, odd, scan = csv.DictReader(io.StringIO(capsys.readouterr().out))
    for reason in ("lateral view", "body part: HAND", "age: 71 years, trained on 1 to 5"):
        assert reason in odd["ood_reason"]
        assert reason not in plain["ood_reason"]
    assert (odd["ood"], scan["ood"]) == ("true", "true")
    assert (scan["ood_reason"], scan["decision"]) == ("modality: CT, expected a radiograph", "")
    assert plain["SOPInstanceUID"] == image.SOPInstanceUID
    assert {row["AccessionNumber"] for row in (plain, odd, scan)} == {"'=1+1"}
    assert predict.main([names[0], "--format", "jsonl"]) == 0
    assert "AccessionNumber" not in capsys.readouterr().out


def test_images_that_it_was_trained_on_are_refused(
    radiographs: Path, capsys: Capture, tmp_path: Path
) -> None:
    trained_on = [p for p in Run.open(FOLDER).split["path"] if p.startswith("train/NORMAL")]
    for name in (trained_on[0], "train/PNEUMONIA/mine.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(radiographs.rglob(f"{Path(name).parent.name}/*.jpeg")), tmp_path / name)
    data = tmp_path / "train"
    assert evaluate.main(["pretrained:compact-robust", "--data", str(data)]) == 2
    assert "it shares 1 patients" in (error := capsys.readouterr().err)
    assert "with the train split of pretrained:compact-robust" in error
    assert evaluate.main(["pretrained:compact-robust", "--data", str(data), "--allow-overlap"]) == 0
    assert "LEAK" in capsys.readouterr().out


@pytest.mark.parametrize("given", [["--check", "a.png"], ["--checkpoint", "last"], []])
def test_a_folder_to_hand_on_needs_a_place(given: list[str], capsys: Capture) -> None:
    assert export.main(["pretrained:compact-robust", "--to", "run", *given]) == 2
    assert ("--out DIR" if not given else "leave --check and") in capsys.readouterr().err


def test_what_is_packed_packs_to_the_same(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "again"
    assert export.main(["pretrained:compact-robust", "--to", "run", "--out", str(out)]) == 0
    assert "MB, with model-card.md" in capsys.readouterr().out
    names = {p.relative_to(FOLDER) for p in FOLDER.rglob("*") if p.is_file()}
    assert {p.relative_to(out) for p in out.rglob("*") if p.is_file()} == names
    first, again = Run.open(FOLDER).network(), Run.open(out).network()
    assert weights.weights_digest(first) == weights.weights_digest(again)
    (out / "mine.txt").touch()
    assert export.main(["pretrained:compact-robust", "--to", "run", "--out", str(out)]) == 2
    assert "holds mine.txt" in capsys.readouterr().err


@pytest.mark.slow
def test_a_packed_run_has_the_same_scores_and_no_places(
    finished_run: Path, phantoms: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("PNEUMO_DATA", str(phantoms))
    out = tmp_path / "out"
    documents.pack(Run.open(finished_run), out)
    assert not (out / run_folder.LAST).exists()
    assert str(phantoms) not in (out / run_folder.CONFIG).read_text()
    assert "data.root" not in (out / pretrained.CARD).read_text()
    texts = {  # as text, since NaN is not equal to itself
        atomic.json_text(evaluation.evaluate([Run.open(place)])["members"][0]["scores"])
        for place in (out, finished_run)
    }
    assert len(texts) == 1


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
