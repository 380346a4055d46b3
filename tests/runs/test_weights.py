"""A checkpoint of any kind becomes weights or a ValueError, and bounds the network it is for."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pneumo.models.unet_encoder import Encoder
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
        (lambda path: with_pickle(path, Big()), "it asks for __builtin__.bytearray"),
        (lambda path: with_pickle(path, Path("x")), "it asks for pathlib"),
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


@pytest.mark.parametrize(
    "make",
    [
        lambda: Encoder(f=100_000, d=3, c=64),
        lambda: Encoder(f=8, d=3, c=64, image_size=32_768),
        lambda: nn.Linear(10**6, 10**6),
        lambda: nn.Sequential(*(nn.Linear(3000, 3000) for _ in range(3))),
        lambda: torch.arange(10**12),
    ],
)
def test_networks_far_larger_than_their_weights_are_not_built(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="far more than its checkpoint holds"):
        weights.bounded(make, weights={"a": torch.zeros(10)})


def test_a_network_is_built_for_its_own_weights() -> None:
    network = Encoder(f=16, d=3, c=2048, image_size=256)
    again = weights.bounded(
        lambda: Encoder(f=16, d=3, c=2048, image_size=256), weights=network.state_dict()
    )
    assert again.state_dict().keys() == network.state_dict().keys()
