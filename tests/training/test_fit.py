"""How a training ends, and the way out in its message."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pneumo.runs.writer import RunWriter
from pneumo.training import fit as fit_module


def ended(error: Exception) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise error

    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    trainer: Any = SimpleNamespace(fit=fit, interrupted=False, strategy=strategy)
    data: Any = SimpleNamespace(batch_size=512)
    task: Any = None
    fit_module.train(trainer, task, data)


def test_a_batch_that_is_too_large_for_the_memory_is_a_mistake() -> None:
    with pytest.raises(RuntimeError) as of_cpu:
        torch.empty(1 << 55)
    of_gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
    for error in (of_cpu.value, of_gpu):
        with pytest.raises(ValueError, match=r"a batch of 512 images .* smaller data\.batch_size"):
            ended(error)
    with pytest.raises(RuntimeError, match="a bug"):
        ended(RuntimeError("a bug"))


def test_a_run_does_not_resume_on_other_labels_boxes_or_files(tmp_path: Path) -> None:
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
    relabelled = table.assign(label=["PNEUMONIA", "NORMAL"])
    others = table.assign(digest=["aa", "cc"])
    for changed, what in ((moved, "labels or boxes"), (relabelled, "labels"), (others, "files")):
        with pytest.raises(ValueError, match=f"{what}.* have changed"):
            RunWriter(tmp_path).write_split(changed)
    assert (tmp_path / "split.csv").read_text().splitlines()[1].startswith("a.png,1,0,NORMAL")
