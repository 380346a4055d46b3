import json
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumo.evaluation.assessment import assess
from pneumo.evaluation.operating_point import OperatingPoint, fit_on_validation
from pneumo.evaluation.scores import scores
from pneumo.report import checklists, model_card
from pneumo.runs.run_folder import MAP_NUMBERS


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
            "splits": {"train": part, "test": part},
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
            "group": [f"p{number // 2}" for number in range(60)],
            "source": [("train", "test")[number % 2] for number in range(60)],
            "p_pneumonia": 1 / (1 + np.exp(-(sick * 3 - 1 + rng.normal(size=60)))),
        }
    )


def assessed(fixed: OperatingPoint | str) -> dict[str, Any]:
    return assess(table(), table()["p_pneumonia"].to_numpy(float), fixed=fixed)


def written(
    found: dict[str, Any],
    *,
    fixed: OperatingPoint | str = "no reason",
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
    return model_card.write(found, found=assessed(fixed) if with_table else None, **(given | other))


def test_a_subgroup_is_scored_from_five_patients_of_each_label_on() -> None:
    rows = table()
    virus = rows["subtype"] == "virus"
    for patients, scored in ((4, False), (5, True)):
        rows.loc[virus, "group"] = [f"v{number % patients}" for number in range(15)]
        found = assess(rows, rows["p_pneumonia"].to_numpy(), fixed="why")["subgroups"]
        (row,) = (one for one in found if one["group"] == "virus")
        assert ("sensitivity" in row) == scored
        assert ("why_not" in row) != scored


def test_net_benefit_at_a_prevalence_takes_the_one_that_was_fitted_at() -> None:
    # of half PNEUMONIA, fitted at 3/4: odds 9 / 1 become 9 / 3 at 1/2, 1 / 1 become 1 / 3, so that
    # at 0.7 one of two images of each label is treated for pneumonia, at 0.8 none is
    rows = table()[18:22].assign(p_pneumonia=[0.9, 0.5, 0.9, 0.5])
    fixed = OperatingPoint(0.5, 1.0, images=8, prevalence=0.75)
    found = assess(rows, rows["p_pneumonia"].to_numpy(), fixed=fixed, prevalences=[0.5])
    (at,) = found["net_benefit"]["at_prevalence"]
    benefit = {round(row["threshold"], 2): row["network"] for row in at["at"]}
    assert benefit[0.7] == pytest.approx(0.25 - 0.25 * 7 / 3)
    assert benefit[0.8] == 0
    assert found["net_benefit"]["fitted_at"] == 0.75


def test_scores_of_the_card_are_those_of_metrics() -> None:
    rows, text = table(), written(metrics())
    wanted = scores((rows["label"] == "PNEUMONIA").to_numpy(int), rows["p_pneumonia"])
    for name, key in model_card.SCORES.items():
        assert f"| {name} | {wanted[key]:.3f} | " in text


def test_subgroups_are_each_against_all_normal_images() -> None:
    rows = table()
    own = rows[rows["subtype"] == "virus"]
    sensitivity = (own["p_pneumonia"] >= 0.5).mean()
    (line,) = [row for row in written(metrics()).splitlines() if row.startswith("| subtype virus")]
    assert line.startswith("| subtype virus | 15 | 20 | ")
    assert f" | {sensitivity:.3f} (" in line


def test_what_is_not_known_is_a_dash() -> None:
    rows = table()
    found = json.loads(json.dumps(assess(rows, rows["p_pneumonia"].to_numpy(), fixed="why")))
    found["scores"]["f1_normal"] = dict.fromkeys(("value", "low", "high"))  # null in metrics.json
    text = model_card.write(
        metrics(),
        classes=("NORMAL", "PNEUMONIA"),
        image_size=256,
        aspect="stretch",
        checkpoint="best",
        found=found,
        train_sha256=None,
    )
    assert "| F1 of NORMAL | \N{EN DASH} | \N{EN DASH} |" in text


def test_heat_maps_are_told_where_they_were_scored() -> None:
    assert "Not scored." in written(metrics())
    mean = dict.fromkeys(MAP_NUMBERS, 0.25) | {"images": 30, "flat": 2, "randomised": None}
    text = written(metrics(), maps=[{"method": "gradcam", "class": "PNEUMONIA", "mean": mean}])
    assert "| gradcam | PNEUMONIA | 30 | 2 | 0.250 | 0.250 | 0.250 (0.250 to 0.250) |" in text
    assert "| \N{EN DASH} | better |" in text
    assert "Not scored." not in text
    for low in (-0.1, 0, None):
        row = {"method": "gradcam", "class": "PNEUMONIA", "mean": mean | {"gap_low": low}}
        assert "| no better |" in written(metrics(), maps=[row])


def test_operating_point_is_that_of_the_validation_part() -> None:
    val = table(seed=1)
    fixed = fit_on_validation((val["label"] == "PNEUMONIA").to_numpy(int), val["p_pneumonia"])
    text = written(metrics(), fixed=fixed)
    assert f"at a probability of **{fixed.threshold:.4f}**" in text
    assert "The test split had no say in it" in text
    assert f"Temperature {fixed.temperature:.3f}" in text


def test_without_a_validation_part_the_card_says_so_and_that_scores_are_optimistic() -> None:
    found = metrics(protocol="paper", selection={"monitor": "f1_normal", "on": "test"})
    text = written(found, fixed="this run has no validation split (protocol=paper)")
    assert "**None could be fixed:** this run has no validation split (protocol=paper)" in text
    assert "No temperature could be fitted" in text
    assert "are on that same split and are optimistic" in text
    assert "0.700 instead of 0.900" in text


def test_net_benefit_has_a_column_for_each_prevalence_and_few_patients_are_named() -> None:
    text = written(metrics())
    assert "| chance | 67 % here | 5 % | 10 % | 20 % | 40 % |" in text
    assert "**Few patients:** fewer than 20 patients of a class among all images" in text


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
    text = written(metrics(data=metrics()["data"] | {"ages": [1, 5]}))
    assert "an age outside of 1 to 5 years" in text
    assert "an age outside" not in written(metrics())
    for needed in (
        "Not a medical device",
        "Guangzhou",
        "thumbnail_svm",
        "CC BY 4.0",
        "MIT",
        "CLAIM 2024",
    ):
        assert needed in text


@pytest.mark.parametrize("aspect", ["stretch", "pad"])
def test_tables_are_whole_markdown(aspect: str) -> None:
    lines = written(metrics(), fixed=OperatingPoint(0.4, 1.2, 10, 0.7), aspect=aspect).splitlines()
    assert lines[0] == checklists.MARK
    for before, line in pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")
        assert line or before, "two empty lines"
    rules = [number for number, line in enumerate(lines) if line.startswith("| ---")]
    assert all(lines[number + 1].startswith("|") for number in rules)
    assert "{{" not in "\n".join(lines)
    assert "{%" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("auroc", "warned"), [(0.0, True), (0.31, True), (0.6, False), (None, False)]
)
def test_a_card_says_where_nothing_was_learnt(auroc: float | None, warned: bool) -> None:
    test = dict.fromkeys(("accuracy", "f1_normal", "f1_pneumonia"), 0.9) | {"auroc": auroc}
    text = written(metrics(best={"epoch": 3, "test": test}), with_table=False)
    assert ("LEARNT NOTHING" in text) is warned


def test_names_of_a_run_folder_are_no_markup() -> None:
    text = written(metrics(model="<script>[tiny](http://x)"))
    assert "<script" not in text
    assert "[tiny](" not in text
