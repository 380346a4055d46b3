"""Detectors: torchvision's own but for the backbone; boxes, losses and options."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import detection

from pneumo.models.detector import Detector, filled

SMALL: dict[str, Any] = {"backbone": "mobilenet_v3_large", "image_size": 64, "width": 64}
FEW = {"rpn_post_nms_top_n_train": 20, "rpn_post_nms_top_n_test": 10}
FEW |= {"rpn_batch_size_per_image": 16, "box_batch_size_per_image": 8}
BOTH = pytest.mark.parametrize("architecture", ["retinanet", "maskrcnn"])
BOX = torch.tensor([[8.0, 16, 40, 60]])


def small(architecture: str) -> Detector:
    torch.manual_seed(0)
    options = FEW if architecture == "maskrcnn" else {"score_thresh": 0.0}
    return Detector(architecture=architecture, options=options, **SMALL)


def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 1, 64, 64), generator=generator, dtype=torch.uint8)


@BOTH
def test_with_resnet50_it_is_torchvisions_own(architecture: str) -> None:
    theirs = {
        "retinanet": detection.retinanet_resnet50_fpn_v2,
        "maskrcnn": detection.maskrcnn_resnet50_fpn_v2,
    }[architecture]
    with torch.device("meta"):  # names and shapes only
        wanted = theirs(weights=None, weights_backbone=None, num_classes=2).state_dict()
        own = Detector(architecture=architecture, backbone="resnet50", image_size=64)
    shapes = {name: tuple(value.shape) for name, value in own.body.state_dict().items()}
    assert shapes == {name: tuple(value.shape) for name, value in wanted.items()}


@BOTH
def test_boxes_lie_in_the_image_and_losses_of_evaluation_change_nothing(architecture: str) -> None:
    network = small(architecture).eval()
    with torch.no_grad():
        predicted = network(images())
    assert len(predicted) == 2
    for found, scores in (image.values() for image in predicted):
        assert found.shape == (len(scores), 4)
        assert ((found >= 0) & (found <= 64)).all()
        assert (found[:, :2] < found[:, 2:]).all()
        assert (scores.diff() <= 0).all()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    boxes = [BOX, torch.empty(0, 4)]
    with torch.no_grad():
        first, second = (network.losses(images(), boxes) for _ in range(2))
    assert first == second
    assert all(name.startswith("loss_") for name in first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in network.modules())
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@BOTH
def test_training_reaches_every_weight(architecture: str) -> None:
    network = small(architecture).train()
    losses = network.losses(images(), [BOX, torch.empty(0, 4)])
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    without = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert without == []


def test_masks_are_the_filled_boxes() -> None:
    mask = filled(torch.tensor([[1.0, 2, 3, 5], [0, 0, 8, 8]]), size=8)
    assert mask.dtype == torch.uint8
    assert mask.sum((1, 2)).tolist() == [2 * 3, 64]
    assert mask[0, 2:5, 1:3].all()
    assert filled(torch.empty(0, 4), size=8).shape == (0, 8, 8)


def test_a_file_fills_the_backbone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    body = models.mobilenet_v3_large(num_classes=3)
    path = tmp_path / "weights.pt"
    torch.save(body.state_dict(), path)
    network = Detector(architecture="retinanet", pretrained=str(path), **SMALL)
    last = [m for m in body.features.modules() if isinstance(m, nn.Conv2d)][-1]
    own = [m for m in network.body.backbone.body.modules() if isinstance(m, nn.Conv2d)][-1]  # type: ignore[union-attr]
    assert torch.equal(last.weight, own.weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "vgg16"}, "backbone one of resnet50, resnet18, mobilenet_v3_large; got"),
        ({"architecture": "yolo"}, "architecture must be one of retinanet, maskrcnn,"),
        ({"pretrained": "/no/file.pt"}, "No such file"),
        ({"options": {"nms": 0.3}}, "options must be of torchvision's retinanet; got {'nms'}"),
        ({"options": {"fg_iou_thresh": 0.3}}, "options must fit together: low_threshold should"),
        (
            {"architecture": "maskrcnn", "options": {"box_bg_iou_thresh": 0.6}},
            "options must fit together: low_threshold should",
        ),
    ],
)
def test_impossible_detectors_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"model\..*{message}") as error:
        Detector(**{"architecture": "retinanet", **SMALL, **settings})
    assert "\n" not in str(error.value)
