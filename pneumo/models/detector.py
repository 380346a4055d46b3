"""RetinaNet and Mask R-CNN of torchvision, with smaller backbones and for grey images."""

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

from pneumo.models.base import COLOUR
from pneumo.models.library import load_pretrained

BACKBONES: dict[str, tuple[dict[str, int], bool]] = {
    # stages that halve the image 2 to 5 times: layer and channels; whether `features` holds them
    "resnet50": ({"layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048}, False),
    "resnet18": ({"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}, False),
    "mobilenet_v3_large": ({"3": 24, "6": 40, "12": 112, "16": 960}, True),
}
FULL_WIDTH = 256  # channels of torchvision's pyramids and heads
NUM_CLASSES = 2  # background and opacity, as torchvision counts them
OPACITY = 1
RESIZING = ("min_size", "max_size")  # torchvision's options for it; images are not resized


class Detector(nn.Module):
    """Boxes with scores for grey images, which are repeated to three channels.

    With backbone=resnet50 and width=256 it is torchvision's retinanet_resnet50_fpn_v2 or
    maskrcnn_resnet50_fpn_v2. Images are not resized.

    Args:
        architecture: retinanet (Lin et al., arXiv 1708.02002) or maskrcnn (He et al., 1703.06870).
        backbone: one of BACKBONES.
        image_size: S, pixels.
        width: channels of the feature pyramid and of the heads.
        pretrained: of the backbone, as of LibraryNetwork.
        options: numbers of torchvision's RetinaNet or MaskRCNN, such as nms_thresh.

    Attributes:
        num_classes: 2, as of a classifier: an image has an opacity or not.
        mean, std: averages over the colours that images are standardised by, in grey values.

    Raises:
        ValueError: unknown architecture, backbone or option, or weights that are missing or do not
            fit.
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
        options = options or {}
        if backbone not in BACKBONES or architecture not in ARCHITECTURES:
            raise ValueError(
                f"model.architecture must be one of {', '.join(ARCHITECTURES)}, model.backbone one "
                f"of {', '.join(BACKBONES)}; got {architecture!r}, {backbone!r}"
            )
        network, build = ARCHITECTURES[architecture]
        if unknown := set(options) - set(signature(network).parameters):  # which it would ignore
            raise ValueError(
                f"model.options must be of torchvision's {architecture}; got {unknown}"
            )
        body = models.get_model(backbone, weights=None)
        load_pretrained(body, backbone, pretrained)
        preset = models.get_model_weights(backbone).DEFAULT.transforms()
        parts = build(partial(_pyramid, body, backbone, width), width)
        try:
            self.body: nn.Module = network(
                **parts,
                num_classes=None if "box_predictor" in parts else NUM_CLASSES,
                **dict.fromkeys(RESIZING, image_size),
                image_mean=preset.mean,
                image_std=preset.std,
                **options,
            )
        except (AssertionError, RuntimeError) as error:  # options that exclude each other
            raise ValueError(f"model.options must fit together: {error}; got {options}") from None
        self.mean, self.std = (255 * sum(values) / 3 for values in (preset.mean, preset.std))
        self.with_masks = architecture == "maskrcnn"

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        """(B, 1, S, S) grey values, 0 to 255, to the boxes of each image, highest score first.

        For each image boxes (N, 4) float32 in pixels of S, and scores (N,) in [0, 1]. In evaluation
        mode only.
        """
        assert not self.training
        predicted = self.body(_images(x))
        has_area = [(image["boxes"][:, :2] < image["boxes"][:, 2:]).all(1) for image in predicted]
        return [
            {key: image[key][kept] for key in ("boxes", "scores")}
            for image, kept in zip(predicted, has_area, strict=True)
        ]

    def losses(self, x: Tensor, boxes: Sequence[Tensor]) -> dict[str, Tensor]:
        """Returns torchvision's losses, loss_… each, means over the batch, to be summed.

        In evaluation mode they use the running statistics, and draw the same random proposals each
        time.

        Args:
            x: (B, 1, S, S) grey values, 0 to 255.
            boxes: of each image (N, 4) in pixels of S. Mask R-CNN is trained on the filled boxes as
                masks, since the data have none.
        """
        targets = [self._target(image_boxes.float(), x.shape[-1]) for image_boxes in boxes]
        if self.training:
            losses = self.body(_images(x), targets)
        else:
            devices = [x.device] if x.is_cuda else []
            with _losses_of_evaluation(self.body), torch.random.fork_rng(devices):
                torch.manual_seed(0)
                losses = self.body(_images(x), targets)
        return {f"loss_{name.removeprefix('loss_')}": value for name, value in losses.items()}

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


def _images(x: Tensor) -> list[Tensor]:
    return list((x.float() / 255).expand(-1, COLOUR, -1, -1))


@contextmanager
def _losses_of_evaluation(body: nn.Module) -> Iterator[None]:
    """Makes torchvision's detector return losses with its normalisation in evaluation mode."""
    norms = [m for m in body.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    body.train()
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        body.eval()


def _pyramid(
    body: nn.Module,
    backbone: str,
    width: int,
    *,
    first: int,
    extra: Callable[[int], nn.Module],
    norm_layer: Callable[..., nn.Module] | None = None,
) -> BackboneWithFPN:
    """Returns the stages that halve the image ``first`` to 5 times, and ``extra`` after those."""
    stages, in_features = BACKBONES[backbone]
    channels = dict(list(stages.items())[first - 2 :])
    return BackboneWithFPN(
        body.features if in_features else body,
        {layer: str(number) for number, layer in enumerate(channels)},
        list(channels.values()),
        width,
        extra_blocks=extra(list(channels.values())[-1]),
        norm_layer=norm_layer,
    )


Pyramid = Callable[..., BackboneWithFPN]


def _retinanet(pyramid: Pyramid, width: int) -> dict[str, Any]:
    """Returns the parts of torchvision.models.detection.retinanet_resnet50_fpn_v2."""
    sizes = [32, 64, 128, 256, 512]
    anchors = AnchorGenerator(
        tuple((s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))) for s in sizes),
        ((0.5, 1.0, 2.0),) * len(sizes),
    )
    norm = partial(nn.GroupNorm, 32)
    head = RetinaNetHead(width, anchors.num_anchors_per_location()[0], NUM_CLASSES, norm_layer=norm)
    head.regression_head._loss_type = "giou"
    backbone = pyramid(first=3, extra=lambda channels: LastLevelP6P7(channels, width))
    return {"backbone": backbone, "anchor_generator": anchors, "head": head}


def _maskrcnn(pyramid: Pyramid, width: int) -> dict[str, Any]:
    """Returns the parts of torchvision.models.detection.maskrcnn_resnet50_fpn_v2."""
    norm, convolutions = nn.BatchNorm2d, [width] * 4
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    per_place = anchors.num_anchors_per_location()[0]
    return {
        "backbone": pyramid(first=2, extra=lambda _: LastLevelMaxPool(), norm_layer=norm),
        "rpn_anchor_generator": anchors,
        "rpn_head": RPNHead(width, per_place, conv_depth=2),
        "box_head": FastRCNNConvFCHead((width, 7, 7), convolutions, [4 * width], norm_layer=norm),
        "box_predictor": detection.faster_rcnn.FastRCNNPredictor(4 * width, NUM_CLASSES),
        "mask_head": MaskRCNNHeads(width, convolutions, 1, norm_layer=norm),
        "mask_predictor": detection.mask_rcnn.MaskRCNNPredictor(width, width, NUM_CLASSES),
    }


ARCHITECTURES: dict[str, tuple[Callable[..., nn.Module], Callable[..., dict[str, Any]]]] = {
    "retinanet": (detection.RetinaNet, _retinanet),
    "maskrcnn": (detection.MaskRCNN, _maskrcnn),
}
