"""The plain version: PyTorch eager, NCHW, ReLU before pooling, images by PIL, one at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from pneumo.data.augment import Pipeline


def forward(network: Any, image: Tensor) -> Tensor:
    """The logits of (B, 1, S, S) grey values, as the paper writes its network.

    Args:
        network: a pneumo.models.unet_encoder.Encoder, of which only the layers are used.
        image: any float grey values.
    """
    x = network.norm((image - network.mean) / network.std)
    for level in network.levels:
        first, _, second, _, _ = level.convolutions
        x = torch.relu(second(torch.relu(first(x))))
        x = level.dropout(level.norm(functional.max_pool2d(x, 2)))
    hidden = network.dropout(torch.relu(network.dense(x.flatten(1))))
    return cast(Tensor, network.head(hidden))


class Files(Dataset[tuple[Tensor, int]]):
    """Image files, decoded and augmented one at a time: (1, S, S) float32 and the class."""

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        target: np.ndarray,
        *,
        image_size: int,
        augment: Pipeline | None,
    ):
        self.root, self.paths, self.target = root, paths, target
        self.size = (image_size, image_size)
        self.augment = augment.compose if augment else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """Decodes one file."""
        with Image.open(self.root / self.paths[number]) as file:
            pixels = np.asarray(file.convert("L").resize(self.size, Image.Resampling.BILINEAR))
        if self.augment:
            pixels = self.augment(image=pixels)["image"]
        return torch.from_numpy(pixels.astype(np.float32))[None], int(self.target[number])
