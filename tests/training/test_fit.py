"""What ends a training is told with the way out."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pneumo.runs.writer import RunWriter
from pneumo.training import fit


def all_memory(*_: Any, **__: Any) -> None:
    torch.empty(1 << 55)


def all_memory_of_the_gpu(*_: Any, **__: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")


def bug(*_: Any, **__: Any) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("end", [all_memory, all_memory_of_the_gpu])
def test_a_batch_that_is_too_large_for_the_memory_is_told(end: Any) -> None:
    trainer: Any = SimpleNamespace(fit=end, interrupted=False)
    data: Any = SimpleNamespace(batch_size=512)
    module: Any = None
    with pytest.raises(ValueError, match=r"a batch of 512 images .* smaller data\.batch_size"):
        fit.train(trainer, module, data)


def test_another_error_is_a_bug() -> None:
    trainer: Any = SimpleNamespace(fit=bug, interrupted=False)
    data: Any = SimpleNamespace(batch_size=512)
    module: Any = None
    with pytest.raises(RuntimeError, match="a bug"):
        fit.train(trainer, module, data)


def test_a_run_does_not_resume_on_other_labels_or_boxes(tmp_path: Path) -> None:
    def boxes(bottom: float) -> pd.Series:
        return pd.Series([np.empty((0, 4)), np.array([[1, 2, 3, bottom]])], dtype=object)

    table = pd.DataFrame(
        {
            "path": ["a.png", "b.png"],
            "patient": ["1", "2"],
            "group": [0, 1],
            "subtype": ["", "bacteria"],
            "source": ["train", "train"],
            "label": ["NORMAL", "PNEUMONIA"],
            "split": ["train", "test"],
            "digest": ["aa", "bb"],
            "boxes": boxes(4),
        }
    )
    digest = RunWriter(tmp_path).write_split(table)
    assert RunWriter(tmp_path).write_split(table) == digest
    moved = table.assign(boxes=boxes(5))
    swapped = table.assign(label=["PNEUMONIA", "NORMAL"])
    for changed in (moved, swapped):
        with pytest.raises(ValueError, match="labels or boxes have changed"):
            RunWriter(tmp_path).write_split(changed)
    assert (tmp_path / "split.csv").read_text().splitlines()[1].startswith("a.png,1,0,NORMAL")


def test_a_run_took_the_time_on_the_clock_and_its_earlier_epochs() -> None:
    run: Any = SimpleNamespace(start=time.monotonic() - 100, num_earlier=2)
    found = fit.seconds(run, [{"seconds": seconds} for seconds in (10, 20, 30)])
    assert found == {"train": 60, "total": pytest.approx(130, abs=1), "earlier": 30}
