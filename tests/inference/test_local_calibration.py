import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumo.evaluation.assessment import labels
from pneumo.evaluation.metrics import youden_threshold
from pneumo.evaluation.operating_point import calibrated
from pneumo.evaluation.scores import operating_point
from pneumo.inference import local_calibration as local
from pneumo.inference.decision import decide
from pneumo.runs import run_folder

DRAWS = local.DRAWS


def images(number: int, *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=number)
    score = rng.normal(size=number) + 2 * label
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(number)],
            "label": np.where(label == 1, "PNEUMONIA", "NORMAL"),
            "group": [f"p{i // 2}" for i in range(number)],
            "p_pneumonia": 1 / (1 + np.exp(-score + 1)),
        }
    )


@pytest.fixture(autouse=True, scope="module")
def _fewer_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "DRAWS", 40)
        yield


@pytest.fixture(scope="module")
def found(_fewer_draws: None) -> dict[str, Any]:
    return local.describe(images(60), sensitivity=0.9) | {"weights_sha256": "abc", "run": "r"}


def test_youden_is_the_best_of_all_thresholds() -> None:
    table = images(200)
    label, p = labels(table), table["p_pneumonia"].to_numpy()

    def index(threshold: float) -> float:
        point = operating_point(label, p, threshold=threshold)
        return point["sensitivity"] + point["specificity"]

    assert index(youden_threshold(label, p)) == pytest.approx(max(map(index, p)))
    assert np.isnan(youden_threshold(label[label == 1], p[label == 1]))
    tied = [0.9, 0.6, 0.1, 0.1, 0.1, 0.8, 0.5, 0.4, 0.3, 0.2]  # 0.2 at 0.9 and at 0.6
    highest = youden_threshold(np.repeat([1, 0], 5), np.array(tied))
    assert highest == pytest.approx(0.9, abs=1e-5)


@pytest.mark.parametrize("images_of_each", [5, 50])
def test_few_images_that_are_all_right_do_not_make_all_sure(images_of_each: int) -> None:
    label = np.repeat([0, 1], images_of_each)
    points = [
        local.fit_point(label, np.repeat([low, 0.8], images_of_each), sensitivity=sensitivity)
        for low, sensitivity in ((0.3, 0.95), (0.3, None), (0.2, 0.95))
    ]
    for point in points:
        assert point["threshold"] == pytest.approx(0.8 - 1e-6, abs=1e-9)  # the rounding of a batch
    sure = calibrated([0.3, 0.8], temperature=points[0]["temperature"])
    least = 0.5 / (images_of_each + 1) / 5
    assert least < sure[0] < 0.3 < 0.8 < sure[1] < 1 - least
    # Jeffreys' half: n + 1/2 of n + 1 are right, odds of 2 n + 1, which 4 to the power 1 / T are
    by_hand = np.log(4) / np.log(2 * images_of_each + 1)
    assert points[2]["temperature"] == pytest.approx(by_hand, abs=1e-6)


def test_more_images_buy_a_narrower_range(found: dict[str, Any]) -> None:
    wide = local.describe(images(400), sensitivity=0.9)["curve"]
    assert [row["images"] for row in wide] == [10, 25, 50, 100, 200, 400]
    width = [row["threshold"]["high"] - row["threshold"]["low"] for row in wide]
    assert width[-1] < width[2] < width[1]
    assert [row["images"] for row in found["curve"]] == [10, 25, 50, 60]


def test_the_table_is_scored_on_the_patients_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "DRAWS", DRAWS)
    # a fixes 0.9, which misses b and calls its healthy image right; b fixes 0.6, right for a
    label, probability = np.array([1, 0, 1, 0]), np.array([0.9, 0.1, 0.6, 0.8])
    patient = np.array(["a", "a", "b", "b"])
    first, every = local.curve(label, probability, patient, sensitivity=1, sizes=(1,))
    assert first["draws"] == 200
    assert (first["sensitivity"]["low"], first["sensitivity"]["high"]) == (0, 1)
    assert (first["specificity"]["low"], first["specificity"]["high"]) == (1, 1)
    assert every["images"] == 4
    assert 0 < every["draws"] < 200  # a and b leave no other patient
    of_patient = [np.array([2 * i, 2 * i + 1]) for i in range(20)]
    used, left = local.drawn(of_patient, size=15, rng=np.random.default_rng(0))
    assert used.size == 16
    assert not set(used // 2) & set(left // 2)
    assert set(used) | set(left) == set(range(40))


def test_few_images_of_a_label_are_refused_or_warned_of() -> None:
    table = images(60)
    normal = table[table["label"] == "NORMAL"].drop_duplicates("group")[:4]
    few = pd.concat([table[table["label"] == "PNEUMONIA"], normal])
    message = "distinct images of at least 5 patients of each label; got 4 of NORMAL"
    with pytest.raises(ValueError, match=message):
        local.describe(pd.concat([few] * 8), sensitivity=0.9)
    assert "fewer than 20 patients" in local.describe(images(24), sensitivity=0.9)["warning"]


def test_of_copies_one_counts_and_who_share_an_image_are_one_patient() -> None:
    table = images(8).assign(label=["NORMAL"] * 4 + ["PNEUMONIA"] * 4, patient=list("abcdefgh"))
    found = local.without_copies(table, list("xxyzuvwt"))
    assert found["path"].tolist() == [f"{i}.png" for i in (0, 2, 3, 4, 5, 6, 7)]
    assert found["group"].tolist() == list("acdefgh")
    same = local.without_copies(table.assign(patient=list("abbdefgh")), list("xxyzuvwt"))
    assert same["group"].tolist() == list("aadefgh")  # b's other image is a's, too
    with pytest.raises(ValueError, match=r"0\.png and 7\.png have the same pixels"):
        local.without_copies(table, list("xxyzuvwx"))


@pytest.mark.parametrize(
    "wrong", [{"threshold": 2}, {"threshold": float("nan")}, {"coverage": 0}, {"coverage": 1}]
)
def test_a_threshold_and_a_coverage_are_shares(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"^{name} must be a number in .0, 1.; got"):
        decide([], **wrong)


def test_it_is_read_by_name_or_as_a_file_and_its_warnings_are_noted(
    found: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / run_folder.CALIBRATIONS / "here.json"
    path.parent.mkdir()

    def read(name: str = "here", *, weights: str = "abc", **changed: Any) -> local.LocalCalibration:
        path.write_text(json.dumps({k: v for k, v in (found | changed).items() if v is not None}))
        return local.read_calibration(tmp_path, name, weights_sha256=weights)

    for name in ("here", str(path)):
        assert (read(name)["name"], read(name)["threshold"]) == ("here", found["threshold"])
    decision = decide([], calibration=read(), coverage=0.9)
    assert (decision.threshold, decision.threshold_from) == (found["threshold"], "calibration")
    assert decision.temperature == found["temperature"]
    assert decision.sets is not None
    patients = images(60).groupby("label")["group"].nunique()
    assert decision.sets.patients == (patients["NORMAL"], patients["PNEUMONIA"])
    assert found["NORMAL"] > patients["NORMAL"]
    given = decide([], calibration=read(), threshold=0.3)
    assert (given.threshold, given.threshold_from) == (0.3, "given")
    assert given.notes[0].startswith("from the calibration here: temperature")
    warned = read(
        shared_with_train="2 patients with the train split of a", warning="fewer than 20 patients"
    )
    plain, noted = (
        decide([], calibration=one).notes[0]
        for one in (read(shared_with_train="", warning=None), warned)
    )
    assert plain == "from the calibration here: threshold and temperature"
    balanced: Any = SimpleNamespace(metrics={"decision": "balanced"}, is_shipped=False)
    decision = decide([balanced], calibration=read(shared_with_train="", warning=None))
    assert (decision.threshold, decision.temperature) == (found["threshold"], None)
    assert decision.notes == ("from the calibration here: threshold",)
    assert noted.startswith(f"{plain}. LEAK: its images share 2 patients with the train")
    assert noted.endswith("fewer than 20 patients")
    with pytest.raises(FileNotFoundError, match=r"one of the run's \(here\); there is no"):
        read("there")
    with pytest.raises(ValueError, match="must be of the weights that predict"):
        read(weights="other")
    for broken in (
        *({"schema": 1}, {"threshold": 1.5}, {"weights_sha256": None}, {"warning": 1}),
        *(
            {"temperature": 0},
            {"shared_with_train": ["a"]},
            {"probabilities": {"NORMAL": [2], "PNEUMONIA": []}},
        ),
    ):
        with pytest.raises(ValueError, match=r"here\.json must be a file of python -m [^\n]*$"):
            read(**broken)
