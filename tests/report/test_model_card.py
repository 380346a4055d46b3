import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumo.evaluation.assessment import assess
from pneumo.evaluation.operating_point import OperatingPoint, by_rule
from pneumo.evaluation.scores import scores
from pneumo.report import checklists, documents
from pneumo.report.assessed import SHOWN
from pneumo.runs.run_folder import MAP_NUMBERS

DASH = "\N{EN DASH}"


def metrics(**changed: Any) -> dict[str, Any]:
    part = {"images": 60, "patients": 40, "NORMAL": 20, "PNEUMONIA": 40}
    test = dict.fromkeys(("accuracy", "auroc", "f1_normal", "f1_pneumonia"), 0.9)
    return {
        "model": "tiny", "seed": 0, "protocol": "holdout", "fold": None,
        "data": {"kind": "kermany", "images": 120, "patient_key": "person",
                 "split_sha256": "ab" * 32, "splits": {"train": part, "test": part}},
        "parameters": 115184, "multiply_adds": 83304648,
        "selection": {"monitor": "f1_normal", "on": "val"},
        "versions": {"python": "3.11.7", "pneumo": "0.1.0"}, "git_commit": None,
        "best": {"epoch": 3, "test": test}, "last": {"epoch": 9, "test": test | {"f1_normal": 0.7}},
        "history": [{}] * 10,
    } | changed  # fmt: skip


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


NOTHING = OperatingPoint(why_not="no reason")
FIXED = OperatingPoint("sensitivity", 0.4, 1.2, images=10, prevalence=0.7)


def assessed(fixed: OperatingPoint = NOTHING) -> dict[str, Any]:
    return assess(table(), table()["p_pneumonia"].to_numpy(float), fixed=fixed)


def card(changed: dict[str, Any] | None = None, **other: Any) -> str:
    """The card of a run with changed metrics, and with other arguments."""
    run: Any = SimpleNamespace(
        metrics=metrics(**changed or {}), image_size=256, aspect=other.pop("aspect", "stretch"),
        train_sha256="cd" * 32, external=other.pop("external", {}),
        config={"model": other.pop("model", {})} | other.pop("config", {}),
    )  # fmt: skip
    arguments: dict[str, Any] = {"classes": ("NORMAL", "PNEUMONIA"), "checkpoint": "best"}
    if "assessment" not in other:
        other["assessment"] = assessed(other.pop("fixed", NOTHING))
    return documents.card(run, **(arguments | other))


def test_a_subgroup_is_scored_from_five_patients_of_each_label_on() -> None:
    rows = table()
    virus = rows["subtype"] == "virus"
    for num_patients, scored in ((4, False), (5, True)):
        rows.loc[virus, "group"] = [f"v{number % num_patients}" for number in range(15)]
        subgroups = assess(rows, rows["p_pneumonia"].to_numpy(), fixed=NOTHING)["subgroups"]
        (row,) = (each for each in subgroups if each["group"] == "virus")
        assert ("sensitivity" in row) == scored
        assert ("why_not" in row) != scored


@pytest.mark.parametrize(
    ("fixed", "odds"),
    [
        (OperatingPoint(temperature=1.0, images=8, prevalence=0.75), 3),
        (OperatingPoint("balanced", prevalence=0.5), 1),
    ],
)
def test_net_benefit_starts_from_the_prevalence_of_the_fit(
    fixed: OperatingPoint, odds: int
) -> None:
    # of each label one image has odds of 9 to 1 for equal classes, so 3 to 1 for a quarter of
    # PNEUMONIA, and one has 1 to 1, so 1 to 3: at 0.7 the first is treated, at 0.8 only for a half
    p = [9 * odds / (9 * odds + 1), odds / (odds + 1)] * 2
    half = table()[18:22].assign(p_pneumonia=p)
    quarter = pd.concat([half, half[:2], half[:2]])
    wanted = {0.5: [0.25 - 0.25 * 7 / 3, 0.25 - 0.25 * 4], 0.25: [0.125 - 0.375 * 7 / 3, 0]}
    for images, own, stated in ((half, 0.5, 0.25), (quarter, 0.25, 0.5)):
        result = assess(images, images["p_pneumonia"].to_numpy(), fixed=fixed, prevalences=[stated])
        benefit = result["net_benefit"]
        assert (benefit["own_prevalence"], benefit["fitted_at"]) == (own, fixed.prevalence)
        for share, rows in ((own, benefit["at"]), (stated, benefit["at_prevalence"][0]["at"])):
            network = {round(row["threshold"], 2): row["network"] for row in rows}
            assert [network[0.7], network[0.8]] == pytest.approx(wanted[share])


def test_scores_and_subgroups_of_the_card_are_those_of_the_table() -> None:
    rows, assessment = table(), json.loads(json.dumps(assessed()))
    # null in metrics.json
    assessment["scores"]["f1_normal"] = dict.fromkeys(("value", "low", "high"))
    text = card({"model": "<script>[tiny](http://x)"}, assessment=assessment)
    wanted = scores((rows["label"] == "PNEUMONIA").to_numpy(int), rows["p_pneumonia"])
    for name, key in SHOWN.items():
        value = DASH if key == "f1_normal" else f"{wanted[key]:.3f}"
        assert f"| {name} | {value}" in text
    sensitivity = (rows[rows["subtype"] == "virus"]["p_pneumonia"] >= 0.5).mean()
    (line,) = [row for row in text.splitlines() if row.startswith("| subtype virus")]
    # against all NORMAL images
    assert line.startswith("| subtype virus (15 PNEUMONIA, 20 NORMAL) | ")
    assert f" | {sensitivity:.3f} (" in line
    assert "| treat from | 67 % here | 5 % | 10 % | 20 % | 40 % |" in text
    assert "**Few patients:** fewer than 20 patients of a class among all images" in text
    assert not [markup for markup in ("<script", "[tiny](") if markup in text]


def test_the_card_has_the_initial_weights_and_what_standardises_the_input() -> None:
    assert "trained from scratch" in card()
    assert "standard deviation of the train split" in card()
    init = {"run": "model=tiny,seed=3", "trained_on": "kermany"}
    assert "standard deviation of the network it was fine-tuned from" in card({"init": init})
    text = card({"init": init}, model={"library": "torchvision"})
    assert "weights of model=tiny,seed=3, trained on kermany" in text
    assert "trained from scratch" not in text
    assert "standard deviation of the pretraining images" in text


def test_heat_maps_are_in_the_card_if_they_were_scored() -> None:
    assert "Not scored." in card()
    mean = dict.fromkeys(MAP_NUMBERS, 0.25) | {"images": 30, "flat": 2, "randomised": None}
    row = {"method": "gradcam", "class": "PNEUMONIA"}
    text = card(maps=[row | {"mean": mean}])
    assert "| gradcam | PNEUMONIA | 30 | 2 | 0.250 | 0.250 | 0.250 (0.250 to 0.250) |" in text
    assert f"| {DASH} | better |" in text
    assert "Not scored." not in text
    for low in (-0.1, 0, None):
        assert "| no better |" in card(maps=[row | {"mean": mean | {"gap_low": low}}])


def test_the_operating_point_is_that_of_the_validation_split() -> None:
    val = table(seed=1)
    label = (val["label"] == "PNEUMONIA").to_numpy(int)
    fixed = by_rule("sensitivity", (label, val["p_pneumonia"]))
    text = card(fixed=fixed)
    assert f"at a probability of **{fixed.threshold:.4f}**" in text
    assert f"Temperature {fixed.temperature:.3f}" in text


def test_without_a_validation_split_the_card_names_the_scores_optimistic() -> None:
    why = "this run has no validation split (protocol=paper)"
    fixed = by_rule("argmax", why)
    text = card({"selection": {"monitor": "f1_normal", "on": "test"}}, fixed=fixed)
    assert "at a probability of **0.5** or above" in text
    assert f"No temperature could be fitted: {why}" in text
    assert "are on that same split and are optimistic" in text
    assert "0.700 instead of 0.900" in text


def test_phantoms_are_marked_and_the_real_set_has_its_limits() -> None:
    text = card({"data": metrics()["data"] | {"kind": "phantom"}})
    assert "**GENERATED IMAGES. The scores below have no medical meaning.**" in text
    assert "Guangzhou" not in text
    text = card({"data": metrics()["data"] | {"ages": [1, 5]}})
    assert "an age outside of 1 to 5 years" in text
    assert not [word for word in ("GENERATED", "an age outside") if word in card()]
    needed = (
        "Not a medical device",
        "Guangzhou",
        "thumbnail_svm",
        "CC BY 4.0",
        "MIT",
        "CLAIM 2024",
    )
    assert [word for word in needed if word not in text] == []


def test_the_baselines_of_the_card_are_of_the_run_s_split() -> None:
    protocol = {"name": "kfold", "val": 0.1, "k": 5, "fold": 3}
    text = card({"protocol": "kfold"}, config={"protocol": protocol})
    assert "data=kermany protocol=kfold seed=0 data.patient_key=person" in text
    assert "protocol.val=0.1 protocol.k=5 protocol.fold=3" in text


@pytest.mark.parametrize("aspect", ["stretch", "pad"])
def test_tables_are_whole_markdown(aspect: str) -> None:
    lines = card(fixed=FIXED, aspect=aspect).splitlines()
    assert lines[0] == checklists.MARK
    for before, line in pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")
        assert line or before, "two empty lines"
    rules = [number for number, line in enumerate(lines) if line.startswith("| ---")]
    assert all(lines[number + 1].startswith("|") for number in rules)
    assert not [mark for mark in ("{{", "{%") if mark in "\n".join(lines)]


@pytest.mark.parametrize(
    ("auroc", "warned"), [(0.0, True), (0.31, True), (0.6, False), (None, False)]
)
def test_the_last_checkpoint_has_no_intervals_and_chance_is_named(
    auroc: float | None, warned: bool
) -> None:
    test = dict.fromkeys(("accuracy", "f1_normal", "f1_pneumonia"), 0.7) | {"auroc": auroc}
    text = card({"last": {"epoch": 9, "test": test}}, assessment=None, checkpoint="last")
    assert ("LEARNED NOTHING" in text) is warned
    assert "epoch 10 of 10" in text
    assert "| F1 of NORMAL | 0.700 |" in text
    assert not [title for title in ("95 % interval |", "## Calibration") if title in text]


def test_the_card_of_weights_has_command_scores_and_the_run_s_card() -> None:
    part = metrics()["data"]["splits"]["test"]
    best = {"epoch": 3, "test": dict.fromkeys(documents.SCORES_OF_WEIGHTS.values(), 0.9)}
    about = metrics(best=best, seconds={"total": 90}, machine={"device": "cpu"})
    text = documents.weights_card(about, overrides=["model=tiny", "a=[b, c]"])
    assert "    python -m pneumo.train model=tiny 'a=[b, c]'\n" in text
    assert f"| test, {part['images']} images | 0.900 |" in text
    assert "epoch 4 of 10" in text
    assert "in 1.5 minutes" in text
    assert "Mendeley Data" in text
