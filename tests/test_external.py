"""Scores on images of another source: kept in the run folder, packaged with it, and shown."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pneumo import api, evaluate, export
from pneumo.runs import pretrained
from pneumo.runs.run import Run
from tests.conftest import Capture, Patch, digests

FOLDER = pretrained.find(pretrained.DEFAULT)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    without = shutil.ignore_patterns("external")  # the package's own result
    return Path(shutil.copytree(FOLDER, tmp_path / "models" / "mine", ignore=without))


@pytest.fixture(scope="module")
def images(nih_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 images in NORMAL/ and PNEUMONIA/, named as in ChestX-ray8/14."""
    root = tmp_path_factory.mktemp("external") / "hospital"
    for part, label in (("images_001", "NORMAL"), ("images_002", "PNEUMONIA")):
        (root / label).mkdir(parents=True)
        for path in sorted((nih_set / part / "images").glob("*.png"))[:8]:
            shutil.copy(path, root / label)
    return root


def call(*arguments: str | Path) -> int:
    return evaluate.main(list(map(str, arguments)))


def test_scores_are_kept_packaged_and_listed(
    run: Path, images: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    before = digests(run)
    assert call(run, "--data", images, "--name", "nih", "--out", tmp_path / "a.json") == 0
    path = run / "external" / "nih.json"
    assert capsys.readouterr().out.endswith(f"\n{path}\n")
    after = digests(run)
    assert after.keys() - before.keys() == {"external/nih.json"}
    assert {name: after[name] for name in before} == before
    kept = json.loads(path.read_text())
    (member,) = json.loads((tmp_path / "a.json").read_text())["members"]
    assert kept["assessment"]["scores"] == member["scores"]
    assert (kept["images"], kept["data"], kept["checkpoint"]) == (16, "hospital", "best")

    assert export.main([str(run), "--to", "run", "--out", str(tmp_path / "models" / "new")]) == 0
    packed = tmp_path / "models" / "new"
    assert (packed / "external" / "nih.json").read_bytes() == path.read_bytes()
    auroc = member["scores"]["auroc"]
    text = f"nih {auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})"
    card = (packed / pretrained.CARD).read_text()
    assert f" | {text} |" in card
    assert "There is no external validation" not in card
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "models")
    models = api.list_models().set_index("name")
    assert list(models.index) == ["pretrained:mine", "pretrained:new"]
    assert models.loc["pretrained:new", "external"] == text
    assert models.loc["pretrained:new", "random"] == ""


def test_a_name_is_of_one_set_and_its_scores_of_the_present_weights(
    run: Path, images: Path, tmp_path: Path, capsys: Capture
) -> None:
    given = (run, "--name", "nih", "--data")
    assert call(*given, images) == 0
    assert call(*given, images) == 0  # the same images again
    path = run / "external" / "nih.json"
    before = path.read_bytes()
    others = Path(shutil.copytree(images, tmp_path / "others"))
    next((others / "NORMAL").iterdir()).unlink()
    capsys.readouterr()
    assert call(*given, others) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: --name must be new for other images; ")
    assert "has the scores of 16 images of hospital. Give another name, or delete" in shown.err
    assert (shown.out, path.read_bytes()) == ("", before)
    with np.load(run / "reference.npz") as file:
        arrays = dict(file)
    np.savez(run / "reference.npz", **(arrays | {"weights_sha256": np.array("others")}))
    with pytest.raises(ValueError, match=r"must be of the run's weights; .* --name nih$"):
        _ = Run.open(run).external


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--name", "nih"], "on new, labelled images; give them by --data DIR"),
        (["{run}", "--unlabelled"], "on new, labelled images; give them by --data DIR"),
        (["{run}", "--checkpoint", "last"], "leave --checkpoint last and --allow-overlap out"),
        (["{run}", "--allow-overlap"], "leave --checkpoint last and --allow-overlap out"),
        (
            ["pretrained:compact-robust"],
            "--name writes to the run folder, and pretrained:compact-robust is only",
        ),
    ],
)
def test_scores_that_would_not_be_external_are_not_kept(
    run: Path, images: Path, arguments: list[str], message: str, capsys: Capture
) -> None:
    before = digests(run)
    given = [text.format(run=run) for text in arguments]
    if "--name" not in given:
        given += ["--data", str(images), "--name", "nih"]
    assert call(*given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert digests(run) == before
