import numpy as np
import pytest

from pneumo.evaluation import metrics
from pneumo.evaluation.paired import DIFFERENCES, Drawn, draw, minus

N = 400


def made(noise: float, *, seed: int = 1, threshold: float = 0.5) -> Drawn:
    label, patient = labels()
    rng = np.random.default_rng(seed)
    p = np.clip(0.5 + 0.3 * (label - 0.5) + rng.normal(0, noise, N), 0, 1)
    return draw(label, p, patient=patient, threshold=threshold)


def labels() -> tuple[np.ndarray, np.ndarray]:
    patient = np.arange(N) // 2
    return (patient % 3 > 0).astype(int), patient


def test_difference_is_of_the_scores_and_in_its_interval() -> None:
    better, worse = made(0.1), made(0.3)
    found = minus(better, worse)
    for name in DIFFERENCES:
        assert found[name]["value"] == pytest.approx(better.value[name] - worse.value[name])
        assert 0 < found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert found["called_differently"] == (better.called != worse.called).sum()


def test_order_turns_the_sign() -> None:
    one, other = minus(made(0.2), made(0.2, seed=2)), minus(made(0.2, seed=2), made(0.2))
    for name in DIFFERENCES:
        assert one[name]["value"] == -other[name]["value"]
        assert one[name]["low"] == pytest.approx(-other[name]["high"])


def test_a_model_differs_from_itself_by_nothing() -> None:
    found = minus(made(0.2), made(0.2))
    assert found["called_differently"] == 0
    assert all(found[name]["value"] == 0 for name in DIFFERENCES)
    assert all(np.isnan([found[name]["low"], found[name]["high"]]).all() for name in DIFFERENCES)


def test_pairing_makes_the_interval_narrower() -> None:
    label, patient = labels()
    rng = np.random.default_rng(0)
    p = np.clip(0.5 + 0.3 * (label - 0.5) + rng.normal(0, 0.2, N), 0, 1)
    close = np.clip(p + rng.normal(0, 0.01, N), 0, 1)
    one, other = (draw(label, each, patient=patient, threshold=0.5) for each in (p, close))
    paired = minus(one, other)["auroc"]
    alone = np.subtract(*np.quantile(one.draws["auroc"], (0.975, 0.025)))
    assert paired["high"] - paired["low"] < alone / 5


def test_interval_covers_a_true_difference_of_none() -> None:
    label, patient = labels()
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shared = rng.normal(0, 0.2, N // 2)[patient]
        both = [
            draw(
                label,
                np.clip(0.5 + 0.3 * (label - 0.5) + shared + rng.normal(0, 0.1, N), 0, 1),
                patient=patient,
                threshold=0.5,
            )
            for _ in range(2)
        ]
        found = minus(*both)["auroc"]
        covered += found["low"] <= 0 <= found["high"]
    assert covered >= 34


def test_each_is_at_its_own_operating_point() -> None:
    label, patient = labels()
    p = np.random.default_rng(0).uniform(0, 1, N)
    one, other = (draw(label, p, patient=patient, threshold=t) for t in (0.2, 0.8))
    found = minus(one, other)
    for threshold, drawn in ((0.2, one), (0.8, other)):
        point = metrics.operating_point(label, p, threshold=threshold)
        assert drawn.value["sensitivity"] == pytest.approx(point["sensitivity"])
    assert found["auroc"]["value"] == 0
    assert found["sensitivity"]["value"] > 0 > found["specificity"]["value"]
