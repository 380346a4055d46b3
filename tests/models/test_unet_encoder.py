"""The paper's encoder: sizes, the fast forms against the plain one, dropout."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.plain import forward as plain
from pneumo.models.base import Network
from pneumo.models.unet_encoder import Encoder
from pneumo.models.views import multiply_adds, num_parameters
from tests.conftest import DEVICES

SIZES = {"tiny": (8, 4, 100), "small": (8, 3, 250), "medium": (8, 2, 500), "large": (16, 2, 1000)}


def build(name: str = "tiny", **options: Any) -> Encoder:
    f, d, c = SIZES[name]
    torch.manual_seed(0)
    return Encoder(f=f, d=d, c=c, **options)


def test_sizes_of_the_text_of_the_paper_and_of_each_network() -> None:
    for network, parameters, operations in (
        (build(batch_norm=False), 115_062, 83_304_648),  # ceil, two classes, no normalisation
        (build("tiny"), 115_184, 83_304_648),
        (build("small"), 353_536, 91_190_132),
        (build("medium"), 1_056_621, 107_718_632),
        (build("large"), 4_221_741, 410_965_968),
    ):
        assert num_parameters(network) == parameters
        assert multiply_adds(network, image_size=256) == operations
    paper = build(batch_norm=True, num_classes=3)
    norms = [m for m in paper.modules() if isinstance(m, nn.BatchNorm2d)]
    statistics = sum(2 * norm.num_features for norm in norms)  # which Keras counts, too
    assert num_parameters(paper) + statistics == 115_407


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_fast_forms_compute_the_plain_network(name: str, batch_norm: bool, device: str) -> None:
    options = {"level_dropout": [0.0] * 5, "dense_dropout": 0.0, "image_size": 32}
    reference = build(name, batch_norm=batch_norm, **options).double()
    for number, parameter in enumerate(reference.parameters()):  # biases and scales too
        torch.nn.init.normal_(parameter, 0.1, 0.3 if number < 2 else parameter.std().item() + 0.02)
    fast = copy.deepcopy(reference).to(device).to(memory_format=torch.channels_last)
    x = 255 * torch.rand(5, 1, 32, 32, dtype=torch.float64)
    x[:, :, :, :12] = 0  # a border, where whole windows tie in the pooling
    outputs = []
    for network, forward in ((reference, plain), (fast, Encoder.forward)):
        network.mean.fill_(120.0)
        network.std.fill_(60.0)
        logit = forward(network, x.to(network.mean.device)).cpu()
        loss = nn.functional.cross_entropy(logit, torch.tensor([0, 1, 1, 0, 1]))
        torch.autograd.backward(loss)
        gradients = [p.grad.cpu() for p in network.parameters() if p.grad is not None]
        outputs.append((loss, logit, gradients))
    torch.testing.assert_close(outputs[0][:2], outputs[1][:2], rtol=1e-9, atol=1e-9)
    for expected, gradient in zip(outputs[0][2], outputs[1][2], strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(expected, gradient, rtol=1e-8, atol=1e-9)
    assert len(outputs[0][2]) == len(list(reference.parameters()))
    fast.cpu()
    for (key, a), b in zip(reference.named_buffers(), fast.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=key)  # the running statistics too
    torch.testing.assert_close(plain(reference.eval(), x), fast.eval()(x), rtol=1e-9, atol=1e-9)


def test_training_form_draws_the_same_dropout() -> None:
    network = build(image_size=64, batch_norm=False)
    x = 255 * torch.rand(4, 1, 64, 64)
    torch.manual_seed(3)
    fast = network(x)
    with torch.no_grad():  # the plain modules
        torch.manual_seed(3)
        torch.testing.assert_close(fast, network(x), rtol=1e-4, atol=1e-4)


def test_dropout_of_each_level_drops_whole_channels() -> None:
    level = build(level_dropout=[0.5] * 5, image_size=64, batch_norm=False).levels[0]
    x = torch.rand(1, 1, 64, 64).expand(200, -1, -1, -1)
    kept, out = level.eval()(x), level.train()(x)
    dropped = (out == 0).flatten(2).all(2) & (kept != 0).flatten(2).any(2)
    assert 0.4 < dropped[:, (kept[0] != 0).flatten(1).any(1)].float().mean() < 0.6
    torch.testing.assert_close(out[~dropped], 2 * kept[~dropped])


def test_standardisation_is_in_the_checkpoint() -> None:
    network = build(image_size=64)
    assert isinstance(network, Network)  # not wrapped
    assert {"mean", "std"} <= set(network.state_dict())
    shifted = build(image_size=64)
    shifted.mean.fill_(100.0)
    shifted.std.fill_(50.0)
    x = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(
        network.eval()(x), shifted.eval()(x * 50 + 100), rtol=1e-4, atol=1e-4
    )


def test_initialisation_is_xavier_normal_and_impossible_networks_are_named() -> None:
    dense = build("large").dense
    assert dense.weight.std().item() == pytest.approx(
        (2 / sum(dense.weight.shape)) ** 0.5, rel=0.02
    )
    assert dense.bias.abs().max() == 0
    with pytest.raises(ValueError, match=r"model\.num_classes must be 2 or 3; got 8, 4, 100, 4,"):
        build(num_classes=4)
    with pytest.raises(ValueError, match=r"data\.image_size must be a multiple of 32; got .* 100"):
        build(image_size=100)
