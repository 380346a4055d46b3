"""Intervals over patients: by hand, against textbook intervals, and by their coverage."""

import numpy as np
import pytest
from scipy.special import stdtrit

from benchmarks.coverage import Scenario, _sizes, scores_of
from pneumo.evaluation import intervals
from pneumo.evaluation.scores import SCORES, scores
from tests.evaluation.test_metrics import cases


def test_the_order_of_images_changes_nothing_nor_does_a_monotone_function() -> None:
    label, probability = cases(5, digits=1)
    patient = np.arange(label.size) // 2
    ends = intervals.score_intervals(label, probability, patient=patient)
    order = np.random.default_rng(0).permutation(label.size)
    shuffled = intervals.score_intervals(label[order], probability[order], patient=patient[order])
    np.testing.assert_allclose(list(ends.values()), list(shuffled.values()), rtol=1e-9)
    logit = 7 * probability - 3.5  # ranks alike, and has the threshold at 0
    assert intervals.score_intervals(label, logit, patient=patient, threshold=0) == ends


def test_patients_are_drawn_whole_and_as_often_as_there_are() -> None:
    patient = np.array(["b", "a", "b", "c"])
    weight = intervals.patient_weights(patient, resamples=100)
    assert weight.shape == (4, 100)
    np.testing.assert_array_equal(weight[0], weight[2])
    np.testing.assert_array_equal(weight[[0, 1, 3]].sum(0), np.full(100, 3))
    assert weight.mean() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["balanced_accuracy", "mcc", "auroc", "average_precision"])
def test_intervals_are_as_wide_as_the_bootstraps(name: str) -> None:
    label, probability = cases(3, num=1200)
    patient = np.arange(1200) // 3
    drawn = intervals.resampled_scores(label, probability, patient=patient, names=[name])
    ends = intervals.score_intervals(label, probability, patient=patient, names=[name])
    width = np.ptp(intervals.percentile_interval(drawn[name]))
    assert np.ptp(ends[name]) == pytest.approx(width, rel=0.1)


@pytest.mark.parametrize(
    ("scenario", "draws", "least"),
    [
        (Scenario(100, auroc=0.99, correlation=0.4, heavy=False), 150, 0.9),
        (Scenario(30, auroc=0.99, correlation=0.4, heavy=False), 150, 0.92),
        # few patients have most of the images: accuracy covered 0.87 while errors counted as images
        (Scenario(100, 0.95, correlation=0.5, heavy=False, large=True, prevalence=0.5), 250, 0.92),
    ],
)
def test_intervals_cover_the_truth(scenario: Scenario, draws: int, least: float) -> None:
    rng, sizes = np.random.default_rng(0), _sizes()
    truth = scores_of(scenario.draw(np.random.default_rng(1), sizes, patients=100_000))
    hits: dict[str, list[bool]] = {}
    for _ in range(draws):
        label, score, patient = scenario.draw(rng, sizes)
        ends = intervals.score_intervals(label, score, patient=patient, threshold=0)
        value = scores(label, score, threshold=0)
        for name, (low, high) in ends.items():
            if np.isfinite(low):
                assert low <= value[name] <= high
                hits.setdefault(name, []).append(low <= truth[name] <= high)
    assert min(np.mean(hit) for hit in hits.values()) >= least


def test_constants_of_a_share_by_hand() -> None:
    # ten patients of two images: effective patients 10, t of 9 degrees 2.262157, squared 5.117355;
    # without an error the design effect is 1 + 0.3 (2 - 1), and 20 / 1.3 images are right
    label, patient = np.ones(20, int), np.arange(20) // 2
    low, high = intervals.share_interval(label, patient=patient)
    assert (low, high) == pytest.approx((0.750397, 1), abs=1e-6)
    # one patient wrong twice: variance (0.09^2 + 9 * 0.01^2) * 10 / 9 = 0.01, that is
    # 0.01 * 20^2 / 0.9 = 4.444 in units of the errors; effect (4.444 + 2 * 1.3) / (2 + 2) = 1.761
    wrong = np.where(patient == 0, 0.0, 1.0)
    ends = intervals.score_intervals(label, wrong, patient=patient)
    assert ends["recall_pneumonia"] == pytest.approx((0.567428, 0.984064), abs=1e-6)
    assert intervals.share_interval(wrong, patient=patient) == ends["recall_pneumonia"]
    # J = 18 / 20, F1 = 2 J / (1 + J)
    assert ends["f1_pneumonia"] == pytest.approx((0.724024, 0.991968), abs=1e-6)


def test_errors_count_by_patient_by_hand() -> None:
    # one of 20 patients has 21 of 40 images: 40^2 / (19 + 441) = 3.478261 effective ones, so the
    # prior of 2 errors weighs 2 * 20 / 3.478261 = 11.5; without an error the prior is all
    patient = np.r_[np.arange(20), np.zeros(20, int)]
    ends = intervals.share_interval(~np.isin(np.arange(40), [1, 2]), patient=patient)
    moved = np.r_[21 * 0.05, -0.95, -0.95, np.full(17, 0.05)] / 40
    seen = (moved**2).sum() * 3.478261 / 2.478261 * 40**2 / 0.95
    effect = (seen + 11.5 * (1 + 0.3 * (460 / 40 - 1))) / (2 + 11.5)
    number, t = 40 / effect, stdtrit(2.478261, 0.975)
    middle, half = 0.95 + t**2 / 2 / number, t * np.sqrt(0.0475 / number + (t / 2 / number) ** 2)
    assert ends.low == pytest.approx((middle - half) / (1 + t**2 / number), rel=1e-5)


def test_constants_of_smooth_scores_by_hand() -> None:
    # ten patients of each label in order: 8 * 10 * 10 / 22 = 36.36 images, t of 9 degrees
    label = np.repeat([0, 1], 10)
    ends = intervals.score_intervals(label, label, patient=np.arange(20))
    assert ends["auroc"] == pytest.approx((0.876634, 1), abs=1e-6)
    # of 4 / (1 / 10 + 1 / 10) = 20 images none is wrong: 20 / (20 + 5.117355) of [0, 1], [-1, 1]
    assert ends["balanced_accuracy"] == pytest.approx((0.796262, 1), abs=1e-6)
    assert ends["mcc"] == pytest.approx((2 * 0.796262 - 1, 1), abs=1e-6)
    # 90 % PNEUMONIA: the worst average precision is 0.749066; an error costs 10 / 90 / 0.250934
    # of one of the area; 8 * 900 / 102 / 0.442789 = 159.4 images, so (1 - 0.031102) of the rest
    label = np.repeat([0, 1], [10, 90])
    ends = intervals.score_intervals(label, label, patient=np.arange(100))
    assert ends["average_precision"] == pytest.approx((0.992195, 1), abs=1e-6)


def test_wilson_of_independent_images_is_that_of_the_textbook() -> None:
    # 90 of 100 right: 0.8256 to 0.9448 (Wilson, 1927), here with t of 99 degrees for 1.96
    label = np.tile([0, 1], 50)
    called = label.copy()
    called[:10] = 1 - called[:10]
    ends = intervals.score_intervals(label, called.astype(float), patient=np.arange(100))
    assert ends["accuracy"] == pytest.approx((0.8256, 0.9448), abs=0.004)


def test_few_patients_of_a_class_are_warned_of() -> None:
    assert intervals.few_patients(np.repeat([0, 1], [19, 40]), patient=np.arange(59))
    assert not intervals.few_patients(np.repeat([0, 1], 40), patient=np.arange(80))
    # 39 patients of one image, one of 39: as sure as 78^2 / (39 + 39^2) = 3.9 alike
    patient = np.r_[np.arange(40), np.full(38, 39), 100 + np.arange(40)]
    assert intervals.effective(np.bincount(patient[:78])) == pytest.approx(3.9)
    assert intervals.few_patients(np.repeat([0, 1], [78, 40]), patient=patient)
    assert "fewer than 20 patients of a class among a, b" in str(intervals.warning(["a", "b"]))


def test_intervals_by_patient_are_wider_than_by_image() -> None:
    label, probability = (np.repeat(values, 4) for values in cases(9, num=100))
    by_patient = intervals.score_intervals(label, probability, patient=np.arange(400) // 4)
    by_image = intervals.score_intervals(label, probability, patient=np.arange(400))
    for name in SCORES:
        assert np.ptp(by_patient[name]) > 1.4 * np.ptp(by_image[name]), name


def test_the_interval_of_the_area_has_the_width_of_delongs() -> None:
    label, probability = cases(3, num=2000)
    sick, well = probability[label == 1], probability[label == 0]
    won = (sick[:, None] > well) + (sick[:, None] == well) / 2
    variance = won.mean(1).var(ddof=1) / sick.size + won.mean(0).var(ddof=1) / well.size
    ends = intervals.score_intervals(
        label, probability, patient=np.arange(label.size), names=["auroc"]
    )
    assert np.ptp(ends["auroc"]) == pytest.approx(2 * 1.96 * variance**0.5, rel=0.03)


def test_no_error_has_the_width_that_so_many_images_leave_open() -> None:
    label = np.tile([0, 1], 60)
    ends = intervals.score_intervals(label, label.astype(float), patient=np.arange(120))
    low, high = ends["accuracy"]
    # one-sided Clopper-Pearson for no error among 120: 0.025 ** (1 / 120)
    assert low == pytest.approx(0.025 ** (1 / 120), abs=0.003)
    assert high == 1
    assert all(np.ptp(end) > 0.01 for end in ends.values())
