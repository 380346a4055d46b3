"""Blocks of networks, from the images to the last layer."""

import pytest
import torch
from torch import nn
from torchvision import models

from pneumo.models import efficientnet_lite
from pneumo.models.blocks import blocks, groups, head


def test_blocks_and_head_of_networks_of_several_kinds() -> None:
    resnet = models.resnet18(weights=None)
    within = [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
    assert list(blocks(resnet)) == ["conv1", "bn1", *within, "fc"]
    assert head(resnet) == "fc"
    lite = efficientnet_lite.build(2)
    assert list(blocks(lite)) == [*(f"features.{n}" for n in range(9)), "classifier.1"]
    assert head(models.squeezenet1_1(weights=None)) == "classifier.1"  # a convolution
    with pytest.raises(ValueError, match="has neither"):
        head(nn.ReLU())


def check_groups(module: nn.Module, body: nn.Module, *, num: int) -> list[list[nn.Parameter]]:
    """The parameters by depth, each once and at half the rate of those after it."""
    shares, by_depth = zip(*groups(module, body, decay=0.5), strict=True)
    assert list(shares) == [0.5**n for n in range(num)]
    every = [id(p) for group in by_depth for p in group]
    assert sorted(every) == sorted(id(p) for p in module.parameters())
    return list(by_depth)


def test_a_vision_transformers_layers_are_blocks() -> None:
    body = models.VisionTransformer(32, 16, 3, 2, 8, 16, num_classes=2)
    layers = [f"encoder.layers.encoder_layer_{number}" for number in range(3)]
    assert list(blocks(body)) == ["conv_proj", *layers, "encoder.ln", "heads.head"]
    by_depth = check_groups(body, body, num=5)  # ln goes with layer 2
    assert any(p is body.encoder.pos_embedding for p in by_depth[-1])


def test_parameters_of_no_block_are_those_of_the_head_or_as_slow_as_the_first() -> None:
    body = models.resnet18(weights=None)
    body.register_parameter("position", nn.Parameter(torch.zeros(1)))
    module = nn.ModuleDict({"network": body, "loss": nn.PReLU()})
    by_depth = check_groups(module, body, num=10)  # bn1 goes with conv1
    assert set(by_depth[0]) == set(body.fc.parameters())
    assert {*body.bn1.parameters(), body.position} <= set(by_depth[-1])
