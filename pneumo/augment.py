"""Rotation, zoom and flip of a training image; each drawn from its own seed."""

import os
from dataclasses import dataclass

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for news otherwise
import albumentations as A  # noqa: N812


@dataclass(frozen=True)
class Augment:
    """The augmentation of the paper: what is drawn for each training image, each time it is seen.

    Args:
        rotation: largest angle to either side, degrees; 0 is off (paper: 45).
        zoom: smallest and largest scale; 1 is the image as it is, above shows less of it;
            (1, 1) is off (the paper gives no range).
        flip: probability of a horizontal flip; 0 is off.
        fill: grey value, 0 to 255, of what comes in from outside the image.
    """

    rotation: float = 45.0
    zoom: tuple[float, float] = (0.8, 1.2)
    flip: float = 0.5
    fill: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "zoom", tuple(self.zoom))


class ImageAugment:
    """Augments one image at a time by albumentations, on uint8."""

    def __init__(self, augment: Augment):
        steps: list[A.BasicTransform] = []
        if augment.rotation or augment.zoom != (1, 1):
            limits = (-augment.rotation, augment.rotation)
            steps.append(A.Affine(rotate=limits, scale=augment.zoom, fill=augment.fill, p=1.0))
        if augment.flip:
            steps.append(A.HorizontalFlip(p=augment.flip))
        self.compose = A.Compose(steps, seed=0)

    def __call__(self, image: np.ndarray, *, seed: int) -> np.ndarray:
        """Returns (H, W) uint8 of (H, W) uint8; the same seed draws the same change."""
        self.compose.set_random_seed(seed)
        return self.compose(image=image)["image"]  # type: ignore[no-any-return]
