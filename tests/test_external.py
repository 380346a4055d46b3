"""Scores on images of another source: kept in the run folder, packaged with it, and shown."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pneumo import api
from pneumo.runs import pretrained
from pneumo.runs.run import Run
from tests.conftest import Call, Patch, Refused, digests

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


def test_scores_are_kept_packaged_and_listed(
    run: Path, images: Path, tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    before, path = digests(run), run / "external" / "nih.json"
    shown = call("evaluate", run, "--data", images, "--name", "nih", "--out", tmp_path / "a.json")
    assert shown.out.endswith(f"\n{path}\n")
    after = digests(run)
    assert after.keys() - before.keys() == {"external/nih.json"}
    assert {name: after[name] for name in before} == before
    kept = json.loads(path.read_text())
    (member,) = json.loads((tmp_path / "a.json").read_text())["members"]
    assert kept["assessment"]["scores"] == member["scores"]
    assert (kept["images"], kept["data"], kept["checkpoint"]) == (16, "hospital", "best")

    packed = tmp_path / "models" / "new"
    call("export", run, "--to", "run", "--out", packed)
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
    run: Path, images: Path, tmp_path: Path, call: Call, refused: Refused
) -> None:
    for _ in range(2):  # the same images again
        call("evaluate", run, "--name", "nih", "--data", images)
    others = Path(shutil.copytree(images, tmp_path / "others"))
    next((others / "NORMAL").iterdir()).unlink()
    message = "has the scores of 16 images of hospital. Give another name, or delete"
    refused(message, "evaluate", run, "--name", "nih", "--data", others, keeps=run)
    with np.load(run / "reference.npz") as file:
        arrays = dict(file)
    np.savez(run / "reference.npz", **(arrays | {"weights_sha256": np.array("others")}))
    with pytest.raises(ValueError, match=r"must be of the run's weights; .* --name nih$"):
        _ = Run.open(run).external


def test_scores_of_no_other_source_are_not_kept(run: Path, images: Path, refused: Refused) -> None:
    data, package = ("--data", images), "pretrained:compact-robust"
    for message, *words in (
        ("on new, labelled images; give them by --data DIR", run),
        ("on new, labelled images; give them by --data DIR", run, *data, "--unlabelled"),
        ("leave --checkpoint last and --allow-overlap out", run, *data, "--checkpoint", "last"),
        (f"--name writes to the run folder, and {package} is only", package, *data),
    ):
        refused(str(message), "evaluate", *words, "--name", "nih", keeps=run)
