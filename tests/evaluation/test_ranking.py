from math import ceil

import numpy as np
import pytest

from pneumo.evaluation.intervals import auroc_interval
from pneumo.evaluation.ranking import images_needed, not_shown
from pneumo.evaluation.scores import auroc


def drawn(number: int, *, skill: float, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores of normal distribution that are ``skill`` apart."""
    label = (np.arange(number) < share * number).astype(int)
    return label, np.random.default_rng(3).normal(skill * label, 1)


def test_so_many_images_have_an_interval_above_half() -> None:
    label, score = drawn(40, skill=0.5)
    patient = np.arange(40) // 2  # two images each
    number = images_needed(label, score, patient=patient)
    assert number is not None
    assert number > 40
    times = ceil(number / 40)
    copies = [np.concatenate([values] * n) for n in (times - 1, times) for values in (label, score)]
    for at, shown in ((0, False), (2, True)):
        many = len(copies[at]) // 40
        who = np.concatenate([patient + 20 * copy for copy in range(many)])
        interval = auroc_interval(copies[at], copies[at + 1], patient=who)
        assert (interval.low > 0.5) is shown
        wanted = auroc_interval(label, score, patient=patient, times=many)
        assert interval == pytest.approx(wanted, abs=1e-9)
    assert f"{number:,} such images" in str(not_shown(label, score, patient=patient))


def test_swapped_labels_chance_and_a_network_that_ranks_are_distinguished() -> None:
    label, score = drawn(200, skill=1)
    patient = np.arange(200)
    assert not_shown(label, score, patient=patient) is None
    assert "swapped" in str(not_shown(1 - label, score, patient=patient))
    noise = drawn(200, skill=0)[1]
    for scores in (noise, -noise, np.full(200, 0.5)):
        text = str(not_shown(label, scores, patient=patient))
        assert text.startswith("not shown to rank these images better than chance (AUROC 0.")
        assert "so no threshold is shown to help" in text
        assert ("such images" in text) == (auroc(label, scores) > 0.5)
    assert not_shown(np.ones(200), score, patient=patient) is None  # no AUROC of one label


def hanley_mcneil(area: float, *, share: float) -> int:
    """The least number of images whose AUROC is above 0.5 by 1.96 standard errors (1982)."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)  # two PNEUMONIA, or two NORMAL
    for number in range(4, 100_000):
        sick, well = share * number, (1 - share) * number
        spread = area * (1 - area) + (sick - 1) * (one - area**2) + (well - 1) * (two - area**2)
        if area - 1.96 * np.sqrt(spread / (sick * well)) > 0.5:
            return number
    raise AssertionError(area)


@pytest.mark.parametrize(("skill", "share"), [(0.25, 0.5), (0.5, 0.5), (0.5, 0.2), (0.1, 0.5)])
def test_the_number_of_images_is_about_that_of_hanley_and_mcneil(
    skill: float, share: float
) -> None:
    label, score = drawn(2000, skill=skill, share=share)
    found = images_needed(label, score, patient=np.arange(2000))
    expected = hanley_mcneil(auroc(label, score), share=share)
    assert found == pytest.approx(expected, rel=0.25)
