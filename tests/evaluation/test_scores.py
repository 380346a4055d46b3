"""Scores against scikit-learn, by brute force and by their laws."""

from itertools import permutations

import numpy as np
import pytest

from pneumo.evaluation import intervals
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.scores import (
    SCORES,
    Sample,
    Share,
    lowest_average_precision,
    operating_point,
    scores,
    weighted_scores,
)
from tests.evaluation.test_metrics import cases

sk = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_scikit_learn(seed: int, digits: int) -> None:
    label, probability = cases(seed, digits=digits)
    called = probability >= 0.5
    expected = {
        "accuracy": sk.accuracy_score(label, called),
        "balanced_accuracy": sk.balanced_accuracy_score(label, called),
        "mcc": sk.matthews_corrcoef(label, called),
        "auroc": sk.roc_auc_score(label, probability),
        "average_precision": sk.average_precision_score(label, probability),
    }
    for index, name in enumerate(("normal", "pneumonia")):
        values = sk.precision_recall_fscore_support(label, called, labels=[index])
        for key, value in zip(("precision", "recall", "f1"), values, strict=False):
            expected[f"{key}_{name}"] = value[0]
    assert scores(label, probability) == pytest.approx(expected)
    assert set(expected) == set(SCORES)
    point = operating_point(label, probability, threshold=0.5)
    assert (point["sensitivity"], point["npv"]) == pytest.approx(
        (expected["recall_pneumonia"], expected["precision_normal"])
    )


@pytest.mark.parametrize("digits", [1, 6])
def test_weights_are_repeated_images(digits: int) -> None:
    label, probability = cases(4, num=60, digits=digits)
    weight = np.random.default_rng(0).integers(0, 4, (60, 5)).astype(np.float32)
    weighted = weighted_scores(label, probability, weight=weight)
    for column in range(5):
        index = np.repeat(np.arange(60), weight[:, column].astype(int))
        repeated = scores(label[index], probability[index])
        assert {name: value[column] for name, value in weighted.items()} == pytest.approx(
            repeated, rel=1e-5
        )


@pytest.mark.parametrize(
    ("label", "missing"), [(np.zeros(6, int), "pneumonia"), (np.ones(6, int), "normal")]
)
def test_a_missing_class_is_nan_not_zero(label: Array, missing: str) -> None:
    probability = np.linspace(0.1, 0.9, label.size)
    values = scores(label, probability)
    other = "normal" if missing == "pneumonia" else "pneumonia"
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined == {
        *(f"{key}_{missing}" for key in ("precision", "recall", "f1")),
        *("balanced_accuracy", "mcc", "auroc", "average_precision"),
    }
    assert values[f"recall_{other}"] == 0.5
    ends = intervals.score_intervals(label, probability, patient=np.arange(6))
    assert {name for name, end in ends.items() if np.isnan(end).all()} == undefined


def test_images_that_are_all_called_alike_or_missing() -> None:
    for empty in (scores([], []), scores([0, 1], [0.2, np.nan])):
        assert np.isnan(list(empty.values())).all()
    values = scores([0, 1, 1], [0.9, 0.9, 0.9])
    assert np.isnan(values["precision_normal"])
    assert (values["recall_normal"], values["f1_normal"], values["mcc"]) == (0, 0, 0)
    ends = intervals.score_intervals([0, 1, 1], [0.9, 0.9, 0.9], patient=[1, 2, 3])
    assert np.isnan(ends["mcc"]).all()  # it jumps there
    assert np.isfinite(ends["balanced_accuracy"]).all()


@pytest.mark.parametrize("label", [[0, 1], [1, 1, 0], [0, 0, 0, 1], [0, 1, 1, 1, 0]])
def test_the_lowest_average_precision_is_that_of_the_worst_order(label: list[int]) -> None:
    worst = min(scores(label, p)["average_precision"] for p in permutations(range(len(label))))
    assert lowest_average_precision(label) == pytest.approx(worst)


@pytest.mark.parametrize("name", SCORES)
def test_influence_is_the_derivative_with_an_images_weight(name: str) -> None:
    label, probability = cases(4, num=60, digits=1)  # with ties
    step = 1e-6
    weight = 1 + step * np.eye(label.size)
    moved = weighted_scores(label, probability, weight=weight, names=[name])[name]
    expected = (moved - scores(label, probability)[name]) / step
    called = (probability >= 0.5).astype(int)
    sample = Sample(label, probability, called, np.ones((label.size, 1)))
    kind = SCORES[name].interval
    if isinstance(kind, Share):
        right, among = (cells[label, called] for cells in (kind.right, kind.among))
        share, change = intervals.proportion(among, right)
        influence = change * (2 / (1 + share) ** 2 if kind.is_f1 else 1.0)  # F1 = 2 J / (1 + J)
    else:
        assert kind is not None
        influence = kind.change(sample)
    np.testing.assert_allclose(influence, expected, atol=2e-6)
