"""Changes of prepared images that occur between hospitals, at five severities each.

They are the differences between radiographs that the paper lists (section II, points 5 to 10):
JPEG compression, resolution, scale, centring, writings and foreign objects; and exposure, noise and
rotation, which differ between machines and operators.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import albumentations as A  # noqa: N812
import cv2
import numpy as np

from pneumo.data.augment import Pipeline

WHITE = 255
MIRRORED = cv2.BORDER_REFLECT_101
BLACK: dict[str, Any] = {"border_mode": cv2.BORDER_CONSTANT, "fill": 0}


class Change(Protocol):
    """A change of one image."""

    def __call__(self, image: np.ndarray, *, seed: int) -> np.ndarray:
        """Returns (S, S) uint8 of (S, S) uint8, which stays; equal seeds draw equal changes."""


@dataclass(frozen=True)
class Corruption:
    """A kind of change, from mild to strong.

    Directions, places and signs are drawn for each image, since images differ within a hospital.
    """

    name: str
    unit: str  # of the severities
    severities: tuple[float, float, float, float, float]
    at: Callable[[float], Change]  # of one of the severities


def _either(*transforms: A.BasicTransform) -> Change:
    return Pipeline([A.OneOf(transforms, p=1.0)])


def _affine(**changes: Any) -> A.BasicTransform:
    return A.Affine(p=1.0, **{"border_mode": MIRRORED, **changes})


def _scaled(scale: float, **border: Any) -> Change:
    return Pipeline([_affine(scale=scale, **border)])


def _zoom(cut: float) -> float:
    """Returns the scale that cuts so many % of the side."""
    return 1 / (1 - cut / 100)


def _corner(cut: float) -> Change:
    """Returns the crop at one of the four corners."""
    shift = (_zoom(cut) - 1) / 2
    moves = [{"x": x * shift, "y": y * shift} for x in (-1, 1) for y in (-1, 1)]
    return _either(*(_affine(scale=_zoom(cut), translate_percent=move) for move in moves))


def _aspect(cut: float) -> Change:
    sides = {"x": 1.0, "y": 1.0}
    return _either(*(_affine(scale=sides | {side: _zoom(cut)}) for side in sides))


def _gamma(change: float) -> Change:
    exponents = (100 * (1 + change), 100 * (1 - change))  # per cent
    return _either(*(A.RandomGamma((each, each), p=1.0) for each in exponents))


def _contrast(change: float) -> Change:
    """Returns the scaling of distances from the image's mean grey value."""
    same: dict[str, Any] = {"brightness": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
    factors = (1 + change, 1 - change)
    return _either(*(A.ColorJitter(contrast=(each, each), **same, p=1.0) for each in factors))


def _blurred(sigma: float) -> Change:
    # a share of the side, which a transform of albumentations does not know
    return lambda image, *, seed: cv2.GaussianBlur(image, (0, 0), sigma / 100 * len(image))


def _jpeg(quality: float) -> Change:
    return Pipeline([A.ImageCompression(quality_range=(int(quality), int(quality)), p=1.0)])


def _resampled(share: float) -> Change:
    ways: Any = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
    step = A.Downscale(scale_range=(share, share), interpolation_pair=ways, p=1.0)
    return Pipeline([step])


def _marked(height: float) -> Change:
    """Returns the drawing of a white R or L into the upper left or right corner."""

    def draw(image: np.ndarray, *, seed: int) -> np.ndarray:
        random, side, font = Random(seed), len(image), cv2.FONT_HERSHEY_SIMPLEX  # noqa: S311
        letter, thickness = random.choice("RL"), max(1, side // 75)
        scale = height / 100 * side / cv2.getTextSize(letter, font, 1, 1)[0][1]
        (across, down), _ = cv2.getTextSize(letter, font, scale, thickness)
        margin = round(random.uniform(0.03, 0.08) * side)
        corner = (random.choice((margin, side - margin - across)), margin + down)
        return cv2.putText(image.copy(), letter, corner, font, scale, WHITE, thickness, cv2.LINE_AA)

    return draw


def _with_electrode(diameter: float) -> Change:
    """Returns the drawing of a white disc on the chest, with a lead to the lower border."""

    def draw(image: np.ndarray, *, seed: int) -> np.ndarray:
        random, side = Random(seed), len(image)  # noqa: S311
        size = diameter / 100 * side
        x, y = (round(random.uniform(0.25, 0.75) * side) for _ in range(2))
        end = (round(random.uniform(0, 1) * side), side)
        lead, radius = (max(1, round(size / part)) for part in (12, 2))
        drawn = cv2.line(image.copy(), (x, y), end, WHITE, lead, cv2.LINE_AA)
        return cv2.circle(drawn, (x, y), radius, WHITE, cv2.FILLED, cv2.LINE_AA)

    return draw


# Gamma, contrast, JPEG, blur, noise and resolution have the severities of MedMNIST-C for
# PneumoniaMNIST at 224 px (Di Salvo et al., 2024, arXiv 2406.17536), which follows ImageNet-C
# (Hendrycks and Dietterich, ICLR 2019); its blurs by kernels of 3 to 11 px have a sigma of 0.8 to
# 2.0 px. The others are chosen such that both lungs stay in the image, and a black border weighs
# about as much in the mean as other changes: networks trained on images without one fail first by
# it.
CUTS, STEPS, FACTORS = (4, 8, 12, 16, 20), (3, 6, 9, 12, 15), (0.1, 0.2, 0.3, 0.4, 0.6)
_ROWS: tuple[tuple[Any, ...], ...] = (
    ("centre crop", "% of the side cut", CUTS, lambda cut: _scaled(_zoom(cut))),
    ("off-centre crop", "% of the side cut, at one corner", CUTS, _corner),
    ("smaller chest", "% of the side added, mirrored", STEPS, lambda add: _scaled(1 - add / 100)),
    (
        *("black border", "% of the side, at each side", (1, 2, 3, 4, 5)),
        lambda width: _scaled(1 - width / 50, **BLACK),
    ),
    ("aspect", "% of width or height cut, the rest stretched", (5, 10, 15, 20, 25), _aspect),
    (
        *("rotation", "degrees, to either side", STEPS),
        lambda angle: _either(_affine(rotate=angle), _affine(rotate=-angle)),
    ),
    ("gamma", "exponent, more or less than 1", FACTORS, _gamma),
    ("contrast", "factor, more or less than 1", FACTORS, _contrast),
    ("JPEG", "quality", (50, 30, 15, 10, 7), _jpeg),
    ("blur", "sigma, % of the side", (0.36, 0.49, 0.63, 0.76, 0.89), _blurred),
    (
        *("noise", "standard deviation, of white", (0.04, 0.05, 0.06, 0.07, 0.08)),
        lambda std: Pipeline([A.GaussNoise(std_range=(std, std), p=1.0)]),
    ),
    ("resolution", "share of the pixels across", (0.8, 0.7, 0.6, 0.5, 0.4), _resampled),
    ("burnt-in marker", "height of the letter, % of the side", (6, 8, 10, 12, 14), _marked),
    (
        *("foreign object", "diameter of an electrode, % of the side", (4, 6, 8, 10, 12)),
        _with_electrode,
    ),
)
CORRUPTIONS = tuple(Corruption(*row) for row in _ROWS)
