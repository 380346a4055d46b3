import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
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
    own = Detector(architecture=architecture, backbone="resnet50", image_size=64).body.state_dict()
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    first = "backbone.body.conv1"
    assert shapes.pop(f"{first}.weight") == (64, 1, 7, 7)
    assert shapes.pop(f"{first}.shift") == (64, 1, 7, 7)
    del wanted[f"{first}.weight"]
    assert shapes == {name: tuple(value.shape) for name, value in wanted.items()}


@BOTH
def test_boxes_lie_in_the_image_surest_first(architecture: str) -> None:
    network = small(architecture).eval()
    with torch.no_grad():
        found = network(images())
    assert len(found) == 2
    for one in found:
        assert one["boxes"].shape == (len(one["scores"]), 4)
        assert ((one["boxes"] >= 0) & (one["boxes"] <= 64)).all()
        assert (one["boxes"][:, :2] < one["boxes"][:, 2:]).all()
        assert (one["scores"].diff() <= 0).all()


@BOTH
def test_losses_of_evaluation_change_nothing(architecture: str) -> None:
    network = small(architecture).eval()
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


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"backbone": "vgg16"}, "model.backbone must be one of resnet50, resnet18, mobilenet_v3"),
        (
            {"architecture": "yolo"},
            "model.architecture must be one of retinanet, maskrcnn; got",
        ),
        ({"pretrained": "/no/file.pt"}, "there is no file /no/file.pt"),
    ],
)
def test_what_there_is_not(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Detector(**{"architecture": "retinanet", **SMALL, **setting})


def test_a_file_fills_the_backbone(tmp_path: Any) -> None:
    from torchvision import models

    torch.manual_seed(5)
    body = models.mobilenet_v3_large(num_classes=3)
    path = tmp_path / "weights.pt"
    torch.save(body.state_dict(), path)
    network = Detector(architecture="retinanet", pretrained=str(path), **SMALL)
    last = [m for m in body.features.modules() if isinstance(m, nn.Conv2d)][-1]
    own = [m for m in network.body.backbone.body.modules() if isinstance(m, nn.Conv2d)][-1]  # type: ignore[union-attr]
    assert torch.equal(last.weight, own.weight)


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("retinanet", {"detections_per_img": "abc"}, "detections_per_img must be a whole number, "),
        ("retinanet", {"detections_per_img": 1.5}, "must be a whole number, at least 1; got 1.5"),
        ("retinanet", {"topk_candidates": 0}, "topk_candidates must be a .*, at least 1; got 0"),
        ("retinanet", {"topk_candidates": True}, "at least 1; got True"),
        ("retinanet", {"nms_thresh": -1}, "nms_thresh must be a number from 0 to 1; got -1"),
        ("retinanet", {"score_thresh": 2}, "score_thresh must be a number from 0 to 1; got 2"),
        ("retinanet", {"score_thresh": float("nan")}, "from 0 to 1; got nan"),
        ("retinanet", {"score_thresh": None}, "from 0 to 1; got None"),
        ("retinanet", {"fg_iou_thresh": 0.3}, "fg_iou_thresh must be at least bg_iou_thresh; got"),
        ("maskrcnn", {"box_bg_iou_thresh": 0.6}, "box_fg_iou_thresh must be .* got 0.5 and 0.6"),
        ("maskrcnn", {"rpn_pre_nms_top_n_test": -1}, "rpn_pre_nms_top_n_test must be a whole num"),
    ],
)
def test_options_out_of_their_range_are_told(
    architecture: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Detector(architecture=architecture, options=options, **SMALL)
    assert str(raised.value).startswith("model.options.")
    assert "\n" not in str(raised.value)


def test_options_may_lie_at_the_ends_of_their_range() -> None:
    options = {"score_thresh": 0, "nms_thresh": 1, "topk_candidates": 1, "bg_iou_thresh": 0.5}
    Detector(architecture="retinanet", options=options, **SMALL)
