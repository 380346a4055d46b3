import pytest
import torch
from torch import nn

from pneumo.training.optimizers import MuonAdamW, orthogonal


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (5, 5)])
def test_singular_values_become_alike(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=generator) * 1e-3))
    assert values.max() < 1.3
    assert values.min() > 0.3


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(32, 2)
    )


def test_only_later_convolutions_go_to_muon_and_only_matrices_decay() -> None:
    network = layers()
    groups = MuonAdamW(network.parameters(), lr=0.1, adamw_lr=0.01, weight_decay=0.2).param_groups
    assert [group["params"] for group in groups[:1]] == [[network[2].weight]]
    assert [group["lr"] for group in groups] == [0.1, 0.01, 0.01]
    assert [group["weight_decay"] for group in groups] == [0.2, 0.2, 0.0]
    assert {p.ndim for p in groups[2]["params"]} == {1}


def test_without_a_convolution_it_is_torchs_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    theirs.load_state_dict(ours.state_dict())
    one = MuonAdamW(ours.parameters(), adamw_lr=0.1, weight_decay=0.3)
    other = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.3)
    x, y = torch.randn(5, 3), torch.randn(5, 2)
    for _ in range(4):
        for network, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.mse_loss(network(x), y))
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_it_minimises() -> None:
    network = layers()
    optimizer = MuonAdamW(network.parameters(), lr=0.02)
    x, y = torch.randn(16, 1, 6, 6), torch.arange(16) % 2

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y)
        torch.autograd.backward(loss)
        return loss

    losses = [optimizer.step(closure).item() for _ in range(30)]  # type: ignore[union-attr]
    assert losses[-1] < losses[0] / 10
