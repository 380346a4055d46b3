import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pneumo.data.corruptions import CORRUPTIONS, Corruption
from pneumo.evaluation.assessment import labels
from pneumo.evaluation.scores import scores
from pneumo.inference import stress
from pneumo.runs.metrics import read_stress
from pneumo.runs.run import Run
from tests.conftest import Call, Patch, Refused, digests
from tests.detection_runs import make_detector

SIDE = 128  # at 64 px the mildest blur changes nothing
GREYS = np.array([100, 110, 150, 160], np.uint8)
BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


def made_images(num: int, *, seed: int = 0) -> np.ndarray:
    """(N, 128, 128) uint8 with soft and fine structure, and dark upper corners."""
    random = np.random.default_rng(seed)
    coarse = torch.tensor(random.uniform(60, 190, (num, 1, 8, 8)))
    soft = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")[:, 0].numpy()
    images = (soft + random.normal(0, 8, soft.shape)).clip(0, 255).astype(np.uint8)
    images[:, :20, :20] = images[:, :20, -20:] = 10
    return images


IMAGES = made_images(20)


SEEDED = ("off-centre crop", "aspect", "rotation", "gamma", "contrast", "noise")
NEUTRAL = (*SEEDED, "centre crop", "smaller chest", "black border")  # at severity 0 the image


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda each: each.name)
def test_changes_are_seeded_and_grow_with_severity(corruption: Corruption) -> None:
    before, distances = IMAGES.copy(), []

    def changed(value: float) -> np.ndarray:
        return np.stack([corruption.at(value)(image, seed=n) for n, image in enumerate(IMAGES)])

    for value in corruption.severities:
        images = changed(value)
        assert (images.shape, images.dtype) == (IMAGES.shape, np.dtype(np.uint8))
        np.testing.assert_array_equal(images, changed(value))
        distances.append(np.abs(images.astype(float) - IMAGES).mean())
    np.testing.assert_array_equal(IMAGES, before)
    # blocks of JPEG and steps of a resolution are not exactly monotone on one set of images
    assert np.all(np.diff(distances) > -0.02 * distances[-1]), distances
    assert distances[-1] > 1.2 * distances[0] > 0
    if corruption.name in NEUTRAL:
        np.testing.assert_allclose(changed(0.0).astype(int), IMAGES, atol=1)
    if corruption.name in SEEDED:
        change = corruption.at(corruption.severities[-1])
        assert len({change(IMAGES[0], seed=seed).tobytes() for seed in range(20)}) > 1


def test_crops_keep_the_part_they_name() -> None:
    ramp = np.tile(np.linspace(0, 250, SIDE), (SIDE, 1)).astype(np.uint8)
    row = BY_NAME["centre crop"].at(20)(ramp, seed=0)[SIDE // 2].astype(float)
    assert (row[0], row[-1]) == pytest.approx((25, 225), abs=4)
    ends = {
        tuple(np.round(BY_NAME["off-centre crop"].at(20)(ramp, seed=n)[9, [0, -1]], -1))
        for n in range(20)
    }
    assert ends == {(0, 200), (50, 250)}


# The scores


def stress_of(images: np.ndarray, label: np.ndarray, **options: Any) -> pd.DataFrame:
    """The scores of a network of brightness."""
    names = {"names": [f"{n}.png" for n in range(len(images))]}
    return stress.stress(
        lambda pixels: np.asarray(pixels.mean((1, 2)) / 255), images, label, **(names | options)
    )


def test_a_network_of_brightness_fails_by_gamma_and_not_by_contrast(monkeypatch: Patch) -> None:
    monkeypatch.setattr(stress, "CORRUPTIONS", [BY_NAME["gamma"], BY_NAME["contrast"]])
    num = 200
    label = np.arange(2 * num) // num
    images = np.where(label == 1, 140, 100).astype(np.uint8)[:, None, None]
    table = stress_of(np.broadcast_to(images, (2 * num, SIDE, SIDE)), label)
    auroc = table.groupby("corruption")["auroc"].agg(list)
    assert auroc["none"] == [1.0]
    assert auroc["contrast"] == [1.0] * 5  # it leaves the mean
    # Exponents of 0.8 and 1.2 bring 100 to 121 and 140 to 124; at 0.7 and 1.3, 132 and 117, a
    # brighter NORMAL image (one half) passes a darker PNEUMONIA image (one half)
    mild, medium, *strong = auroc["gamma"]
    assert (mild, medium) == (1.0, 1.0)
    assert strong == pytest.approx([0.75] * 3, abs=0.03)


def test_draws_depend_on_seed_and_name_alone() -> None:
    label, images = np.arange(20) % 2, IMAGES
    first, again = (stress_of(images, label) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(stress_of(images, label, seed=1))
    order = np.random.default_rng(0).permutation(20)
    names = [f"{n}.png" for n in order]
    moved = stress_of(images[order], label[order], names=names)
    pd.testing.assert_frame_equal(first, moved)


def test_threshold_and_temperature_are_applied() -> None:
    images = np.broadcast_to(GREYS[:, None, None], (4, SIDE, SIDE))
    label, error = np.array([0, 1, 0, 1]), np.abs(GREYS / 255 - [0, 1, 0, 1]).mean()

    def clean(**at: Any) -> Any:
        return stress_of(images, label, **at).iloc[0]

    # at 20 so hot that each is near the share, 0.5
    for one, wanted, ece in (
        (clean(threshold=0.4, temperature=20.0), [1.0, 0.5], 0.0),
        (clean(), [0.5, 0.5], error),
    ):
        assert one[["sensitivity", "specificity"]].tolist() == wanted
        assert one["ece"] == pytest.approx(ece, abs=0.02)


# The command


@pytest.fixture
def run(environment: None, finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.mark.slow
def test_the_command_prints_and_keeps_the_stress_test(
    run: Path, tmp_path: Path, call: Call
) -> None:
    before, out = digests(run), tmp_path / "a.json"
    text = call("evaluate", run, "--stress", "--out", out).out
    assert max(map(len, text.split("\n"))) <= 80
    assert "1 run val" in " ".join(text.split())
    kept = read_stress(run)
    assert kept is not None
    after = digests(run)
    assert after.pop("stress.json")
    assert after == before
    val = Run.open(run).of_split("val")
    assert (kept["split"], kept["images"], kept["of"]) == ("val", len(val), len(val))
    known = scores(labels(val), val["p_pneumonia"])["auroc"]
    assert kept["clean"]["auroc"] == pytest.approx(known, abs=1e-4)
    drops = [known - row["auroc"] for row in kept["rows"] if row["auroc"] is not None]
    assert len(drops) == 5 * len(CORRUPTIONS)
    assert kept["drop"] == pytest.approx(np.mean(drops))
    written = json.loads(out.read_text())
    assert written["stress"][0]["rows"] == kept["rows"]
    assert "members" in written


@pytest.mark.slow
def test_several_runs_and_recipes_are_compared(run: Path, tmp_path: Path, call: Call) -> None:
    sweep, out = tmp_path / "sweep", tmp_path / "a.json"
    for seed in (0, 7):  # one recipe
        copy = Path(shutil.copytree(run, sweep / f"seed={seed}"))
        metrics = json.loads((copy / "metrics.json").read_text())
        (copy / "metrics.json").write_text(json.dumps(metrics | {"seed": seed}))
    shown = call("evaluate", sweep, "--stress", "--split", "test", "--out", out).out
    assert "these are test images" in shown
    title, first, second, mean = shown[shown.index("Network") :].splitlines()[:4]
    assert title.split() == ["Network", "Split", "Drop", "of", "AUROC", "AUROC"]
    _, *words, drop, clean, _, stressed = first.split()
    assert words == ["1", "run", "test"]
    assert first.split()[1:] == second.split()[1:]
    about = ["tiny", "2", "runs", "test", drop, "±", "0.0000"]
    assert mean.split() == [*about, clean, "to", stressed]
    entries = json.loads(out.read_text())["stress"]
    assert [entry.pop("run")[-6:] for entry in entries] == ["seed=0", "seed=7"]
    assert entries[0] == entries[1] == read_stress(sweep / "seed=7")


@pytest.mark.slow
def test_mistakes_are_one_line_and_nothing_is_written(
    run: Path, tmp_path: Path, monkeypatch: Patch, refused: Refused
) -> None:
    detector = make_detector(tmp_path / "detector")
    baseline = Path(shutil.copytree(run, tmp_path / "baseline"))
    config = baseline / ".hydra/config.yaml"
    text = config.read_text().replace("pneumo.models.unet_encoder", "pneumo.baselines.x")
    config.write_text(text)
    for message, *arguments in (
        ("--stress needs classifiers", detector, "--stress"),
        ("this needs a network", baseline, "--stress"),
        ("each run may be named once", run, run, "--stress"),
        ("runs must be of one task", run, detector, "--stress"),
        ("leave out --allow-overlap", run, baseline, "--stress", "--allow-overlap"),
        ("give --stress, too", run, "--split", "val"),
        ("leave out --checkpoint", run, "--checkpoint", "last", "--stress"),
    ):
        out = ("--out", tmp_path / "a.json")
        refused(str(message), "evaluate", *arguments, *out, keeps=tmp_path)
    only_test = Run.open(run).rescored(Run.open(run).of_split("test"))
    with pytest.raises(ValueError, match="has no val split"):
        list(stress.stress_runs([only_test], split="val"))
    monkeypatch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
    refused("set PNEUMO_DATA", "evaluate", run, "--stress", keeps=tmp_path)
