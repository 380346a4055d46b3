"""Batches of images with boxes, beside those with class numbers of pneumo.data.datamodule."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pneumo.data import boxes as geometry
from pneumo.data.augment import Augmentation, BoxAugment, Warp
from pneumo.data.cache import Cache
from pneumo.data.datamodule import XrayDataModule, draw_seed


class BoxBatch(NamedTuple):
    """The input of a step: tensors only, which loading processes can share."""

    image: Tensor  # (B, 1, S, S) uint8 grey values
    sides: Tensor  # (M, 4) float32, the boxes of all images in sequence, in pixels of S
    num_boxes: Tensor  # (B,) int64, boxes of each image
    row: Tensor  # (B,) int64 rows of the table

    @property
    def boxes(self) -> tuple[Tensor, ...]:
        """(N, 4) float32 of each image."""
        return torch.split(self.sides, self.num_boxes.tolist())


class BoxImages(Dataset[BoxBatch]):
    """Rows of the cache with their boxes; otherwise as pneumo.data.datamodule.Images."""

    def __init__(
        self,
        images: np.ndarray,
        boxes: Sequence[np.ndarray],
        *,
        augment: Augmentation | None,
        seed: int,
    ):
        self.images, self.boxes, self.seed = images, boxes, seed
        assert not isinstance(augment, Warp)  # see pneumo.training.objects
        self.augment = BoxAugment(augment.transforms) if augment else None

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> BoxBatch:
        """Returns the batch of ``items``, pairs of epoch and row."""
        rows = [row for _, row in items]
        image, boxes = self.images[rows], [self.boxes[row] for row in rows]
        if self.augment:
            for place, (epoch, row) in enumerate(items):
                seed = draw_seed(self.seed, epoch, row)
                image[place], boxes[place] = self.augment(image[place], boxes[place], seed=seed)
        return BoxBatch(
            torch.from_numpy(image)[:, None],
            torch.from_numpy(np.concatenate(boxes).astype(np.float32)),
            torch.tensor([len(each) for each in boxes]),
            torch.tensor(rows),
        )


class BoxDataModule(XrayDataModule):
    """Batches of a split table with boxes.

    Args:
        table: also with the columns boxes, width and height, of pneumo.data.boxes.
        cache: the images of the whole data set.
        aspect: of the prepared images, see pneumo.data.image.resize.
        others: as of XrayDataModule.
    """

    def __init__(self, table: pd.DataFrame, cache: Cache, *, aspect: str, **others: Any):
        super().__init__(table, cache, **others)
        self.shape = {"size": cache.images.shape[1], "aspect": aspect}
        sizes = table[["width", "height"]].itertuples(index=False)
        self.files = dict(zip(table.index, sizes, strict=True))
        self.true_boxes = dict(table["boxes"])  # by row, in pixels of the files
        self.boxes = [np.empty((0, 4))] * len(cache.images)  # in pixels of the prepared images
        for row, boxes in self.true_boxes.items():
            self.boxes[row] = geometry.to_prepared(boxes, self.files[row], **self.shape)

    def dataset(self, augment: Augmentation | None) -> BoxImages:
        """Returns the images with boxes that the loader fetches batches from."""
        return BoxImages(self.cache.images, self.boxes, augment=augment, seed=self.seed)

    def to_file(self, boxes: np.ndarray, row: int) -> np.ndarray:
        """Returns (N, 4) boxes of a row's prepared image in the pixels of its file."""
        return geometry.to_file(boxes, self.files[row], **self.shape)
