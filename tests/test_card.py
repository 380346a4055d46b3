from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumo import card, evidence
from pneumo.metrics import scores
from pneumo.operating import Fixed, fix


def metrics(**changed: Any) -> dict[str, Any]:
    part = {"images": 60, "patients": 40, "NORMAL": 20, "PNEUMONIA": 40}
    test = dict.fromkeys(("accuracy", "auroc", "f1_normal", "f1_pneumonia"), 0.9)
    return {
        "model": "tiny",
        "seed": 0,
        "protocol": "holdout",
        "fold": None,
        "data": {
            "kind": "kermany",
            "images": 120,
            "patient_key": "person",
            "split_sha256": "ab" * 32,
            "parts": {"train": part, "test": part},
        },
        "parameters": 115184,
        "multiply_adds": 83304648,
        "selection": {"monitor": "f1_normal", "on": "val"},
        "versions": {"python": "3.11.7", "pneumo": "0.1.0"},
        "git_commit": None,
        "best": {"epoch": 3, "test": test},
        "last": {"epoch": 9, "test": test | {"f1_normal": 0.7}},
        "history": [{}] * 10,
    } | changed


def table(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    subtype = np.array(["normal"] * 20 + ["bacteria"] * 25 + ["virus"] * 15)
    sick = subtype != "normal"
    return pd.DataFrame(
        {
            "label": np.where(sick, "PNEUMONIA", "NORMAL"),
            "subtype": subtype,
            "patient": [f"p{number // 2}" for number in range(60)],
            "p_pneumonia": 1 / (1 + np.exp(-(sick * 3 - 1 + rng.normal(size=60)))),
        }
    )


def written(
    found: dict[str, Any],
    *,
    fixed: Fixed | str = "no reason",
    with_table: bool = True,
    **other: Any,
) -> str:
    given: dict[str, Any] = {
        "classes": ("NORMAL", "PNEUMONIA"),
        "image_size": 256,
        "aspect": "stretch",
        "checkpoint": "best",
        "train_sha256": "cd" * 32,
    }
    test = table() if with_table else None
    return card.write(found, test=test, fixed=fixed, **(given | other))


def test_scores_of_the_card_are_those_of_metrics() -> None:
    rows = table()
    label = (rows["label"] == "PNEUMONIA").to_numpy(int)
    wanted = scores(label, rows["p_pneumonia"])
    for score in evidence.scored(rows):
        assert score.value == wanted[evidence.SCORES[score.name]]
        assert score.interval.low <= score.value <= score.interval.high
    assert f"| accuracy | {wanted['accuracy']:.3f} |" in written(metrics())


def test_subgroups_are_each_against_all_normal_images() -> None:
    bacteria, virus = evidence.subgroups(table(), threshold=0.5)
    assert (bacteria.images, virus.images) == (25, 15)
    rows = table()
    own = rows[rows["subtype"] == "virus"]
    assert virus.scores[0].value == pytest.approx((own["p_pneumonia"] >= 0.5).mean())


def test_temperature_does_not_move_0_5_and_changes_the_brier_score() -> None:
    before, after = evidence.calibrations(table(), temperature=3.0)
    assert before.brier != after.brier
    assert [c.name for c in evidence.calibrations(table(), temperature=None)] == ["as predicted"]


def test_operating_point_is_that_of_the_validation_part() -> None:
    val = table(seed=1)
    fixed = fix((val["label"] == "PNEUMONIA").to_numpy(int), val["p_pneumonia"])
    text = written(metrics(), fixed=fixed)
    assert f"at a probability of **{fixed.threshold:.4f}**" in text
    assert "The test part had no say in it" in text
    assert f"Temperature {fixed.temperature:.3f}" in text


def test_without_a_validation_part_the_card_says_so_and_that_scores_flatter() -> None:
    found = metrics(protocol="paper", selection={"monitor": "f1_normal", "on": "test"})
    text = written(found, fixed="this run has no validation part (protocol=paper)")
    assert "**None could be fixed:** this run has no validation part (protocol=paper)" in text
    assert "No temperature could be fitted" in text
    assert "are on that same part and flatter" in text
    assert "0.700 instead of 0.900" in text


def test_the_last_checkpoint_has_no_intervals_and_says_why() -> None:
    text = written(metrics(), with_table=False, checkpoint="last")
    assert "epoch 10 of 10" in text
    assert "| F1 of NORMAL | 0.700 |" in text
    assert "95 % interval |" not in text
    assert "## Calibration" not in text


def test_phantoms_are_told_loudly_and_the_real_set_is_not_described() -> None:
    data = metrics()["data"] | {"kind": "phantom"}
    text = written(metrics(data=data))
    assert "**GENERATED IMAGES. The scores below mean nothing medically.**" in text
    assert "Guangzhou" not in text
    assert "GENERATED" not in written(metrics())


def test_real_card_names_limits_licences_and_the_shortcut() -> None:
    text = written(metrics())
    for needed in ("Not a medical device", "Guangzhou", "0.955", "CC BY 4.0", "MIT", "CLAIM"):
        assert needed in text


@pytest.mark.parametrize("aspect", ["stretch", "pad"])
def test_tables_are_whole_markdown(aspect: str) -> None:
    lines = written(metrics(), fixed=Fixed(0.4, 1.2, 10), aspect=aspect).splitlines()
    assert lines[0] == card.MARK
    for before, line in pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")
        assert line or before, "two empty lines"
    rules = [number for number, line in enumerate(lines) if line.startswith("| ---")]
    assert all(lines[number + 1].startswith("|") for number in rules)
    assert "{{" not in "\n".join(lines)
    assert "{%" not in "\n".join(lines)
