"""RetinaNet and Mask R-CNN of torchvision, for grey images and with smaller backbones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from pneumo.models.library import existing, load_pretrained, make_grey

BACKBONES: dict[str, tuple[dict[str, int], bool]] = {
    # stages that halve the image 2 to 5 times: layer and channels; whether `features` holds them
    "resnet50": ({"layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048}, False),
    "resnet18": ({"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}, False),
    "mobilenet_v3_large": ({"3": 24, "6": 40, "12": 112, "16": 960}, True),
}
FULL_WIDTH = 256  # channels of torchvision's pyramids and heads
NUM_CLASSES = 2  # background and opacity, as torchvision counts them
OPACITY = 1


class Detector(nn.Module):
    """Boxes with scores for grey images.

    With backbone=resnet50 and width=256 it is torchvision's retinanet_resnet50_fpn_v2 or
    maskrcnn_resnet50_fpn_v2, but for a first convolution of one channel. Images are not resized.

    Args:
        architecture: retinanet (Lin et al., arXiv 1708.02002) or maskrcnn (He et al., 1703.06870).
        backbone: one of BACKBONES.
        image_size: S, pixels.
        width: channels of the feature pyramid and of the heads.
        pretrained: of the backbone, as of LibraryNetwork.
        options: numbers of torchvision's RetinaNet or MaskRCNN, such as nms_thresh.

    Attributes:
        num_classes: 2, as of a classifier: an image has an opacity or not.
        mean: that images are standardised by, grey values from 0 to 255; and std.

    Raises:
        ValueError: there is no such architecture, backbone or option, an option is out of its
            range, or the weights cannot be had.
    """

    num_classes = 2

    def __init__(
        self,
        *,
        architecture: str,
        backbone: str,
        image_size: int,
        width: int = FULL_WIDTH,
        pretrained: bool | str = False,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        for name, value, known in (
            ("architecture", architecture, ARCHITECTURES),
            ("backbone", backbone, BACKBONES),
        ):
            if value not in known:
                raise ValueError(f"model.{name} must be one of {', '.join(known)}; got {value!r}")
        _check_options(options or {}, architecture=architecture)
        mean, std, make_pyramid = _backbone(backbone, pretrained)
        self.body = ARCHITECTURES[architecture](
            make_pyramid,
            width,
            min_size=image_size,
            max_size=image_size,
            image_mean=[mean],
            image_std=[std],
            **(options or {}),
        )
        self.mean, self.std = 255 * mean, 255 * std  # grey values, as a classifier has them
        self.with_masks = architecture == "maskrcnn"

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        """(B, 1, S, S) grey values, 0 to 255, to the boxes of each image, surest first.

        Of each image boxes (N, 4) float32 in pixels of S, and scores (N,) in [0, 1]. In evaluation
        mode only.
        """
        assert not self.training
        found = self.body([image / 255 for image in x.float()])
        there = [(one["boxes"][:, :2] < one["boxes"][:, 2:]).all(1) for one in found]
        return [
            {key: one[key][has_area] for key in ("boxes", "scores")}
            for one, has_area in zip(found, there, strict=True)
        ]

    def losses(self, x: Tensor, boxes: Sequence[Tensor]) -> dict[str, Tensor]:
        """Returns torchvision's losses, loss_… each, means over the batch; their sum is trained.

        In evaluation mode they are those of the running statistics, and draw the same random
        proposals each time.

        Args:
            x: (B, 1, S, S) grey values, 0 to 255.
            boxes: of each image (N, 4) in pixels of S. Mask R-CNN learns masks, too, and there are
                none: it gets the filled boxes.
        """
        targets = [self._target(one.float(), x.shape[-1]) for one in boxes]
        images = [image / 255 for image in x.float()]
        if self.training:
            found = self.body(images, targets)
        else:
            used = [x.device] if x.is_cuda else []
            with _losses_of_evaluation(self.body), torch.random.fork_rng(used):
                torch.manual_seed(0)
                found = self.body(images, targets)
        return {f"loss_{name.removeprefix('loss_')}": value for name, value in found.items()}

    def _target(self, boxes: Tensor, size: int) -> dict[str, Tensor]:
        labels = torch.full((len(boxes),), OPACITY, dtype=torch.int64, device=boxes.device)
        target = {"boxes": boxes, "labels": labels}
        if self.with_masks:
            target["masks"] = filled(boxes, size=size)
        return target


def filled(boxes: Tensor, *, size: int) -> Tensor:
    """Returns (N, size, size) uint8 masks of (N, 4) boxes: 1 where a pixel's middle is within."""
    middle = torch.arange(size, device=boxes.device) + 0.5
    left, top, right, bottom = (side[:, None] for side in boxes.unbind(1))
    across = (middle >= left) & (middle < right)
    down = (middle >= top) & (middle < bottom)
    return (down[:, :, None] & across[:, None, :]).to(torch.uint8)


@contextmanager
def _losses_of_evaluation(body: nn.Module) -> Iterator[None]:
    """Makes torchvision's detector give losses, its normalisation left in evaluation mode."""
    norms = [m for m in body.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    body.train()
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        body.eval()


Pyramid = Callable[..., BackboneWithFPN]


def _backbone(name: str, pretrained: bool | str) -> tuple[float, float, Pyramid]:
    """Returns mean and deviation of its grey values in [0, 1], and what makes its pyramid."""
    if isinstance(pretrained, str):
        pretrained = existing(pretrained)
    body = models.get_model(name, weights=None)
    load_pretrained(body, name, pretrained)
    described = models.get_model_weights(name).DEFAULT.transforms()
    make_grey(body, mean=described.mean, std=described.std)
    stages, in_features = BACKBONES[name]

    def make_pyramid(
        width: int,
        *,
        first: int,
        extra: Callable[[int], nn.Module],
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> BackboneWithFPN:
        """The stages that halve the image ``first`` to 5 times, and ``extra`` after the last."""
        used = dict(list(stages.items())[first - 2 :])
        return BackboneWithFPN(
            body.features if in_features else body,
            {layer: str(number) for number, layer in enumerate(used)},
            list(used.values()),
            width,
            extra_blocks=extra(list(used.values())[-1]),
            norm_layer=norm_layer,
        )

    return sum(described.mean) / 3, sum(described.std) / 3, make_pyramid


def _check_options(options: Mapping[str, Any], *, architecture: str) -> None:
    """Raises ValueError for an option that torchvision lacks, or would fail at in a run."""
    usual = _options(architecture)
    for name, value in options.items():
        if name not in usual:
            raise ValueError(
                f"model.options must be of {', '.join(usual)} with {architecture}; got {name!r}"
            )
        counts = isinstance(usual[name], int)
        kept = isinstance(value, int if counts else int | float) and not isinstance(value, bool)
        if not kept or not (value >= 1 if counts else 0 <= value <= 1):
            says = "a whole number, at least 1" if counts else "a number from 0 to 1"
            raise ValueError(f"model.options.{name} must be {says}; got {value!r}")
    used = {**usual, **options}
    for name in used:
        other = name.replace("fg_iou_thresh", "bg_iou_thresh")
        if used[name] < used[other]:
            raise ValueError(
                f"model.options.{name} must be at least {other}; got {used[name]} and {used[other]}"
            )


def _options(architecture: str) -> dict[str, float]:
    """Returns the numbers that torchvision's class takes, counts as int, shares as float.

    It ignores what it does not know.
    """
    made: Callable[..., nn.Module] = {
        "retinanet": detection.RetinaNet,
        "maskrcnn": detection.MaskRCNN,
    }[architecture]
    arguments = signature(made).parameters.values()
    sizes = {"min_size", "max_size"}  # of images, which are not resized
    return {
        a.name: a.default
        for a in arguments
        if type(a.default) in (int, float) and a.name not in sizes
    }


def _retinanet(make_pyramid: Pyramid, width: int, **options: Any) -> nn.Module:
    """As torchvision.models.detection.retinanet_resnet50_fpn_v2 makes it."""
    pyramid = make_pyramid(width, first=3, extra=lambda channels: LastLevelP6P7(channels, width))
    sizes = [32, 64, 128, 256, 512]
    anchors = AnchorGenerator(
        tuple((s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))) for s in sizes),
        ((0.5, 1.0, 2.0),) * len(sizes),
    )
    norm = partial(nn.GroupNorm, 32)
    per_place = anchors.num_anchors_per_location()[0]
    head = RetinaNetHead(width, per_place, NUM_CLASSES, norm_layer=norm)
    head.regression_head._loss_type = "giou"
    network: nn.Module = detection.RetinaNet(
        pyramid, NUM_CLASSES, anchor_generator=anchors, head=head, **options
    )
    return network


def _maskrcnn(make_pyramid: Pyramid, width: int, **options: Any) -> nn.Module:
    """As torchvision.models.detection.maskrcnn_resnet50_fpn_v2 makes it."""
    norm = nn.BatchNorm2d
    pyramid = make_pyramid(
        width, first=2, extra=lambda channels: LastLevelMaxPool(), norm_layer=norm
    )
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    per_place = anchors.num_anchors_per_location()[0]
    convolutions = [width] * 4
    network: nn.Module = detection.MaskRCNN(
        pyramid,
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(width, per_place, conv_depth=2),
        box_head=FastRCNNConvFCHead((width, 7, 7), convolutions, [4 * width], norm_layer=norm),
        box_predictor=detection.faster_rcnn.FastRCNNPredictor(4 * width, NUM_CLASSES),
        mask_head=MaskRCNNHeads(width, convolutions, 1, norm_layer=norm),
        mask_predictor=detection.mask_rcnn.MaskRCNNPredictor(width, width, NUM_CLASSES),
        **options,
    )
    return network


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "retinanet": _retinanet,
    "maskrcnn": _maskrcnn,
}
