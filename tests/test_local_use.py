from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import local_use
from tests.conftest import Patch

RUNS = Path(__file__).parents[1] / "docs" / "runs"


def test_no_patient_fixes_a_threshold_and_is_scored_by_it(monkeypatch: Patch) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=90)
    test = pd.DataFrame(
        {
            "label": np.where(label == 1, "PNEUMONIA", "NORMAL"),
            "group": [f"p{number // 3}" for number in range(90)],
            "p_pneumonia": np.clip(label * 0.3 + rng.random(90) * 0.7, 0, 1),
        }
    )
    seen = []

    def scored(
        used: pd.DataFrame, left: pd.DataFrame, *_: object, **__: object
    ) -> dict[str, float]:
        seen.append((set(used["group"]), set(left["group"]), len(used)))
        return {}

    monkeypatch.setattr(local_use, "_scored", scored)
    assert len(list(local_use.local_draws(test, size=25, draws=8, coverage=0.9))) == 8
    for used, left, images in seen:
        assert not used & left
        assert images == 24  # whole patients of three images, at most 25
    assert len({frozenset(used) for used, _, _ in seen}) > 1


def test_the_kept_runs_have_the_coverage_that_the_docs_say() -> None:
    page = (RUNS.parent / "notes" / "test-folder.md").read_text()
    rows = local_use.coverage_table(RUNS, coverage=0.9)
    for start in ("| official, tiny 1 |", "| holdout, tiny 1 |"):
        (row,) = (line for line in rows if line.startswith(start))
        assert row.partition(" |")[2] in page
