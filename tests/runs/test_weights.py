"""A checkpoint of any kind becomes weights or a ValueError."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pneumo.runs import weights


class Big:
    """Unpickles to a bytearray of 10 TB, which weights_only=True allows."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (10**13,)


def with_pickle(path: Path, value: Any) -> None:
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            content = pickle.dumps(value, protocol=2) if name.endswith("data.pkl") else b"3\n"
            archive.writestr(name, content)


def compressed(path: Path) -> None:
    torch.save({"state_dict": {"network.a": torch.zeros(1 << 20)}}, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: torch.save([1], path), "no state_dict but a list"),
        (lambda path: torch.save(None, path), "no state_dict but a NoneType"),
        (lambda path: torch.save(torch.zeros(3), path), "no state_dict but a Tensor"),
        (lambda path: torch.save({}, path), "no state_dict but a NoneType"),
        (lambda path: torch.save({"state_dict": [1]}, path), "no state_dict but a list"),
        (lambda path: torch.save({"state_dict": {"network.a": 1}}, path), "a is no tensor"),
        (
            lambda path: torch.save(
                {"state_dict": {"network.a": torch.zeros(2, dtype=torch.cfloat)}}, path
            ),
            "a is no tensor",
        ),
        (lambda path: with_pickle(path, Big()), "must be a checkpoint of weights only"),
        (lambda path: with_pickle(path, Path("x")), "must be a checkpoint of weights only"),
        (compressed, "its parts are larger than itself"),
        (lambda path: path.write_bytes(b"PK"), "must be a checkpoint of weights only"),
        (lambda path: path.mkdir(), "must be a regular file"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=message):
        weights.read_weights(tmp_path / "best.ckpt")


def test_weights_come_back(tmp_path: Path) -> None:
    state = {"network.a": torch.arange(3.0), "other": torch.zeros(1)}
    torch.save({"state_dict": state, "lr": 0.1}, tmp_path / "best.ckpt")
    found = weights.read_weights(tmp_path / "best.ckpt")
    assert list(found) == ["a"]
    assert found["a"].equal(state["network.a"])
