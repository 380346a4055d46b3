"""Scores, calibration and intervals: against scikit-learn, by brute force, and by their laws."""

import time
from itertools import permutations

import numpy as np
import pytest

from pneumo.evaluation import calibration, influence, intervals, metrics
from pneumo.evaluation.metrics import Array

ONE_CLASS = [(np.zeros(6, int), "pneumonia"), (np.ones(6, int), "normal")]


def cases(seed: int, *, num: int = 300, digits: int = 6) -> tuple[Array, Array]:
    """Labels and plausible probabilities; with one digit there are many ties."""
    rng = np.random.default_rng(seed)
    label = (rng.random(num) < 0.7).astype(int)
    return label, np.clip(rng.normal(0.35 + 0.3 * label, 0.2), 0, 1).round(digits)


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_scikit_learn(seed: int, digits: int) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    label, probability = cases(seed, digits=digits)
    called = probability >= 0.5
    expected = {
        "accuracy": sk.accuracy_score(label, called),
        "auroc": sk.roc_auc_score(label, probability),
        "average_precision": sk.average_precision_score(label, probability),
    }
    for index, name in enumerate(("normal", "pneumonia")):
        values = sk.precision_recall_fscore_support(label, called, labels=[index])
        for score, value in zip(("precision", "recall", "f1"), values, strict=False):
            expected[f"{score}_{name}"] = value[0]
    assert metrics.scores(label, probability) == pytest.approx(expected)
    assert set(expected) == set(metrics.SCORES)
    np.testing.assert_array_equal(
        metrics.confusion(label, called), sk.confusion_matrix(label, called)
    )


@pytest.mark.parametrize("digits", [1, 6])
def test_curves_are_those_of_scikit_learn(digits: int) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    label, probability = cases(1, digits=digits)
    fall_out, recall = metrics.roc_curve(label, probability)
    expected = sk.roc_curve(label, probability, drop_intermediate=False)
    np.testing.assert_allclose(fall_out, expected[0])
    np.testing.assert_allclose(recall, expected[1])
    recall, precision = metrics.precision_recall_curve(label, probability)
    expected_precision, expected_recall, _ = sk.precision_recall_curve(label, probability)
    np.testing.assert_allclose(recall, expected_recall[-2::-1])
    np.testing.assert_allclose(precision, expected_precision[-2::-1])


def test_brier_and_calibration_error() -> None:
    sk = pytest.importorskip("sklearn.metrics")
    label, probability = cases(2)
    assert calibration.brier(label, probability) == pytest.approx(
        sk.brier_score_loss(label, probability)
    )
    sure = np.array([0.0, 0.0, 1.0, 1.0])
    assert calibration.expected_calibration_error([0, 0, 1, 1], sure) == 0
    assert calibration.expected_calibration_error([1, 1, 0, 0], sure) == 1
    table = calibration.reliability([0, 1, 1, 1], [0.05, 0.05, 0.95, 1.0], bins=10)
    assert table.images.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert table.observed[[0, 9]].tolist() == [0.5, 1.0]
    assert np.isnan(table.observed[1])


@pytest.mark.parametrize("digits", [1, 6])
def test_auroc_is_the_share_of_pairs_in_order(digits: int) -> None:
    label, probability = cases(3, num=80, digits=digits)
    sick, well = probability[label == 1][:, None], probability[label == 0]
    expected = ((sick > well) + (sick == well) / 2).mean()
    assert metrics.auroc(label, probability) == pytest.approx(expected)


@pytest.mark.parametrize("digits", [1, 6])
def test_weights_are_repeated_images(digits: int) -> None:
    label, probability = cases(4, num=60, digits=digits)
    weight = np.random.default_rng(0).integers(0, 4, (60, 5)).astype(np.float32)
    weighted = metrics.weighted_scores(label, probability, weight=weight)
    for column in range(5):
        index = np.repeat(np.arange(60), weight[:, column].astype(int))
        repeated = metrics.scores(label[index], probability[index])
        assert {name: value[column] for name, value in weighted.items()} == pytest.approx(
            repeated, rel=1e-5
        )


def test_the_order_of_images_changes_nothing() -> None:
    label, probability = cases(5, digits=1)
    order = np.random.default_rng(0).permutation(label.size)
    patient = np.arange(label.size) // 2
    assert metrics.scores(label[order], probability[order]) == pytest.approx(
        metrics.scores(label, probability)
    )
    one = intervals.score_intervals(label, probability, patient=patient)
    two = intervals.score_intervals(label[order], probability[order], patient=patient[order])
    np.testing.assert_allclose(list(one.values()), list(two.values()), rtol=1e-5)


def test_swapping_the_classes_mirrors_the_scores() -> None:
    label, probability = cases(6)
    one, two = metrics.scores(label, probability), metrics.scores(1 - label, 1 - probability)
    assert two["auroc"] == pytest.approx(one["auroc"])
    assert two["f1_normal"] == pytest.approx(one["f1_pneumonia"])


@pytest.mark.parametrize(("label", "missing"), ONE_CLASS)
def test_a_missing_class_is_nan_not_zero(label: Array, missing: str) -> None:
    probability = np.linspace(0.1, 0.9, label.size)
    values = metrics.scores(label, probability)
    other = "normal" if missing == "pneumonia" else "pneumonia"
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined == {
        *(f"{score}_{missing}" for score in ("precision", "recall", "f1")),
        *metrics.RANK_SCORES,
    }
    assert values[f"recall_{other}"] == 0.5
    ends = intervals.score_intervals(label, probability, patient=np.arange(6))
    assert np.isnan(ends["auroc"]).all()
    assert np.isfinite(ends["accuracy"]).all()


def test_nothing_and_unknown_probabilities_are_nan() -> None:
    assert all(np.isnan(value) for value in metrics.scores([], []).values())
    assert all(np.isnan(value) for value in metrics.scores([0, 1], [0.2, np.nan]).values())
    assert np.isnan(calibration.brier([], []))
    assert np.isnan(calibration.expected_calibration_error([], []))
    assert np.isnan(metrics.sensitivity_threshold([0, 0], [0.1, 0.2]))


def test_nothing_called_a_class_leaves_its_precision_open() -> None:
    values = metrics.scores([0, 1, 1], [0.9, 0.9, 0.9])
    assert np.isnan(values["precision_normal"])
    assert (values["recall_normal"], values["f1_normal"]) == (0, 0)


def test_wrong_input_is_refused_with_the_rule_and_the_value() -> None:
    with pytest.raises(ValueError, match=r"must both be \(N,\); got \(2,\) and \(2, 2\)"):
        metrics.scores([0, 1], [[0.1, 0.9], [0.2, 0.8]])
    with pytest.raises(ValueError, match=r"must be 0 \(NORMAL\) or 1 \(PNEUMONIA\); got .*2"):
        metrics.scores([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"sensitivity must be in \(0, 1\]; got 95"):
        metrics.sensitivity_threshold([0, 1], [0.1, 0.2], sensitivity=95)
    with pytest.raises(ValueError, match="test_to_train must be 0 or more; got nan"):
        intervals.corrected_t_test([0.1, 0.2], test_to_train=float("nan"))


@pytest.mark.parametrize("num", [1, 7, 20, 333])
@pytest.mark.parametrize("wanted", [0.5, 0.95, 1.0])
def test_the_threshold_is_the_highest_with_the_sensitivity(num: int, wanted: float) -> None:
    label, probability = cases(num, num=num)
    label[0] = 1
    threshold = metrics.sensitivity_threshold(label, probability, sensitivity=wanted)
    point = metrics.operating_point(label, probability, threshold=threshold)
    assert point["sensitivity"] >= wanted - 1e-12
    above = metrics.operating_point(label, probability, threshold=threshold + 2 * metrics.ROUNDING)
    assert above["sensitivity"] < wanted


def test_operating_point_and_predictive_values_agree_at_the_own_prevalence() -> None:
    label, probability = cases(7)
    point = metrics.operating_point(label, probability, threshold=0.4)
    ppv, npv = metrics.predictive_values(
        sensitivity=point["sensitivity"],
        specificity=point["specificity"],
        prevalence=[label.mean(), 0.01],
    )
    assert (ppv[0], npv[0]) == pytest.approx((point["ppv"], point["npv"]))
    assert ppv[1] < ppv[0]
    assert npv[1] > npv[0]


def test_net_benefit_of_all_and_none() -> None:
    label, probability = cases(8)
    threshold = np.array([0.1, 0.5])
    share = label.mean()
    np.testing.assert_allclose(
        metrics.net_benefit(label, np.ones(label.size), threshold=threshold),
        share - (1 - share) * threshold / (1 - threshold),
    )
    assert metrics.net_benefit(label, np.zeros(label.size), threshold=threshold).tolist() == [0, 0]
    (true_no, false_yes), (_, true_yes) = metrics.confusion(label, probability >= 0.5)
    assert metrics.net_benefit(label, probability, threshold=0.5)[0] == pytest.approx(
        (true_yes - false_yes) / label.size
    )
    assert true_no > 0


def test_net_benefit_at_a_prevalence_is_that_of_images_so_composed() -> None:
    label, probability = cases(8)
    threshold = np.array([0.1, 0.5])
    own = metrics.net_benefit(label, probability, threshold=threshold)
    same = metrics.net_benefit(
        label, probability, threshold=threshold, prevalence=float(label.mean())
    )
    np.testing.assert_allclose(same, own)
    often = np.concatenate([np.arange(label.size), *[np.flatnonzero(label == 0)] * 3])
    np.testing.assert_allclose(
        metrics.net_benefit(
            label, probability, threshold=threshold, prevalence=float(label[often].mean())
        ),
        metrics.net_benefit(label[often], probability[often], threshold=threshold),
    )


def test_a_probability_moves_to_another_prevalence_by_the_odds() -> None:
    moved = calibration.at_prevalence([0.5, 0.0, 1.0], fitted_at=0.75, prevalence=0.5)
    assert moved == pytest.approx([0.25, 0, 1])  # odds 1 by (1 / 1) / (3 / 1)
    np.testing.assert_allclose(
        calibration.at_prevalence([0.2, 0.9], fitted_at=0.3, prevalence=0.3), [0.2, 0.9]
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 3))
    share = calibration.tempered(logits, temperature=temperature)
    label = (rng.random((20_000, 1)) > share.cumsum(1)).sum(1)
    assert calibration.fit_temperature(label, logits) == pytest.approx(temperature, rel=0.03)
    logged = np.log(calibration.tempered(logits, temperature=1.0))
    assert calibration.fit_temperature(label, logged) == pytest.approx(temperature, rel=0.03)


def test_a_temperature_without_a_best_value_stays_in_its_bounds() -> None:
    logits = np.array([[2.0, -2.0], [-2.0, 2.0]])
    assert calibration.fit_temperature([0, 1], logits) == pytest.approx(0.05)
    assert calibration.fit_temperature([1, 0], logits) == pytest.approx(20)


def test_patients_are_drawn_whole_and_as_often_as_there_are() -> None:
    patient = np.array(["b", "a", "b", "c"])
    weight = intervals.patient_weights(patient, resamples=100)(0, 100)
    assert weight.shape == (4, 100)
    np.testing.assert_array_equal(weight[0], weight[2])
    np.testing.assert_array_equal(weight[[0, 1, 3]].sum(0), np.full(100, 3))
    assert weight.mean() == pytest.approx(1, abs=0.15)


def test_intervals_by_patient_are_wider_than_by_image() -> None:
    label, probability = (np.repeat(values, 4) for values in cases(9, num=100))
    by_patient = intervals.score_intervals(label, probability, patient=np.arange(400) // 4)
    by_image = intervals.score_intervals(label, probability, patient=np.arange(400))
    for name in ("accuracy", "auroc", "f1_normal"):
        width = by_patient[name].high - by_patient[name].low
        assert width > 1.5 * (by_image[name].high - by_image[name].low)


@pytest.mark.parametrize(("patients", "least"), [(100, 0.9), (30, 0.9)])
def test_intervals_cover_the_truth_as_often_as_they_say(patients: int, least: float) -> None:
    from benchmarks.coverage import Scenario, _sizes, scores_of

    scenario = Scenario(patients, auroc=0.99, correlation=0.4, heavy=False)
    rng, sizes = np.random.default_rng(0), _sizes()
    truth = scores_of(scenario.draw(np.random.default_rng(1), sizes, patients=100_000))
    hits: dict[str, list[bool]] = {}
    for _ in range(200):
        sample = scenario.draw(rng, sizes)
        found = intervals.score_intervals(
            sample.label, sample.score, patient=sample.patient, threshold=0
        )
        for name, (low, high) in found.items():
            if np.isfinite(low):
                hits.setdefault(name, []).append(low <= truth[name] <= high)
    assert min(np.mean(hit) for hit in hits.values()) >= least


def test_intervals_cover_where_few_patients_have_most_images() -> None:
    from benchmarks.coverage import Scenario, _sizes, scores_of

    # before patients were counted by their share of the images: 0.77, 0.77 and 0.76
    names = ("accuracy", "auroc", "average_precision")
    scenario = Scenario(100, auroc=0.95, correlation=0.5, heavy=False, large=True, prevalence=0.5)
    rng, sizes = np.random.default_rng(0), _sizes()
    truth = scores_of(scenario.draw(np.random.default_rng(1), sizes, patients=100_000))
    hits = []
    for _ in range(300):
        label, score, patient = scenario.draw(rng, sizes)
        found = intervals.score_intervals(
            label, score, patient=patient, threshold=-0.6, names=names
        )
        right = metrics.scores(label, score, threshold=-0.6)
        assert all(found[name].low <= right[name] <= found[name].high for name in names)
        hits.append([found[name].low <= truth[name] <= found[name].high for name in names[1:]])
    assert np.mean(hits, axis=0).min() >= 0.92


def test_constants_of_a_share_by_hand() -> None:
    # ten patients of two images: effective patients 10, t of 9 degrees 2.262157, squared 5.117355;
    # without an error the design effect is 1 + 0.3 (2 - 1), and 20 / 1.3 images are right
    label, patient = np.ones(20, int), np.arange(20) // 2
    low, high = intervals.share_interval(label, patient=patient)
    assert (low, high) == pytest.approx((0.750397, 1), abs=1e-6)
    # one patient wrong twice: variance (0.09^2 + 9 * 0.01^2) * 10 / 9 = 0.01, that is
    # 0.01 * 20^2 / 0.9 = 4.444 in units of the errors; effect (4.444 + 2 * 1.3) / (2 + 2) = 1.761
    wrong = np.where(patient == 0, 0.0, 1.0)
    found = intervals.score_intervals(label, wrong, patient=patient, names=["recall_pneumonia"])
    assert found["recall_pneumonia"] == pytest.approx((0.567428, 0.984064), abs=1e-6)
    assert intervals.share_interval(wrong, patient=patient) == found["recall_pneumonia"]
    # J = 18 / 20, F1 = 2 J / (1 + J)
    f1 = intervals.score_intervals(label, wrong, patient=patient, names=["f1_pneumonia"])
    assert f1["f1_pneumonia"] == pytest.approx((0.724024, 0.991968), abs=1e-6)


def test_constants_of_ranking_by_hand() -> None:
    # ten patients of each label in order: 8 * 10 * 10 / 22 = 36.36 images, t of 9 degrees
    label = np.repeat([0, 1], 10)
    area = intervals.score_intervals(label, label, patient=np.arange(20), names=["auroc"])
    assert area["auroc"] == pytest.approx((0.876634, 1), abs=1e-6)
    # 90 % PNEUMONIA: the worst average precision is 0.749066; an error costs 10 / 90 / 0.250934
    # of one of the area; 8 * 900 / 102 / 0.442789 = 159.4 images, so (1 - 0.031102) of the rest
    label = np.repeat([0, 1], [10, 90])
    found = intervals.score_intervals(label, label, patient=np.arange(100))
    assert found["average_precision"] == pytest.approx((0.992195, 1), abs=1e-6)


def test_the_interval_of_the_area_has_the_width_of_delongs() -> None:
    label, probability = cases(3, num=2000)
    sick, well = probability[label == 1], probability[label == 0]
    won = (sick[:, None] > well) + (sick[:, None] == well) / 2
    variance = won.mean(1).var(ddof=1) / sick.size + won.mean(0).var(ddof=1) / well.size
    ends = intervals.score_intervals(
        label, probability, patient=np.arange(label.size), names=["auroc"]
    )
    assert np.ptp(ends["auroc"]) == pytest.approx(2 * 1.96 * variance**0.5, rel=0.03)


def test_average_precision_is_as_sure_as_the_area_where_most_have_pneumonia() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [30, 270])
    drawn = [rng.normal(3.3 * label) for _ in range(200)]  # an area of 0.99
    for name in metrics.RANK_SCORES:
        value = [metrics.scores(label, score)[name] for score in drawn]
        width = [
            np.ptp(intervals.score_intervals(label, s, patient=np.arange(300), names=[name])[name])
            for s in drawn
        ]
        assert 0.8 < np.mean(width) / (4 * np.std(value)) < 2  # of average precision it was 6


@pytest.mark.parametrize("label", [[0, 1], [1, 1, 0], [0, 0, 0, 1], [0, 1, 1, 1, 0]])
def test_the_lowest_average_precision_is_that_of_the_worst_order(label: list[int]) -> None:
    worst = min(metrics.average_precision(label, p) for p in permutations(range(len(label))))
    assert metrics.lowest_average_precision(label) == pytest.approx(worst)


def test_jeffreys_half_image_by_hand() -> None:
    # four of each label right at log-odds of 2: (4 + 1/2) / 5 = 0.9 of them, so T = 2 / log 9
    label, logits = np.repeat([0, 1], 4), np.repeat([[1.0, -1.0], [-1.0, 1.0]], 4, axis=0)
    found = calibration.fit_temperature(label, logits, smoothed=True)
    assert found == pytest.approx(2 / np.log(9), rel=1e-6)


def test_no_error_has_the_width_that_so_many_images_leave_open() -> None:
    label = np.tile([0, 1], 60)
    ends = intervals.score_intervals(label, label.astype(float), patient=np.arange(120))
    low, high = ends["accuracy"]
    # one-sided Clopper-Pearson for no error among 120: 0.025 ** (1 / 120)
    assert low == pytest.approx(0.025 ** (1 / 120), abs=0.003)
    assert high == 1
    for name, (low, high) in ends.items():
        assert high - low > 0.01, name


def test_wilson_of_independent_images_is_that_of_the_textbook() -> None:
    # 90 of 100 right: 0.8256 to 0.9448 (Wilson, 1927), here with t of 99 degrees for 1.96
    label = np.tile([0, 1], 50)
    called = label.copy()
    called[:10] = 1 - called[:10]
    ends = intervals.score_intervals(label, called.astype(float), patient=np.arange(100))
    assert ends["accuracy"] == pytest.approx((0.8256, 0.9448), abs=0.004)


def test_few_patients_of_a_class_are_warned_of_in_one_sentence() -> None:
    label = np.repeat([0, 1], [19, 40])
    assert intervals.few_patients(label, patient=np.arange(59))
    assert not intervals.few_patients(np.repeat([0, 1], 40), patient=np.arange(80))
    # 39 patients of one image, one of 39: as sure as 78^2 / (39 + 39^2) = 3.9 alike
    patient = np.r_[np.arange(40), np.full(38, 39), 100 + np.arange(40)]
    assert intervals.effective(np.bincount(patient[:78])) == pytest.approx(3.9)
    assert intervals.few_patients(np.repeat([0, 1], [78, 40]), patient=patient)
    assert "fewer than 20 patients of a class among all images" in str(
        intervals.warning(["all images"])
    )
    assert intervals.warning([]) is None


@pytest.mark.parametrize("name", metrics.SCORES)
def test_influence_is_the_derivative_with_an_images_weight(name: str) -> None:
    label, probability = cases(4, num=60)
    probability = probability.round(1)  # with ties
    step = 1e-6
    weight = 1 + step * np.eye(label.size)
    change = metrics.weighted_scores(label, probability, weight=weight, names=[name])[name]
    change = (change - metrics.scores(label, probability)[name]) / step
    if name in influence.RANKED:
        found = influence.RANKED[name](label, probability)
    else:
        called = (probability >= 0.5).astype(int)
        found = influence.proportion(*influence.counted(name, label, called))
    scale = 2 / (1 + found.value) ** 2 if name.startswith("f1") else 1.0  # F1 = 2 J / (1 + J)
    np.testing.assert_allclose(scale * found.change, change, atol=1e-6)


def test_only_the_order_of_scores_counts_in_ranking() -> None:
    label, probability = cases(11)
    logit = 7 * probability - 3.5  # anything that ranks alike and has the threshold at 0
    who = np.arange(label.size) // 2
    kinds = (probability, 0.5), (logit, 0.0)
    one, two = (intervals.score_intervals(label, s, patient=who, threshold=t) for s, t in kinds)
    assert one == two


def test_intervals_of_a_test_part_are_fast() -> None:
    label, probability = cases(10, num=1757)
    patient = np.random.default_rng(0).integers(0, 935, 1757)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        intervals.score_intervals(label, probability, patient=patient)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5


def test_the_corrected_t_test_by_hand() -> None:
    # J = 5, mean 0.02, s^2 = 0.00025; (1/5 + 3/7) s^2 = 0.000157143, error 0.0125357;
    # t = 1.595448, df = 4: two-sided p 0.185843; t(0.975, 4) = 2.776445
    result = intervals.corrected_t_test([0.0, 0.01, 0.02, 0.03, 0.04], test_to_train=0.3 / 0.7)
    assert result.difference == pytest.approx(0.02)
    assert result.df == 4
    assert result.p == pytest.approx(0.185843, abs=1e-4)
    assert (result.low, result.high) == pytest.approx(
        (0.02 - 2.776445 * 0.0125357, 0.02 + 2.776445 * 0.0125357), abs=1e-6
    )


def test_the_correction_only_widens_and_without_it_is_the_paired_t_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    gap = np.random.default_rng(0).normal(0.01, 0.01, 6)
    plain = intervals.corrected_t_test(gap, test_to_train=0)
    expected = stats.ttest_1samp(gap, 0)
    assert plain.p == pytest.approx(expected.pvalue)
    ends = expected.confidence_interval()
    assert (plain.low, plain.high) == pytest.approx((ends.low, ends.high))
    corrected = intervals.corrected_t_test(gap, test_to_train=0.43)
    assert corrected.low < plain.low
    assert corrected.p > plain.p


def test_too_few_or_equal_differences_say_so() -> None:
    single = intervals.corrected_t_test([0.1, float("nan")], test_to_train=0.4)
    assert single.difference == 0.1
    assert np.isnan([single.low, single.high, single.p]).all()
    assert np.isnan(intervals.corrected_t_test([], test_to_train=0.4).difference)
    equal = intervals.corrected_t_test([0, 0, 0], test_to_train=0.4)
    assert equal.difference == 0
    assert np.isnan([equal.low, equal.high, equal.p]).all()  # no variance, no interval


def test_two_trials_or_equal_counts_of_images_prove_nothing() -> None:
    # on docs/runs tiny has 10 images fewer right than large on either split: p was 0.0002
    two = intervals.corrected_t_test([0.1, 0.3], test_to_train=0.4)
    assert two.difference == pytest.approx(0.2)
    assert two.df == 1
    assert np.isnan([two.low, two.high, two.p]).all()
    right = np.array([[1689, 1684, 1690], [1699, 1694, 1700]])  # of 1,757 images
    kept = (right / 1757).astype(np.float32)  # as metrics.json has an accuracy
    gap = kept[0] - kept[1]
    assert np.unique(gap).size > 1  # equal but for rounding
    equal = intervals.corrected_t_test(gap, test_to_train=0.4)
    assert equal.difference == pytest.approx(-10 / 1757, rel=1e-4)
    assert np.isnan([equal.low, equal.high, equal.p]).all()
    one_image = intervals.corrected_t_test([0, 1 / 1757, 0], test_to_train=0.4)  # a real spread
    assert 0 < one_image.p < 1


def test_holm() -> None:
    adjusted = intervals.holm([0.01, float("nan"), 0.04, 0.03])
    np.testing.assert_allclose(adjusted, [0.03, np.nan, 0.06, 0.06])
    assert intervals.holm([0.6, 0.9]).tolist() == [1, 1]
