import numpy as np
import pandas as pd
import pytest

from pneumo.inference import conformal

LABEL, PROBABILITY = (
    [0] * 9 + [1] * 9,
    [i / 20 for i in range(9)] + [0.5 + i / 20 for i in range(9)],
)


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


def test_images_unlike_those_calibrated_on_are_held_less_often() -> None:
    rng = np.random.default_rng(0)
    sets = conformal.fit(*sample(2000, shift=0, rng=rng), coverage=0.9, of="val")
    label, probability = sample(2000, shift=1, rng=rng)
    assert sets.contains(probability)[label == 0, 0].mean() < 0.75


@pytest.mark.parametrize(("calibrated", "tested"), [(60, 468), (270, 2000)])
def test_luck_of_the_calibration_is_no_warning(calibrated: int, tested: int) -> None:
    rng = np.random.default_rng(0)
    chances = []
    for _ in range(300):
        sets = conformal.fit(*sample(calibrated, shift=0, rng=rng), coverage=0.9, of="val")
        label, probability = sample(tested, shift=0, rng=rng)
        table = pd.DataFrame(
            {
                "label": np.where(label == 1, "PNEUMONIA", "NORMAL"),
                **{"subtype": "", "source": "", "group": np.arange(tested)},
                "p_pneumonia": probability,
            }
        )
        chances += [row["by_chance"] for row in conformal.coverage(table, sets)]
    # they are as low as they say; nothing else but a uniform one would be so at each of these
    for level in (0.025, 0.25, 0.5):
        assert np.mean(np.array(chances) < level) == pytest.approx(level, abs=0.06)
    assert np.mean(np.array(chances) < conformal.ALPHA) < 0.045


def test_it_is_the_quantile_of_each_label() -> None:
    sets = conformal.fit(LABEL, PROBABILITY, coverage=0.9, of="val")
    assert list(sets.least) == pytest.approx(
        [0.6, 0.5], abs=2e-6
    )  # the lowest of 9: (9 + 1) 0.9 is the ninth
    assert sets.images == (9, 9)
    assert sets.name(0.5 - 1e-7) == "PNEUMONIA"  # the same image, computed in another batch
    assert [sets.name(p) for p in (0.1, 0.39, 0.45, 0.5)] == [
        *("NORMAL", "NORMAL", "neither", "PNEUMONIA"),
    ]
    wide = conformal.PredictionSets(0.9, (0.3, 0.4), (9, 9))
    assert wide.name(0.5) == "both"


def test_too_few_images_are_refused_with_what_they_are_enough_for() -> None:
    with pytest.raises(ValueError, match=r"0\.95 needs 19 images .* val has 9 NORMAL.* for 0\.9$"):
        conformal.fit(LABEL, PROBABILITY, coverage=0.95, of="val")


def test_coverage_is_by_label_subtype_and_source_and_says_where_it_fails() -> None:
    table = pd.DataFrame(
        {
            "label": ["NORMAL"] * 20 + ["PNEUMONIA"] * 20,
            "subtype": ["normal"] * 20 + ["bacteria"] * 10 + ["virus"] * 10,
            "source": ["train", "test"] * 20,
            "group": [f"p{i}" for i in range(40)],
            "p_pneumonia": [0.1] * 10 + [0.9] * 10 + [0.9] * 20,
        }
    )
    sets = conformal.PredictionSets(0.9, (0.5, 0.5), (100, 100))
    rows = conformal.coverage(table, sets)
    value = {(row["label"], row["group"]): row["value"] for row in rows}
    assert value["NORMAL", ""] == value["NORMAL", "test"] == 0.5
    assert value["PNEUMONIA", ""] == value["PNEUMONIA", "virus"] == 1
    assert all(row["low"] < row["high"] for row in rows)
    assert "0.9 DOES NOT HOLD for NORMAL:" in conformal.sentence(rows, sets)
    good = [row for row in rows if row["label"] == "PNEUMONIA"]
    assert "NOT" not in conformal.sentence(good, sets)
