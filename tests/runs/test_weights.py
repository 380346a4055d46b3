"""A checkpoint becomes weights or a ValueError."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pneumo.runs import weights


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "it holds no state_dict"),
        ({}, "it holds no state_dict"),
        (torch.zeros(3), "it holds no state_dict"),
        ({"state_dict": [1]}, "it holds no state_dict"),
        (Path("x"), "must be a checkpoint of weights only; Weights only load failed"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=message):
        weights.read_weights(tmp_path / "best.ckpt")
    (tmp_path / "best.ckpt").write_bytes(b"PK")
    with pytest.raises(ValueError, match="weights only; File is not a zip file"):
        weights.read_weights(tmp_path / "best.ckpt")


def test_weights_come_back(tmp_path: Path) -> None:
    state = {"network.a": torch.arange(3.0), "other": torch.zeros(1)}
    torch.save({"state_dict": state, "lr": 0.1}, tmp_path / "best.ckpt")
    found = weights.read_weights(tmp_path / "best.ckpt")
    assert list(found) == ["a"]
    assert found["a"].equal(state["network.a"])
