"""Reasons of the flag that no network is needed for; the others are in tests/test_predict.py."""

from typing import Any

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


def test_a_file_that_cannot_be_read_is_flagged_by_its_header_only() -> None:
    assert ood.flag([], is_readable=False) == {"ood": None, "ood_reason": None}
    assert ood.flag([], is_readable=True) == {"ood": False, "ood_reason": None}
    for is_readable in (True, False):
        assert ood.flag(["a", "b"], is_readable=is_readable) == {"ood": True, "ood_reason": "a; b"}
