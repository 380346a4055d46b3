"""Baselines: what they look at, what they learn from, and the run folder they leave."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumo.baselines.classifiers import Baseline, FileHeader, Prior, ThumbnailSVM, header
from pneumo.inference import scoring
from pneumo.runs.run import Run
from tests.conftest import SMALL, Call, Command, Refused

NAMES = ("thumbnail_svm", "file_header", "prior")


def some_images(num: int = 80) -> tuple[pd.DataFrame, np.ndarray]:
    """Half NORMAL and darker than the others, two a patient; the last quarter is the test split."""
    rng = np.random.default_rng(0)
    label = np.arange(num) // 2 % 2
    images = rng.normal(100 + 15 * label[:, None, None], 20, (num, 64, 64)).clip(0, 255)
    table = pd.DataFrame(
        {
            "path": [f"{row}.jpeg" for row in range(num)],
            "label": np.where(label == 1, "PNEUMONIA", "NORMAL"),
            "subtype": np.where(label == 1, "virus", "normal"),
            "group": [f"p{row // 2}" for row in range(num)],
            "split": np.where(np.arange(num) < 3 * num // 4, "train", "test"),
        }
    )
    return table, images.astype(np.uint8)


def save_jpegs(table: pd.DataFrame, images: np.ndarray, root: Path) -> Path:
    """NORMAL images at quality 95, the others at 75, as the set has them."""
    root.mkdir()
    for row, path, label in zip(table.index, table["path"], table["label"], strict=True):
        Image.fromarray(images[row]).save(root / path, quality=95 if label == "NORMAL" else 75)
    return root


def metrics(run: Path) -> dict[str, Any]:
    found = json.loads((run / "metrics.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("baseline", [ThumbnailSVM(), FileHeader(), Prior()])
def test_only_train_rows_fit_the_model(baseline: Baseline, tmp_path: Path) -> None:
    table, images = some_images()
    root = save_jpegs(table, images, tmp_path / "set")
    before = baseline.fit(table, images, root=root)
    test = table["split"] == "test"
    swapped = table["label"].map({"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"})
    other = table.assign(label=table["label"].mask(test, swapped))
    changed = images.copy()
    changed[70:] = 0  # half of the test images
    after = baseline.fit(other, changed, root=root)
    np.testing.assert_array_equal(before[:70], after[:70])
    assert ((before >= 0) & (before <= 1)).all()


def test_folds_of_the_sigmoid_keep_patients_together_and_the_order() -> None:
    table, images = some_images()
    train = table[table["split"] == "train"]
    model = ThumbnailSVM().classifier(train, seed=0)
    for fitted, held_out in model.cv:
        assert not set(train["group"].iloc[fitted]) & set(train["group"].iloc[held_out])
    pixels = ThumbnailSVM().features(train, images, root=Path())
    model.fit(pixels, (train["label"] == "PNEUMONIA").to_numpy())
    machine = model.calibrated_classifiers_[0].estimator
    order = np.argsort(machine.decision_function(pixels))
    assert (np.diff(model.predict_proba(pixels)[order, 1]) >= 0).all()
    few = table.iloc[:14].assign(split="train")  # four patients of NORMAL, three of PNEUMONIA
    assert [len(ThumbnailSVM().classifier(rows, seed=0).cv) for rows in (train, few)] == [5, 3]
    assert np.isfinite(ThumbnailSVM().fit(few, images, root=Path())).all()


def test_the_header_has_the_quality_and_the_classifier_sees_no_pixel(tmp_path: Path) -> None:
    table, images = some_images()
    root = save_jpegs(table, images, tmp_path / "set")
    assert header(root / "0.jpeg")[6] < header(root / "2.jpeg")[6]  # NORMAL, PNEUMONIA
    before = FileHeader().fit(table, images, root=root)
    called = np.where(before >= 0.5, "PNEUMONIA", "NORMAL")
    assert (called == table["label"]).all()
    permuted = np.random.default_rng(1).permutation(images.ravel()).reshape(images.shape)
    np.testing.assert_array_equal(FileHeader().fit(table, permuted, root=root), before)


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 100)
    with pytest.raises(ValueError, match=r"a\.dcm is neither"):
        header(tmp_path / "a.dcm")


@pytest.mark.slow
def test_a_sweep_with_networks_has_the_same_run_folders_and_reports_margins(
    train: Command, phantoms: Path, tmp_path: Path
) -> None:
    few = ("trainer.max_epochs=1", *SMALL, "protocol=holdout", "seed=3")
    assert train("-m", f"model=tiny,{','.join(NAMES)}", "hydra.sweep.dir=sweep", *few) == 0
    rows = pd.read_csv(tmp_path / "sweep" / "report" / "comparisons.csv")
    assert {f"tiny minus {name}" for name in NAMES} <= set(rows["what"])
    folders = {name: tmp_path / "sweep" / f"model={name},seed=3" for name in ("tiny", *NAMES)}
    runs = {name: metrics(folder) for name, folder in folders.items()}
    net, svm = runs["tiny"], runs["thumbnail_svm"]
    assert all(run["data"] == net["data"] for run in runs.values())
    assert svm["best"]["test"].keys() == net["best"]["test"].keys()
    assert svm["assessment"]["operating_point"]["decision"] == net["decision"] == "argmax"
    assert svm["assessment"]["calibration"]["temperature"] > 0  # of the validation split
    assert svm["selection"] is None
    of_net, of_svm = (
        pd.read_csv(folders[name] / "predictions.csv") for name in ("tiny", "thumbnail_svm")
    )
    assert list(of_net) == list(of_svm)
    assert list(of_net["path"]) == list(of_svm["path"])
    test = of_svm[of_svm["split"] == "test"]
    called = np.where(test["p_pneumonia"] >= 0.5, "PNEUMONIA", "NORMAL")
    assert (called == test["label"]).mean() == pytest.approx(svm["best"]["test"]["accuracy"])
    assert not (folders["thumbnail_svm"] / "checkpoints").exists()
    run = Run.open(folders["thumbnail_svm"])  # fitted again, it has the same probabilities
    again = scoring.refitted(run, phantoms, phantoms, test["path"].tolist())
    np.testing.assert_allclose(again, test["p_pneumonia"], atol=1e-6)


def test_a_balanced_baseline_is_corrected_as_a_network_and_is_not_taken_for_one(
    train: Command, phantoms: Path, tmp_path: Path, call: Call, refused: Refused
) -> None:
    few = (*SMALL, "protocol=holdout", "model=prior")
    for rule in ("balanced", "argmax"):
        assert train(f"hydra.run.dir={rule}", f"decision={rule}", *few) == 0
        found = pd.read_csv(tmp_path / rule / "predictions.csv")["p_pneumonia"].unique()
        counts = metrics(tmp_path / rule)["data"]["splits"]["train"]
        share = 0.5 if rule == "balanced" else counts["PNEUMONIA"] / counts["images"]
        assert found == pytest.approx([share])
        assert metrics(tmp_path / rule)["decision"] == rule
        run = Run.open(tmp_path / rule)
        again = scoring.refitted(run, phantoms, phantoms, run.split["path"].head(2).tolist())
        assert again == pytest.approx([share] * 2)
    page = ("--data", phantoms, "--allow-overlap", "--page", "a.html")
    refused("--page needs a network; argmax is a baseline", "evaluate", "argmax", *page)
    radiograph = next(phantoms.rglob("*.jpeg"))
    for command, *words in (
        ("predict", radiograph),
        ("heatmap", radiograph, "--out", "maps"),
        ("export",),
        ("evaluate", "--checkpoint", "last"),
    ):
        message = "this needs a network; argmax is a baseline (prior) without one."
        refused(message, str(command), "argmax", *words)
    for more in ((), ("--data", phantoms, "--allow-overlap")):
        shown = call("evaluate", "argmax", *more).out
        assert shown.startswith("! not shown to rank these images better than chance (AUROC 0.50,")
