"""A residual network of 113,234 parameters for a CPU: few channels at high resolution."""

from collections.abc import Sequence

from torch import Tensor, nn


class Compact(nn.Module):
    """3 x 3 convolutions with batch normalisation, residual sums and global average pooling.

    The first convolution has stride 2 and a max-pool after it, so that all others work on at most a
    sixteenth of the pixels: 18.9 M multiply-adds at 128 px; the paper's tiny has 83.3 M at 256 px.
    With global average pooling any size of input works, and positions in the image do not count.

    Input: (B, 1, S, S) standardised grey values. Output: (B, num_classes) logits.

    Args:
        stem: channels of the first convolution.
        widths: channels of the convolutions of each stage; a max-pool lies between two stages.
        dropout: probability of dropping one of the features before the dense layer.
        num_classes: 2 (NORMAL, PNEUMONIA) or 3 (NORMAL, bacteria, virus).
        per_image: standardises each image by its own mean and deviation, so that brightness and
            contrast of the whole image have no effect.

    Attributes:
        heatmap_method: the one with the largest deletion gap on test images
            (docs/how-to/heatmaps.md).
    """

    heatmap_method = "integrated"

    def __init__(
        self,
        *,
        stem: int = 16,
        widths: Sequence[Sequence[int]] = ((24, 24), (40, 40), (56, 56), (64,)),
        dropout: float = 0.2,
        num_classes: int = 2,
        per_image: bool = False,
    ):
        super().__init__()
        self.per_image = per_image
        layers: list[nn.Module] = [Convolution(1, stem, stride=2), nn.MaxPool2d(2)]
        last = stem
        for stage, channels in enumerate(widths):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for width in channels:
                layers.append(Convolution(last, width))
                last = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(last, num_classes)
        )

    @property
    def heatmap_layer(self) -> nn.Module:
        """Returns the last stage with its residual sum, for Grad-CAM and LayerCAM."""
        return self.layers[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) standardised grey values to (B, num_classes) logits."""
        if self.per_image:
            deviation = x.std((1, 2, 3), keepdim=True).clamp_min(1e-3)
            x = (x - x.mean((1, 2, 3), keepdim=True)) / deviation
        logits: Tensor = self.head(self.layers(x))
        return logits


class Convolution(nn.Module):
    """A convolution, batch normalisation and ReLU; the input is added if the widths agree."""

    def __init__(self, num_in: int, num_out: int, *, stride: int = 1):
        super().__init__()
        self.convolution = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(num_out)
        self.relu = nn.ReLU(inplace=True)
        self.residual = stride == 1 and num_in == num_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W), or smaller sides with a stride."""
        y: Tensor = self.relu(self.norm(self.convolution(x)))
        return x + y if self.residual else y
