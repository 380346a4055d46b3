"""Views of an image: means over them, and each layer runs once in a forward pass."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pneumo.data.datamodule import Batch
from pneumo.models.base import Network, Wrapped
from pneumo.models.compact import Compact
from pneumo.models.unet_encoder import Encoder
from pneumo.models.views import ONE_VIEW, Views
from tests.conftest import classifier

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


def test_a_scale_is_the_central_part_enlarged_and_all_of_it_if_it_is_one() -> None:
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    whole, part, mirrored = Views((1, 0.5), mirror=True).of(x)[::2] + Views((0.5,), True).of(x)[1:]
    assert torch.equal(whole, x)
    # columns 2 to 5 at twice the size: at the border the nearest, inside a quarter of the way
    columns = torch.tensor([2, 2.25, 2.75, 3.25, 3.75, 4.25, 4.75, 5])
    torch.testing.assert_close(part[0, 0], columns + 8 * columns[:, None])
    assert torch.equal(mirrored, part.flip(-1))


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


class OnePixel(Network):
    """Its log-odds are twice the value of one pixel of a view, squared."""

    num_classes = 2

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.row, self.column = row, column

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) to (B, 2) logits."""
        value = x[:, 0, self.row, self.column] ** 2
        return torch.stack([-value, value], 1)


@pytest.mark.parametrize("views", [Views(), BOTH, Views((1, 0.85, 0.5), mirror=True)])
def test_logits_are_means_over_scales_and_so_is_a_gradient(views: Views, x: Tensor) -> None:
    network = OnePixel(3, 20)

    def gradient(view: Tensor) -> Tensor:
        view = view.clone().requires_grad_()
        return torch.autograd.grad(network(view)[:, 1].sum(), view)[0][:, 0]

    by_hand = [view[:, 0, 3, 20] ** 2 for view in views.of(x)]
    assert len(by_hand) == views.num
    whole = x.clone().requires_grad_()
    logits = views.logits(network, whole)
    torch.testing.assert_close(logits[:, 1], torch.stack(by_hand).mean(0))
    wanted = torch.autograd.grad(logits[:, 1].sum(), whole)[0][:, 0]
    torch.testing.assert_close(views.maps(gradient, x), wanted)


def test_evidence_of_one_pixel_lies_on_that_pixel_and_keeps_its_sum() -> None:
    """Row 3 of a view of the half is row 8 + 3.5 / 2 - 0.5 = 9.25, column 28 column 21.75."""

    def one(view: Tensor) -> Tensor:
        heat = torch.zeros(len(view), SIDE, SIDE)
        heat[:, 3, 28] = 1
        return heat

    (heat,) = Views((0.5,)).maps(one, torch.zeros(1, 1, SIDE, SIDE))
    assert heat.nonzero().tolist() == [[9, 21], [9, 22], [10, 21], [10, 22]]
    wanted = torch.tensor([[0.1875, 0.5625], [0.0625, 0.1875]])
    torch.testing.assert_close(heat[9:11, 21:23], wanted)
    both = Views((1, 0.5), mirror=True).maps(one, torch.zeros(1, 1, SIDE, SIDE))[0]
    assert both.sum() == 1
    assert both[3, 28] == both[3, 3] == 0.25
    assert not both[:8].nonzero()[:, 0].ne(3).any()  # outside of the central part


def test_a_classifier_is_trained_on_one_view_and_scored_on_all(network: Network, x: Tensor) -> None:
    module = classifier(network, "views.mirror=true").eval()
    batch = Batch(x, torch.zeros(len(x)), torch.arange(len(x)), {})
    torch.testing.assert_close(module(batch), BOTH.logits(network, x))
    module.train()
    for dropout in (m for m in network.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)):
        dropout.eval()
    assert torch.equal(module(batch), network(x))
