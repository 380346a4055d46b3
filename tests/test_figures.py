"""Every score that README.md and docs/ quote comes from the kept runs."""

import pytest

from benchmarks import figures
from tests.conftest import ROOT

PAGES = sorted(page.relative_to(ROOT).as_posix() for page in figures.pages())


@pytest.mark.parametrize("page", PAGES)
def test_quoted_scores_are_those_of_the_kept_runs_and_none_is_quoted_by_hand(page: str) -> None:
    text = (ROOT / page).read_text()
    assert figures.updated(text) == text, "run python -m benchmarks.figures"
    assert figures.unmarked(text) == []


def test_a_figure_changed_by_hand_is_found() -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    first = figures.SCORE.search(text)
    assert first is not None
    assert figures.updated(text.replace(first[0], "0.123", 1)) == text
    assert figures.unmarked("an accuracy of 0.961, **0.9123**, 10.123 and 0.95") == ["0.961"]
