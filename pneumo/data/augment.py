"""The random augmentation of training images: the paper's, or any transforms of albumentations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import albumentations as A  # noqa: N812
import cv2
import numpy as np

REFLECT = "reflect"
MIN_VISIBLE = 0.3  # share of a box's area that must stay in the image, else it is dropped


@dataclass(frozen=True)
class Augment:
    """The augmentation of the paper, drawn for each training image in each epoch.

    Args:
        rotation: largest angle to either side, degrees; 0 is off (paper: 45).
        zoom: smallest and largest scale, drawn separately for width and height; above 1 shows
            less of the image; (1, 1) is off (the paper gives no range).
        flip: probability of a horizontal flip; 0 is off.
        fill: pixels from outside the image: "reflect", the image mirrored at its border, or a
            grey value, 0 to 255 (the paper does not say).
    """

    rotation: float = 45.0
    zoom: tuple[float, float] = (0.9, 1.1)
    flip: float = 0.5
    fill: int | str = REFLECT

    def __post_init__(self) -> None:
        object.__setattr__(self, "zoom", tuple(self.zoom))

    @property
    def transforms(self) -> list[A.BasicTransform]:
        """The same as transforms of albumentations, for one image at a time."""
        steps: list[A.BasicTransform] = []
        if self.rotation or self.zoom != (1, 1):
            limits = (-self.rotation, self.rotation)
            border: dict[str, Any] = {"border_mode": cv2.BORDER_REFLECT}
            if self.fill != REFLECT:
                border = {"border_mode": cv2.BORDER_CONSTANT, "fill": self.fill}
            steps.append(A.Affine(rotate=limits, scale=self.zoom, p=1.0, **border))
        if self.flip:
            steps.append(A.HorizontalFlip(p=self.flip))
        return steps

    def per_image(self) -> "ImageAugment":
        """Returns the augmentation of one image at a time."""
        return ImageAugment(self.transforms)


@dataclass(frozen=True)
class Pipeline:
    """Any transforms of albumentations, in their order, on one image at a time.

    Args:
        transforms: on (H, W) uint8; the result must have the same height and width.
    """

    transforms: Sequence[A.BasicTransform]

    def per_image(self) -> "ImageAugment":
        """Returns the augmentation of one image at a time."""
        return ImageAugment(self.transforms)


Augmentation = Augment | Pipeline


class ImageAugment:
    """Augments one image at a time by albumentations, on uint8."""

    def __init__(self, transforms: Sequence[A.BasicTransform]):
        self.compose = A.Compose(list(transforms), seed=0)

    def __call__(self, image: np.ndarray, *, seed: int) -> np.ndarray:
        """Returns (H, W) uint8 of (H, W) uint8; the same seed draws the same change."""
        self.compose.set_random_seed(seed)
        return self.compose(image=image)["image"]  # type: ignore[no-any-return]


class BoxAugment:
    """Augments one image and its boxes by albumentations; the image as ImageAugment does.

    A rotated box becomes the upright one around it. A box that leaves the image is cut at its
    border, and dropped if less than MIN_VISIBLE of its area is left. If the border is mirrored,
    so are the boxes.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform]):
        rule = A.BboxParams("pascal_voc", clip=True, min_visibility=MIN_VISIBLE)
        self.compose = A.Compose(list(transforms), bbox_params=rule, seed=0)

    def __call__(
        self, image: np.ndarray, boxes: np.ndarray, *, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (H, W) uint8 and (M, 4) boxes of (H, W) uint8 and (N, 4), in pixels."""
        self.compose.set_random_seed(seed)
        augmented = self.compose(image=image, bboxes=boxes)
        return augmented["image"], np.reshape(augmented["bboxes"], (-1, 4))
