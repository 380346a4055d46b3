"""Ensembles over hand-made run folders: what is scored, what is left out, what is refused."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pneumo.choices import RULES
from pneumo.data import split
from pneumo.evaluation import scores
from pneumo.evaluation.assessment import labels
from pneumo.evaluation.metrics import sensitivity_threshold
from pneumo.evaluation.operating_point import fit_weights
from pneumo.inference import ensemble
from pneumo.inference.decision import decide
from pneumo.report import terminal
from pneumo.runs.run import Run
from pneumo.shift import evaluation

NUM = 60


def scores_of(run_dirs: Sequence[Path], **options: Any) -> dict[str, Any]:
    return evaluation.evaluate([Run.open(run_dir) for run_dir in run_dirs], **options)


def make_run(
    root: Path,
    name: str,
    *,
    splits: Mapping[str, str] | None = None,
    seed: int = 0,
    skill: float = 2,
    groups: Mapping[str, str] | None = None,
    decision: str = "sensitivity",
    flipped: tuple[str, ...] = (),
) -> Path:
    """Leaves what `evaluate` reads of a run: 60 images, a patient each unless ``groups`` says else.

    By default images 0 to 19 are train, 20 to 39 val, 40 to 59 test; an even number is NORMAL.
    """
    run = root / name
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"seed": seed}))
    paths = [f"{number:02}.jpeg" for number in range(NUM)]
    label = np.arange(NUM) % 2
    for path in flipped:
        label[paths.index(path)] = 1 - label[paths.index(path)]
    usual = ["train"] * 20 + ["val"] * 20 + ["test"] * 20
    table = pd.DataFrame(
        {
            "path": paths,
            "patient": [(groups or {}).get(path, path) for path in paths],
            "label": np.where(label == 1, "PNEUMONIA", "NORMAL"),
            "subtype": "",
            "source": "test",
            "split": [(splits or {}).get(p, u) for p, u in zip(paths, usual, strict=True)],
        }
    ).assign(group=lambda t: t["patient"])
    table[split.COLUMNS].to_csv(run / "split.csv", index=False)
    score = np.random.default_rng(seed).normal(skill * (label - 0.5), 1)
    scored = table.assign(p_pneumonia=1 / (1 + np.exp(-2 * score)))
    scored[scored["split"] != "train"].to_csv(run / "predictions.csv", index=False)
    metrics_json = {
        **{"schema": 1, "model": name, "seed": seed, "protocol": "holdout", "num_classes": 2},
        "decision": decision,
        "data": {"kind": "kermany", "split_sha256": split.digest(table)},
        "best": {"epoch": 0, "test": {}},
        "last": {"epoch": 0, "test": {}},
    }
    (run / "metrics.json").write_text(json.dumps(metrics_json))
    return run


def test_a_vote_is_the_share_of_members_and_a_tie_is_pneumonia(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, f"r{seed}", seed=seed) for seed in range(4)]
    found = scores_of(runs)
    tests = [Run.open(run).of_split("test") for run in runs]
    label = labels(tests[0])
    called = np.stack([one["p_pneumonia"] >= 0.5 for one in tests])
    votes = called.sum(0)
    assert 2 in votes  # a tie
    assert found["vote"]["scores"]["accuracy"]["value"] == ((votes >= 2) == label).mean()
    auroc = found["vote"]["scores"]["auroc"]
    assert auroc["value"] == scores.auroc(label, called.mean(0))
    assert auroc["low"] < auroc["value"] <= auroc["high"]
    assert "not a probability" in found["vote"]["note"]
    assert set(found["vote"]) == {"interval", "scores", "note"}  # no calibration of a vote


def test_weights_are_of_validation_only(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "a", skill=0), make_run(tmp_path, "b", seed=1, skill=3)]
    val = ensemble.common_val([Run.open(run) for run in runs])
    assert not isinstance(val, str)
    for _ in range(2):
        weights = scores_of(runs)["weighted"]["weights"]
        assert weights == fit_weights(*val).tolist()
        assert weights[1] > 0.9
        for run in runs:  # another test split changes no weight
            table = pd.read_csv(run / "predictions.csv")
            table.loc[table["split"] == "test", "p_pneumonia"] = 0.3
            table.to_csv(run / "predictions.csv", index=False)


def test_a_rule_that_all_share_decides_for_the_mean_and_different_rules_are_set_aside(
    tmp_path: Path,
) -> None:
    made = {
        name: [make_run(tmp_path, f"{name}{seed}", seed=seed, decision=name) for seed in range(2)]
        for name in RULES
    }
    points = {name: scores_of(runs)["ensemble"]["operating_point"] for name, runs in made.items()}
    assert {name: point["decision"] for name, point in points.items()} == {n: n for n in RULES}
    assert points["argmax"]["threshold"] == points["balanced"]["threshold"] == 0.5
    vals = [Run.open(run).of_split("val") for run in made["sensitivity"]]
    mean = np.mean([one["p_pneumonia"] for one in vals], axis=0)
    wanted = sensitivity_threshold(labels(vals[0]), mean)
    assert points["sensitivity"]["threshold"] == wanted
    mixed = [made["argmax"][0], made["sensitivity"][1]]
    found = scores_of(mixed)["ensemble"]
    why = "the runs have different decision rules (argmax, sensitivity)"
    assert found["operating_point"]["why_not"] == found["calibration"]["why_not"] == why
    assert found["operating_point"]["threshold"] == 0.5
    decision = decide([Run.open(run) for run in mixed])
    assert (decision.threshold, decision.threshold_from) == (0.5, "argmax")
    note = f"no operating point and no calibration: {why}. Decisions are at 0.5"
    assert decision.notes == (note,)
    text = " ".join(terminal.wrapped(evaluation.text(scores_of(mixed))).split())
    assert f"at 0.5; no operating point: {why}" in text


def test_images_of_any_members_train_split_are_left_out_and_counted(tmp_path: Path) -> None:
    # of the test images 40 to 59 of a: b was trained on 40 to 43, chose its epoch on 44 and 45
    other = {f"{n}.jpeg": "train" for n in range(40, 44)}
    other |= {f"{n}.jpeg": "val" for n in range(44, 46)}
    runs = [make_run(tmp_path, "a"), make_run(tmp_path, "b", splits=other, seed=1)]
    found = scores_of(runs)
    assert found["scored_on"]["images"] == 14
    (note, *_) = found["notes"]
    assert note.startswith(f"the runs have different splits: of the 20 test images of {runs[0]}")
    assert "14 are scored; left out are 6 that a run was trained on, or on their patient" in note
    reverse = scores_of(runs[::-1])
    assert reverse["ensemble"]["scores"] == found["ensemble"]["scores"]
    assert reverse["scored_on"]["what"] == "the test images that all runs share"


def test_a_patient_that_one_member_knows_by_another_name_is_left_out(tmp_path: Path) -> None:
    # a knows that 40 and 50 are of one patient; b does not, and was trained on 50
    same = make_run(tmp_path, "a", groups={"40.jpeg": "p", "50.jpeg": "p"})
    other = make_run(tmp_path, "b", splits={"50.jpeg": "train"}, seed=1)
    for runs in ([same, other], [other, same]):
        rows = ensemble.common_test([Run.open(run) for run in runs])
        assert set(rows["path"]) == {f"{n}.jpeg" for n in range(40, 60)} - {"40.jpeg", "50.jpeg"}


def test_runs_without_common_test_images_or_with_other_labels_are_refused(tmp_path: Path) -> None:
    elsewhere = {f"{number}.jpeg": "train" for number in range(41, 60, 2)}  # all PNEUMONIA
    runs = [make_run(tmp_path, "a"), make_run(tmp_path, "b", splits=elsewhere, seed=1)]
    with pytest.raises(ValueError, match="must be scored on images that no run was trained on"):
        scores_of(runs)
    other = make_run(tmp_path, "c", flipped=("42.jpeg",))
    with pytest.raises(ValueError, match="must be of runs with the same labels"):
        scores_of([runs[0], other])


def test_a_copy_and_files_of_another_folder_are_no_ensemble(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "a"), make_run(tmp_path, "b", seed=1)]
    copy = Path(shutil.copytree(runs[0], tmp_path / "package"))
    with pytest.raises(ValueError, match=r"named once; \S*package is \S*a, or a copy of it"):
        scores_of([*runs, copy])
    for run in runs:
        text = (run / "metrics.json").read_text()
        data = f'"kind": "folder", "root_name": "{run.name}"'
        (run / "metrics.json").write_text(text.replace('"kind": "kermany"', data))
    with pytest.raises(ValueError, match="must be of the same data"):
        scores_of(runs)
    why = ensemble.common_val([Run.open(run) for run in runs])  # of images of the same names
    assert why == "the runs are of different data"
