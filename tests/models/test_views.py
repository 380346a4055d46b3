"""Views of an image: means over them, and each layer runs once in a forward pass."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pneumo.data.datamodule import Batch
from pneumo.models.base import Network, Wrapped
from pneumo.models.compact import Compact
from pneumo.models.complexity import multiply_adds
from pneumo.models.unet_encoder import Encoder
from pneumo.models.views import ONE_VIEW, Views
from pneumo.training.classification import Classification

SIDE = 32
BOTH = Views(mirror=True)
FAMILIES: dict[str, Callable[[], Network]] = {
    "encoder": lambda: Encoder(f=2, d=4, c=4, image_size=SIDE),
    "compact": lambda: Wrapped(Compact(), image_size=SIDE),
    "compact, per image": lambda: Wrapped(Compact(per_image=True), image_size=SIDE),
}


@pytest.fixture(params=list(FAMILIES))
def network(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(0)
    return FAMILIES[request.param]().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_each_layer_runs_once_in_a_forward_pass(network: Network, x: Tensor) -> None:
    runs: Counter[str] = Counter()
    leaves = {name: m for name, m in network.named_modules() if not list(m.children())}
    for name, module in leaves.items():
        module.register_forward_hook(partial(_count, runs, name))
    network(x)
    assert runs == dict.fromkeys(leaves, 1)


def _count(runs: "Counter[str]", name: str, *_: object) -> None:
    runs.update([name])


@torch.no_grad()
def test_logits_and_features_are_means_over_the_views(network: Network, x: Tensor) -> None:
    parts = [network.features_and_logits(view) for view in (x, x.flip(3))]
    features, logits = BOTH.features_and_logits(network, x)
    torch.testing.assert_close(features, (parts[0][0] + parts[1][0]) / 2)
    torch.testing.assert_close(logits, (parts[0][1] + parts[1][1]) / 2)
    torch.testing.assert_close(logits, BOTH.logits(network, x))
    torch.testing.assert_close(logits, BOTH.logits(network, x.flip(3)))
    assert not torch.allclose(parts[0][1], parts[1][1])
    assert torch.equal(ONE_VIEW.logits(network, x), network(x))


def test_maps_lie_in_the_images_own_pixels(x: Tensor) -> None:
    torch.testing.assert_close(BOTH.maps(lambda view: view[:, 0], x), x[:, 0])

    def left(view: Tensor) -> Tensor:  # a map that is at the left whatever the view shows
        return torch.ones_like(view[:, 0]) * (torch.arange(SIDE) < 4)

    heat = BOTH.maps(left, x)
    assert torch.equal(heat, heat.flip(-1))
    assert torch.equal(ONE_VIEW.maps(left, x), left(x))


def test_each_view_costs_a_forward_pass(network: Network) -> None:
    one = multiply_adds(network, image_size=SIDE)
    assert multiply_adds(network, image_size=SIDE, views=BOTH) == 2 * one


def test_a_classifier_is_trained_on_one_view_and_scored_on_all(network: Network, x: Tensor) -> None:
    unused: dict[str, Any] = {"optimizer": None, "schedule": None, "eval_splits": [], "seed": 0}
    module = Classification(network, views=BOTH, **unused).eval()
    batch = Batch(x, torch.zeros(len(x)), torch.arange(len(x)), {})
    torch.testing.assert_close(module(batch), BOTH.logits(network, x))
    module.train()
    for dropout in (m for m in network.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)):
        dropout.eval()
    assert torch.equal(module(batch), network(x))


def test_a_dense_layer_that_runs_twice_has_the_mean_of_its_inputs(x: Tensor) -> None:
    class Twice(Network):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(SIDE, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(x[:, 0, 0]) + self.dense(x[:, 0, 1])  # type: ignore[no-any-return]

    features, _ = Twice().features_and_logits(x)
    torch.testing.assert_close(features, (x[:, 0, 0] + x[:, 0, 1]) / 2)
