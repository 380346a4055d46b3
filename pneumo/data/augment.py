"""The random augmentation of training images: the paper's, any of albumentations, or one warp."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import albumentations as A  # noqa: N812
import cv2
import numpy as np

REFLECT = "reflect"
MIN_VISIBLE = 0.3  # share of a box's area that must stay in the image, else it is dropped


class Pipeline:
    """Any transforms of albumentations, in their order, on one image at a time.

    Args:
        transforms: on (H, W) uint8; the result must have the same height and width.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform]):
        self.transforms = list(transforms)
        self.compose = A.Compose(self.transforms, seed=0)

    def __call__(self, image: np.ndarray, *, seed: int, side: int | None = None) -> np.ndarray:
        """Returns (side, side) uint8 of (S, S) uint8; the same seed draws the same change.

        ``side``: of the result, by means over areas; None for S.
        """
        self.compose.set_random_seed(seed)
        result: np.ndarray = self.compose(image=image)["image"]
        if side in (None, len(image)):
            return result
        return cv2.resize(result, (side, side), interpolation=cv2.INTER_AREA)


class Augment(Pipeline):
    """The augmentation of the paper, drawn for each training image in each epoch.

    Args:
        rotation: largest angle to either side, degrees; 0 is off (paper: 45).
        zoom: smallest and largest scale, drawn separately for width and height; above 1 shows
            less of the image; (1, 1) is off (the paper gives no range).
        flip: probability of a horizontal flip; 0 is off.
        fill: pixels from outside the image: "reflect", the image mirrored at its border, or a
            grey value, 0 to 255 (the paper does not say).
    """

    def __init__(
        self,
        rotation: float = 45.0,
        zoom: tuple[float, float] = (0.9, 1.1),
        flip: float = 0.5,
        fill: int | str = REFLECT,
    ):
        self.rotation, self.zoom, self.flip = rotation, tuple(zoom), flip
        steps: list[A.BasicTransform] = []
        if rotation or self.zoom != (1, 1):
            border: dict[str, Any] = {"border_mode": cv2.BORDER_REFLECT}
            if fill != REFLECT:
                border = {"border_mode": cv2.BORDER_CONSTANT, "fill": fill}
            angles = (-rotation, rotation)
            steps.append(A.Affine(rotate=angles, scale=self.zoom, p=1.0, **border))
        if flip:
            steps.append(A.HorizontalFlip(p=flip))
        super().__init__(steps)


@dataclass(frozen=True)
class Warp:
    """Rotation, crop and flip by one interpolation, then grey values by one table, then blur.

    A chain of transforms rounds to 8 bits after each of its steps and clips grey values in between;
    this one rounds once, and takes a quarter of the time (docs/notes/speedrun.md).

    Args:
        rotation: largest angle to either side, degrees.
        area: smallest and largest share of the image's area that a crop shows, in (0, 1].
        ratio: smallest and largest width / height of a crop, drawn on a logarithmic scale. A side
            is at most the image's.
        flip: probability of a horizontal flip.
        gamma: smallest and largest exponent of grey values in [0, 1], on a logarithmic scale.
        contrast: largest change of the contrast around mid-grey, as a share.
        brightness: largest change of the brightness, as a share of 255.
        blur: probability of a Gaussian blur with a sigma of 0.3 to 1.2 pixels.

    Raises ValueError if a range is empty, or a value outside its limits.
    """

    rotation: float = 15.0
    area: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (0.72, 1.39)
    flip: float = 0.5
    gamma: tuple[float, float] = (0.55, 1.82)
    contrast: float = 0.3
    brightness: float = 0.3
    blur: float = 0.3

    def __post_init__(self) -> None:
        for name, most in (("area", 1.0), ("ratio", math.inf), ("gamma", math.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= most:
                raise ValueError(f"{name} must be a range above 0, up to {most:g}; got {low, high}")
        for name in ("flip", "blur", "contrast", "brightness"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1]; got {getattr(self, name)}")

    def __call__(self, image: np.ndarray, *, seed: int, side: int | None = None) -> np.ndarray:
        """Returns (side, side) uint8 of (S, S) uint8; the same seed draws the same change.

        ``side``: of the result; None for S. Pixels from outside the image are mirrored at its
        border.
        """
        draw = np.random.Generator(np.random.PCG64(seed))
        side = side or len(image)
        matrix = self._matrix(draw, len(image) / side, side)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        border = cv2.BORDER_REFLECT
        result = cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=border)
        result = cv2.LUT(result, self._grey_values(draw))
        if draw.random() < self.blur:
            result = cv2.GaussianBlur(result, (0, 0), draw.uniform(0.3, 1.2))
        return result

    def _matrix(self, draw: np.random.Generator, step: float, side: int) -> np.ndarray:
        """Returns (2, 3): pixels of the result to pixels of the image, ``step`` apart uncropped."""
        angle = math.radians(draw.uniform(-self.rotation, self.rotation))
        area, ratio = draw.uniform(*self.area), _log_uniform(draw, self.ratio)
        width, height = min(1.0, math.sqrt(area * ratio)), min(1.0, math.sqrt(area / ratio))
        centre = [draw.uniform(part / 2, 1 - part / 2) * step * side for part in (width, height)]
        mirror = -1 if draw.random() < self.flip else 1
        cos, sin = math.cos(angle), math.sin(angle)
        turn = step * np.array([[cos * mirror, -sin], [sin * mirror, cos]]) * [width, height]
        # OpenCV's coordinates are those of the pixels' centres
        middle = np.full(2, (side - 1) / 2)
        shift = np.array(centre) - 0.5 - turn @ middle
        return np.concatenate([turn, shift[:, None]], axis=1)

    def _grey_values(self, draw: np.random.Generator) -> np.ndarray:
        """Returns (256,) uint8: gamma, then contrast and brightness, of each grey value."""
        value = (np.arange(256) / 255) ** _log_uniform(draw, self.gamma)
        contrast = 1 + draw.uniform(-self.contrast, self.contrast)
        brightness = draw.uniform(-self.brightness, self.brightness)
        value = (value - 0.5) * contrast + 0.5 + brightness
        return (value * 255).round().clip(0, 255).astype(np.uint8)


def _log_uniform(draw: np.random.Generator, limits: tuple[float, float]) -> float:
    low, high = np.log(limits)
    return math.exp(draw.uniform(low, high))


Augmentation = Pipeline | Warp


class BoxAugment:
    """Augments one image and its boxes by albumentations; the image as Pipeline does.

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
