"""Rotation, zoom and flip of a training image; each drawn from its own seed."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for news otherwise
import albumentations as A  # noqa: N812
import cv2

REFLECT = "reflect"


@dataclass(frozen=True)
class Augment:
    """The augmentation of the paper: what is drawn for each training image, each time it is seen.

    Args:
        rotation: largest angle to either side, degrees; 0 is off (paper: 45).
        zoom: smallest and largest scale; 1 is the image as it is, above shows less of it;
            (1, 1) is off (the paper gives no range).
        flip: probability of a horizontal flip; 0 is off.
        fill: what comes in from outside the image: "reflect", the image mirrored at its border, or
            a grey value, 0 to 255 (the paper does not say).
    """

    rotation: float = 45.0
    zoom: tuple[float, float] = (0.9, 1.1)
    flip: float = 0.5
    fill: int | str = REFLECT

    def __post_init__(self) -> None:
        object.__setattr__(self, "zoom", tuple(self.zoom))


def border(augment: Augment) -> dict[str, Any]:
    """Returns what albumentations' Affine is told of the fill."""
    if augment.fill == REFLECT:
        return {"border_mode": cv2.BORDER_REFLECT}
    return {"border_mode": cv2.BORDER_CONSTANT, "fill": augment.fill}


class ImageAugment:
    """Augments one image at a time by albumentations, on uint8."""

    def __init__(self, augment: Augment):
        steps: list[A.BasicTransform] = []
        if augment.rotation or augment.zoom != (1, 1):
            limits = (-augment.rotation, augment.rotation)
            steps.append(A.Affine(rotate=limits, scale=augment.zoom, p=1.0, **border(augment)))
        if augment.flip:
            steps.append(A.HorizontalFlip(p=augment.flip))
        self.compose = A.Compose(steps, seed=0)

    def __call__(self, image: np.ndarray, *, seed: int) -> np.ndarray:
        """Returns (H, W) uint8 of (H, W) uint8; the same seed draws the same change."""
        self.compose.set_random_seed(seed)
        return self.compose(image=image)["image"]  # type: ignore[no-any-return]
