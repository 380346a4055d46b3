"""Distances and limits by hand, the ordinary share, and reasons that need no network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo.data.dicom_header import Header
from pneumo.data.reader import Radiograph
from pneumo.inference import ood

CHILDREN: dict[str, Any] = {"ages": [1, 5]}
UNKNOWN: dict[str, Any] = {"ages": None}


@pytest.mark.parametrize("age", [None, 0, 1, 5, 6, 71])
def test_an_age_outside_of_the_known_ages_is_a_reason(age: int | None) -> None:
    radiograph = Radiograph("a.dcm", odd=("lateral view: LL",), header=Header(age=age))
    outside = [f"age: {age} years, trained on 1 to 5"] if age in (0, 6, 71) else []
    for data in ([CHILDREN], [UNKNOWN, CHILDREN, CHILDREN], [{}, CHILDREN]):
        assert ood.file_reasons(radiograph, data) == ["lateral view: LL", *outside]
    assert ood.file_reasons(radiograph, [UNKNOWN, {}]) == ["lateral view: LL"]


def test_half_of_the_covariance_is_its_diagonal() -> None:
    """Of 20 points with variances 1 and covariance 0.5; a hundredth of a variance is added."""
    along, across = np.sqrt([1.425, 0.475])
    points = [[along, along], [-along, -along], [across, -across], [-across, across]]
    detector = ood.fit_detector(np.array(points * 5))
    expected = np.array([[1.01, -0.25], [-0.25, 1.01]]) / (1.01**2 - 0.25**2)
    np.testing.assert_allclose(detector.precision, expected, rtol=1e-12)
    np.testing.assert_allclose(detector.mean, 0, atol=1e-12)


def test_the_limit_is_what_99_of_100_of_the_images_keep() -> None:
    """In the plane, of a normal distribution: a distance of sqrt(2 ln 100), a variance of 1.01."""
    num = 4000
    share = (np.random.default_rng(0).permutation(num) + 0.5) / num
    radius, angle = np.sqrt(-2 * np.log1p(-share)), np.pi * (1 + np.sqrt(5)) * share * num
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    limit = np.sqrt(2 * np.log(100) / 1.01)
    detector = ood.fit_detector(points)
    assert detector.limit == pytest.approx(limit, rel=0.005)
    assert detector.distance(np.array([[1.01 * limit, 0], [0, 0.97 * limit]])) == pytest.approx(
        [1.01, 0.97], rel=0.01
    )


@pytest.mark.parametrize(("num", "share"), [(20, 2.38 / 21), (100, 3.98 / 101)])
def test_the_ordinary_share_is_that_of_order_statistics(num: int, share: float) -> None:
    mean, high = ood.ordinary_share(num)
    assert mean == pytest.approx(share)
    drawn = np.random.default_rng(0).random((4000, 2, num))  # the share beyond x is 1 - x
    beyond = (1 - np.quantile(drawn, 0.99, axis=2)).sum(1)
    assert beyond.mean() == pytest.approx(mean, rel=0.03)
    assert np.quantile(beyond, 0.95) == pytest.approx(high, rel=0.06)


def test_pickled_reference_is_not_run(tmp_path: Path) -> None:
    with (tmp_path / ood.FILE).open("wb") as file:
        hostile = np.array([Path("x")], dtype=object)
        np.savez(file, layout_mean=hostile, version=2, weights_sha256="x")
    assert ood.load(tmp_path, weights_sha256="x") is None
