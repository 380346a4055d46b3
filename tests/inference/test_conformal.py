import numpy as np
import pandas as pd
import pytest

from benchmarks import sets as simulation
from pneumo.inference import conformal

LABEL = [0] * 9 + [1] * 9
PROBABILITY = [i / 20 + 0.5 * label for label in (0, 1) for i in range(9)]


def sample(number: int, *, shift: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    label = rng.integers(2, size=number)
    score = rng.normal(size=number) + 2 * label + shift
    return label, 1 / (1 + np.exp(-score + 1))


def test_new_images_of_each_label_are_held_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    held = np.empty((400, 2))
    for draw in range(len(held)):
        sets = conformal.fit(*sample(120, shift=0, rng=rng), coverage=0.9, of="val")
        label, probability = sample(400, shift=0, rng=rng)
        inside = sets.contains(probability)
        held[draw] = [inside[label == one, one].mean() for one in (0, 1)]
    assert held.mean(0) == pytest.approx([0.905, 0.905], abs=0.01)  # (n + 1) 0.9 is rounded up


def test_images_of_one_patient_count_once_in_the_sets_and_in_their_check() -> None:
    scenario = simulation.Scenario(20, 40, images=10, correlation=0.9)
    (_, by_image), (held, by_patient) = simulation.simulate(scenario, draws=60)
    assert held == pytest.approx(19 / 21, abs=0.02)  # the 19th of 20
    assert by_patient < 0.05 < by_image  # of 120 labels wrongly doubted; 2.5 % is nominal
    _, (refused, _) = simulation.simulate(scenario._replace(patients=2), draws=2)
    assert np.isnan(refused)


def test_a_patient_has_one_image_of_each_label_in_whatever_order() -> None:
    number = np.arange(400)
    table = pd.DataFrame({"path": [f"{n}.jpeg" for n in number], "group": number // 20})
    table["label"] = np.where(number % 20 < 5, "NORMAL", "PNEUMONIA")
    rows = conformal.one_per_patient(table)
    assert rows.groupby(["group", "label"]).size().tolist() == [1] * 40
    again = conformal.one_per_patient(table[::-1].reset_index(drop=True))
    assert set(again["path"]) == set(rows["path"])


@pytest.mark.parametrize(("held", "chance"), [(0, 1 / 55), (1, 10 / 55), (2, 1)])
def test_the_chance_that_so_few_patients_are_held_is_that_by_hand(held: int, chance: float) -> None:
    # The sets hold what is not below the least of 9 patients. Of the 55 pairs of places that 2 new
    # ones may have among the 11, both are below in 1 and one of them in 9
    table = pd.DataFrame(
        {
            "label": "PNEUMONIA",
            "path": [f"{number}.jpeg" for number in range(12)],
            "group": ["a"] * 2 + ["b"] * 10,  # of 12 images
            "p_pneumonia": np.repeat([0.9 if held == 2 else 0.1, 0.9 if held else 0.1], [2, 10]),
        }
    )
    sets = conformal.PredictionSets(0.9, (0.5, 0.5), (9, 9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformal, "MIN_PATIENTS", 2)
        (row,) = conformal.coverage(table, sets)
    assert row["by_chance"] == pytest.approx(chance)
    assert (row["images"], row["patients"]) == (12, 2)
    assert not conformal.coverage(table, sets)  # of fewer than 5 patients


def test_it_is_the_quantile_of_each_label_and_too_few_images_are_refused() -> None:
    sets = conformal.fit(LABEL, PROBABILITY, coverage=0.9, of="val")
    # the lowest of 9, since (9 + 1) 0.9 is the ninth, less what a batch changes
    assert list(sets.least) == pytest.approx([0.6 - 1e-6, 0.5 - 1e-6], abs=1e-9)
    assert sets.patients == (9, 9)
    assert sets.name(0.5 - 1e-7) == "PNEUMONIA"  # the same image, computed in another batch
    wanted = {0.1: "NORMAL", 0.39: "NORMAL", 0.45: "neither", 0.5: "PNEUMONIA"}
    assert {p: sets.name(p) for p in wanted} == wanted
    with pytest.raises(ValueError, match=r"0\.95 needs 19 patients .* val has 9 of NORMAL.* 0\.9$"):
        conformal.fit(LABEL, PROBABILITY, coverage=0.95, of="val")


def test_coverage_is_by_label_and_a_low_one_is_doubted() -> None:
    table = pd.DataFrame(
        {
            "path": [f"{i}.jpeg" for i in range(40)],
            "label": ["NORMAL"] * 20 + ["PNEUMONIA"] * 20,
            "group": [f"p{i}" for i in range(40)],
            "p_pneumonia": [0.1] * 10 + [0.9] * 30,
        }
    )
    sets = conformal.PredictionSets(0.9, (0.5, 0.5), (100, 100))
    rows = conformal.coverage(table, sets)
    assert {row["label"]: row["value"] for row in rows} == {"NORMAL": 0.5, "PNEUMONIA": 1}
    assert all(row["low"] < row["high"] for row in rows)
    assert "0.9 DOES NOT HOLD for NORMAL:" in conformal.sentence(rows, sets)
    for chance, doubted in ((0.0249, True), (0.0251, False)):  # 5 % for both labels together
        text = conformal.sentence([rows[1] | {"by_chance": chance}], sets)
        assert ("DOES NOT HOLD for PNEUMONIA" in text) == doubted
