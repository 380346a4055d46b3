"""Draws schematic chest radiographs, in the layout of the real data set, which they replace."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pneumo import atomic, cli
from pneumo.data.boxes import SIDES, per_image
from pneumo.labels import BACTERIA, SUBTYPES, VIRUS

log = logging.getLogger(__name__)

SUBTYPE_SHARES = (0.27, 0.485, 0.245)  # of SUBTYPES, as in the real set (Kermany et al., 2018)
TEST_SHARE = 0.15
IMAGES_OF_PATIENTS = {  # taken in turn; the real set's means are 1.1 (NORMAL), 1.6 (PNEUMONIA)
    "normal": (1, 1, 1, 2, 1, 1, 1, 1, 1, 1),
    BACTERIA: (2, 1, 1, 3, 1),
    VIRUS: (2, 1, 1, 3, 1),
}
NUM_IMAGES = 400
MIN_IMAGES = 24  # with fewer, a subtype has no patient with several images
STAMP = "phantom.json"  # beside train/ and test/: what was asked for
VERSION = 1  # of the drawing: raise it when the same seed gives other pictures

BOXES = "boxes.csv"  # beside train/ and test/: where the opacities are, written when asked for
OPAQUE = 0.3  # share of the air that is lost within a box's opacity, chosen by eye
MIN_BOX = 0.04  # of the radiograph's height; what is narrower is no opacity to be seen

# Anatomy is drawn in units of half a chest's height: x to the right, y down, (0, 0) the middle.
UNIT = 200  # pixels
REACH = np.array((1.6, 1.3))  # the drawn area is ±REACH
SHAPE = (round(2 * REACH[1] * UNIT), round(2 * REACH[0] * UNIT))

Map = NDArray[np.float32]  # SHAPE, a density or a share of one
Points = list[tuple[float, float]]
Line = tuple[NDArray[np.float64], float]  # points (n, 2), width


@dataclass(frozen=True)
class Anatomy:
    """One person's chest: lengths in half chest heights, densities in parts of soft tissue's."""

    seed: int  # of what is particular: vessels, place and kind of an opacity
    width: float  # from the middle to the side of the rib cage
    apex: float  # y of the lungs' tops
    bases: tuple[float, float]  # y of the two halves of the diaphragm
    heart: float  # half width
    thymus: float  # density; a normal shadow in many a child's upper chest, none below 0
    markings: float  # density of the vessels
    rib: float  # density
    rib_slope: float
    spine: float  # half width
    fat: float  # thickness of the wall outside the ribs
    arm: float  # angle of the upper arms below the horizontal, radians


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Returns another person for each state of rng; the ranges were chosen by eye."""
    base = rng.uniform(0.42, 0.66)
    return Anatomy(
        seed=int(rng.integers(2**31)),
        width=rng.uniform(0.72, 0.98),
        apex=rng.uniform(-0.8, -0.66),
        bases=(base, base + rng.uniform(0.0, 0.1)),
        heart=rng.uniform(0.28, 0.38),
        thymus=rng.uniform(-0.4, 0.4),
        markings=rng.uniform(0.05, 0.22),
        rib=rng.uniform(0.08, 0.17),
        rib_slope=rng.uniform(0.1, 0.32),
        spine=rng.uniform(0.075, 0.1),
        fat=rng.uniform(0.06, 0.2),
        arm=rng.uniform(-0.9, 1.3),
    )


def _blur(image: Map, soft: float) -> Map:
    """Gaussian blur by `soft` units, on a smaller copy where it is wide (the same to the eye)."""
    step = max(1, int(soft * UNIT / 3))
    small_size = (SHAPE[1] // step, SHAPE[0] // step)
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(soft * UNIT / step, 0.3))
    return np.asarray(cv2.resize(small, SHAPE[::-1]), np.float32)


def _pixels(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Units → pixels with the 3 fractional bits that cv2 calls `shift`."""
    return np.asarray(np.round((points + REACH) * UNIT * 8), np.int32)


def _area(points: Points, *, soft: float) -> Map:
    """Returns 1 inside the smooth closed curve along the points, 0 outside."""
    curve = np.array(points)
    for _ in range(3):  # Chaikin's corner cutting
        after = np.roll(curve, -1, axis=0)
        pairs = np.stack((0.75 * curve + 0.25 * after, 0.25 * curve + 0.75 * after), 1)
        curve = pairs.reshape(-1, 2)
    image = np.zeros(SHAPE, np.float32)
    cv2.fillPoly(image, [_pixels(curve)], (1.0,), shift=3)
    return _blur(image, soft)


def _lines(lines: Iterable[Line], *, soft: float) -> Map:
    """Returns 1 on the lines, 0 elsewhere."""
    image = np.zeros(SHAPE, np.float32)
    for points, width in lines:
        cv2.polylines(image, [_pixels(points)], False, (1.0,), max(1, round(width * UNIT)), shift=3)
    return _blur(image, soft)


def _noise(rng: np.random.Generator, *, cells: int) -> Map:
    """Smooth noise, mean 0, deviation about 0.7, `cells` bumps from top to bottom."""
    grid = rng.standard_normal((cells, round(cells * SHAPE[1] / SHAPE[0])), np.float32)
    return np.asarray(cv2.resize(grid, SHAPE[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _sigmoid(image: Map) -> Map:
    return np.asarray(1 / (1 + np.exp(-image)), np.float32)


def _lung(a: Anatomy, side: int) -> Map:
    base = a.bases[(side + 1) // 2]
    half = [(0.1, a.apex + 0.25), (0.2, a.apex - 0.03), (0.4, a.apex), (0.8 * a.width, -0.35)]
    half += [(a.width, 0.1), (a.width * 1.03, base + 0.2), (0.65 * a.width, base - 0.08)]
    half += [(0.3, base - 0.1), (0.08, base + 0.05)]
    return _area([(side * x, y) for x, y in half], soft=0.012)


def _ribs(a: Anatomy) -> Map:
    """Nine pairs: down and outwards from the spine (behind), then back inwards, fainter (front)."""
    t = np.linspace(0, 1, 24)
    behind, inner, front = [], [], []
    for top in np.linspace(a.apex - 0.02, a.bases[0] + 0.1, 9):
        width = 1.06 * a.width * np.sqrt(max(0.0, 1 - ((0.4 - top) / 1.3) ** 2))
        y = top - 0.06 * np.sin(np.pi * t) + a.rib_slope * t**2
        for side in (-1, 1):
            arc = np.stack((side * (0.06 + (width - 0.06) * np.sin(t * np.pi / 2)), y), 1)
            back = np.stack((side * width * (1 - 0.62 * t**2), y[-1] + 0.3 * t), 1)
            behind.append((arc, 0.06))
            inner.append((arc, 0.03))
            front.append((back, 0.07))
    rim = _lines(behind, soft=0.006) - 0.45 * _lines(inner, soft=0.008)  # the cortex is denser
    return np.asarray(rim + 0.5 * _lines(front, soft=0.012), np.float32)


def _vessels(rng: np.random.Generator) -> Map:
    """Branches that leave both hila and get thinner outwards, as every lung has them."""
    lines: list[Line] = []
    for side in (-1, 1):
        for angle in rng.uniform(-1.3, 1.4, 11):
            point, width = np.array((side * 0.17, rng.normal(0, 0.06))), 0.035
            for _ in range(5):
                angle += rng.normal(0, 0.3)
                end = point + 0.12 * np.array((side * np.cos(angle), np.sin(angle)))
                lines.append((np.stack((point, end)), width))
                point, width = end, width * 0.72
    return _lines(lines, soft=0.01)


def _skeleton(a: Anatomy) -> Map:
    """Ribs, spine, collar bones, shoulder blades and upper arms."""
    spine = _lines([(np.array(((0, -1.3), (0, 1.3))), 2 * a.spine)], soft=0.02)
    levels = np.arange(-1.3, 1.3, 0.125)
    discs = _lines([(np.array(((-a.spine, y), (a.spine, y))), 0.025) for y in levels], soft=0.008)
    shoulder = (a.width + 0.1, -0.7)
    elbow = (shoulder[0] + np.cos(a.arm), shoulder[1] + np.sin(a.arm))
    collar = ((0.07, a.apex + 0.08), (0.3, a.apex - 0.02), (a.width - 0.05, a.apex - 0.1))
    blade = ((a.width, a.apex), (a.width - 0.1, -0.2))
    widths = ((collar, 0.06), ((shoulder, elbow), 0.1), (blade, 0.05))
    bones = [(np.array(points) * (side, 1), w) for points, w in widths for side in (-1, 1)]
    image = a.rib * _ribs(a) + 0.16 * spine - 0.04 * discs + 0.13 * _lines(bones, soft=0.01)
    return np.asarray(image, np.float32)


def _body(a: Anatomy) -> Map:
    """Soft tissue: trunk, neck and arms, thinner towards the edges."""
    wall = a.width + a.fat
    half = [(0.2, -1.6), (0.22, -0.95), (wall, -0.85), (wall + 0.04, -0.4), (wall, 0.3)]
    half += [(wall, 1.7)]
    trunk = _area([*half, *[(-x, y) for x, y in reversed(half)]], soft=0.03)
    elbow = (a.width + 0.1 + 1.5 * np.cos(a.arm), -0.7 + 1.5 * np.sin(a.arm))
    arm = np.array(((a.width - 0.05, -0.72), elbow))
    arms = _lines([(arm * (side, 1), 0.24 + a.fat) for side in (-1, 1)], soft=0.03)
    tissue = np.maximum(trunk, 0.75 * arms)
    return np.asarray(tissue * (0.55 + 0.45 * _blur(tissue, 0.12)), np.float32)


def _mediastinum(a: Anatomy) -> Map:
    """Heart, great vessels and thymus: the share of the lungs' air that they cover."""
    base, w = max(a.bases), a.heart
    heart = [(-0.13, -0.3), (0.1, -0.35), (0.2, -0.15), (1.35 * w, 0.15), (1.5 * w, base - 0.12)]
    heart += [(0.8 * w, base + 0.12), (-0.4 * w, base + 0.1), (-0.75 * w, base - 0.2)]
    stalk = [(-0.13, -1.3), (0.13, -1.3), (0.16, -0.4), (0.15, 1.1), (-0.15, 1.1), (-0.15, -0.4)]
    sail = [(-0.3, -0.6), (0.28, -0.6), (0.38, -0.2), (0.1, -0.1), (-0.34, -0.25)]
    solid = np.maximum(0.85 * _area(heart, soft=0.02), 0.95 * _area(stalk, soft=0.02))
    return np.asarray(np.maximum(solid, max(0.0, a.thymus) * _area(sail, soft=0.03)), np.float32)


def _consolidation(rng: np.random.Generator, a: Anatomy) -> Map:
    """Bacterial: one dense patch with a blurred border in one lobe; the share of air it takes."""
    x0 = rng.choice((-1, 1)) * rng.uniform(0.48, 0.72) * a.width
    y0 = rng.uniform(a.apex + 0.25, a.bases[0] - 0.15)
    radii = rng.uniform(0.28, 0.48, 2)
    y, x = np.mgrid[-REACH[1] : REACH[1] : SHAPE[0] * 1j, -REACH[0] : REACH[0] : SHAPE[1] * 1j]
    distance = np.hypot((x - x0) / radii[0], (y - y0) / radii[1]) + 0.22 * _noise(rng, cells=13)
    dense = rng.uniform(0.9, 1.0) - 0.3 * _sigmoid(6 * _noise(rng, cells=40))  # air bronchograms
    return np.asarray(dense * _sigmoid((1 - distance) * 8), np.float32)


def _interstitial(rng: np.random.Generator) -> Map:
    """Viral: patches and a fine net in both lungs; the share of air they take."""
    patches = _sigmoid(3 * (_noise(rng, cells=11) + _noise(rng, cells=22)))
    net = np.exp(-((_noise(rng, cells=34) / 0.3) ** 2))
    strength = rng.uniform(0.6, 0.9)
    return np.asarray(strength * (0.25 + 0.5 * patches + 0.35 * net * patches), np.float32)


def _opacity(a: Anatomy, subtype: str) -> Map | None:
    """The share of the lungs' air that pneumonia takes; None of a normal chest."""
    rng = np.random.default_rng((a.seed, SUBTYPES.index(subtype)))
    if subtype == BACTERIA:
        return _consolidation(rng, a)
    return _interstitial(rng) if subtype == VIRUS else None


def _attenuation(a: Anatomy, subtype: str) -> Map:
    """What the rays meet on their way through the chest: about 0 (air) to 1.2 (spine)."""
    air = np.maximum(_lung(a, -1), _lung(a, 1)) * (1 - _mediastinum(a))
    air *= 1 - a.markings * _vessels(np.random.default_rng(a.seed))
    opacity = _opacity(a, subtype)
    if opacity is not None:
        air *= 1 - opacity
    body = _body(a)
    return np.asarray(body * (0.8 - 0.52 * air) + _skeleton(a) * (body > 0.1), np.float32)


def _tube(rng: np.random.Generator) -> Map:
    """A line from the neck into the chest, or a wire across it; half of them end in a disc."""
    t = np.linspace(0, 1, 30)
    start, end = (rng.uniform(-0.1, 0.1), -1.3), (rng.uniform(-0.2, 0.3), rng.uniform(-0.2, 1.1))
    if rng.random() < 0.5:
        start = (1.6 * rng.choice((-1, 1)), rng.uniform(-1, 1))
        end = (rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7))
    line = np.outer(1 - t, start) + np.outer(t, end)
    line[:, 0] += rng.normal(0, 0.15) * np.sin(np.pi * t)
    disc = (line[-1:].repeat(2, axis=0), 0.05 * rng.integers(2))
    return _lines([(line, 0.015), disc], soft=0.004)


def _device(rng: np.random.Generator) -> Map | float:
    """A tube or a wire on three radiographs of ten, on the others nothing."""
    if rng.random() < 0.3:
        return np.float32(rng.uniform(0.1, 0.3)) * _tube(rng)
    return 0.0


def _view(rng: np.random.Generator) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Where the chest lies on a radiograph: another size, shape, place, scale, angle each time.

    Returns the (2, 3) matrix from the drawn area to the radiograph's pixels, and (width, height).
    """
    width = int(rng.integers(300, 901))
    height = round(width * rng.uniform(0.65, 1.0))
    scale = height / (2.2 * UNIT) * rng.uniform(0.92, 1.2)
    turn = cv2.getRotationMatrix2D((SHAPE[1] / 2, SHAPE[0] / 2), rng.uniform(-8, 8), scale)
    middle = np.array((width, height)) / 2 + rng.uniform(-0.06, 0.06, 2) * height
    turn = turn + np.outer(middle - np.array(SHAPE[::-1]) / 2, (0, 0, 1))
    return np.asarray(turn, np.float64), (width, height)


def _seen(drawn: Map, view: tuple[NDArray[np.float64], tuple[int, int]]) -> NDArray[np.float32]:
    """(H, W) of what is drawn in the units of anatomy, as `_view` places it."""
    return np.asarray(cv2.warpAffine(drawn, *view), np.float32)


def _expose(rng: np.random.Generator, radiograph: NDArray[np.float32]) -> NDArray[np.float32]:
    """Uneven beam, scatter, gamma and grain, then a mean brightness that is drawn, not measured.

    Without the last step an opacity would show in the brightness of the whole radiograph.
    """
    height, width = radiograph.shape
    slope_x, slope_y, vignette = *rng.uniform(-0.1, 0.1, 2), rng.uniform(0, 0.15)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    lit = radiograph * (1 + slope_x * x + slope_y * y - vignette * (x * x + y * y))
    lit = rng.uniform(0, 0.08) + np.maximum(lit, 0) ** rng.uniform(0.9, 1.5)
    lit = lit + rng.uniform(0.006, 0.03) * rng.standard_normal(radiograph.shape, np.float32)
    lit = lit * rng.uniform(0.35, 0.5) / lit.mean()
    return np.asarray(1 - np.logaddexp(0, 12 * (1 - lit)) / 12, np.float32)  # a soft shoulder


def _mark(rng: np.random.Generator, radiograph: NDArray[np.uint8]) -> None:
    """Writes the side's letter, and on some radiographs the tube's voltage, onto the radiograph."""
    height, width = radiograph.shape
    size, side = height * rng.uniform(0.0015, 0.004), int(rng.integers(2))
    place = (round(width * (0.03 + 0.88 * side)), round(height * rng.uniform(0.08, 0.6)))
    texts = [("RL"[side], place)] if rng.random() < 0.8 else []
    if rng.random() < 0.2:
        texts.append((f"KV{rng.integers(50, 90)}", (round(width * 0.8), round(height * 0.97))))
    for text, corner in texts:
        cv2.putText(
            radiograph, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, (255,), 1, cv2.LINE_AA
        )


def draw_radiograph(
    rng: np.random.Generator, *, subtype: str, anatomy: Anatomy
) -> NDArray[np.uint8]:
    """Returns one image of one person: (H, W) uint8, 300 to 900 wide, air dark and bone bright.

    The opacity depends on the person; size, place, exposure, letters, tubes and grain on rng only,
    so they tell nothing about the subtype.

    Raises:
        ValueError: if subtype is not one of SUBTYPES.
    """
    if subtype not in SUBTYPES:
        raise ValueError(f"subtype must be one of {', '.join(SUBTYPES)}; got {subtype!r}")
    chest = _attenuation(anatomy, subtype)
    chest += _device(rng)
    seen = _seen(chest, _view(rng))
    radiograph = np.clip(255 * _expose(rng, seen), 0, 255).astype(np.uint8)
    _mark(rng, radiograph)
    return radiograph


def draw_boxes(
    rng: np.random.Generator, *, subtype: str, anatomy: Anatomy
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Returns where the opacities of a radiograph are, and its (width, height) in pixels.

    The radiograph is the one that draw_radiograph draws with the same arguments, rng in the same
    state. The boxes are (N, 4), x_min, y_min, x_max, y_max: one around what has lost OPAQUE of its
    air in each lung, so one of a bacterial and two of a viral pneumonia, none of a normal chest.
    """
    _device(rng)  # which draws from rng too
    view = _view(rng)
    opacity = _opacity(anatomy, subtype)
    found = []
    if opacity is not None:
        lost = opacity * (1 - _mediastinum(anatomy))
        for side in (-1, 1):
            dense = _seen(np.asarray(lost * _lung(anatomy, side), np.float32), view) > OPAQUE
            x, y, width, height = cv2.boundingRect(dense.astype(np.uint8))
            if min(width, height) > MIN_BOX * view[1][1]:
                found.append((x, y, x + width, y + height))
    return np.array(found, np.float64).reshape(-1, 4), view[1]


@dataclass(frozen=True)
class _Radiograph:
    """One file of the set; radiographs of equal `person` and `number` are the same picture."""

    path: str  # below the root
    subtype: str
    person: tuple[int, int, int]  # split, subtype, number
    number: int  # counts a subtype's radiographs


def _radiographs(
    split: int, subtype: str, *, num_radiographs: int, numbers: Iterator[int]
) -> Iterator[_Radiograph]:
    """Yields the images of one subtype in train (split 0) or test (1), named as the real ones.

    In PNEUMONIA, train and test use the same numbers for different people; so does the real set.
    """
    folder = f"{('train', 'test')[split]}/{'NORMAL' if subtype == 'normal' else 'PNEUMONIA'}"
    sizes = cycle(IMAGES_OF_PATIENTS[subtype])
    for patient in count(1):
        takes = [next(numbers) for _ in range(min(next(sizes), num_radiographs))]
        num_radiographs -= len(takes)
        if not takes:
            return
        key = takes[0] if subtype == "normal" else patient
        for k, number in enumerate(takes, 1):
            name = f"person{key}_{subtype}_{number}"
            if subtype == "normal":
                fourth = f"-{k:04d}" if len(takes) > 1 or key % 7 == 0 else ""
                name = f"{('IM', 'NORMAL2-IM')[key % 2]}-{key:04d}-0001{fourth}"
            person = (split, SUBTYPES.index(subtype), key)
            yield _Radiograph(f"{folder}/{name}.jpeg", subtype, person, number)


def _plan(num_images: int) -> list[_Radiograph]:
    """Every file of the set, a few of them byte for byte the same, as in the real one."""
    num_test = round(TEST_SHARE * num_images)
    numbers = {subtype: count(1) for subtype in SUBTYPES}
    radiographs: list[_Radiograph] = []
    for split, num_split in enumerate((num_images - num_test, num_test)):
        sizes = [round(share * num_split) for share in SUBTYPE_SHARES]
        sizes[1] += num_split - sum(sizes)
        for subtype, size in zip(SUBTYPES, sizes, strict=True):
            radiographs += _radiographs(
                split, subtype, num_radiographs=size, numbers=numbers[subtype]
            )
    radiographs[1] = replace(
        radiographs[1], person=radiographs[0].person, number=radiographs[0].number
    )  # two patients
    takes = [i for i in range(2, num_images) if radiographs[i].person == radiographs[i - 1].person]
    for i in takes[::40]:
        radiographs[i] = replace(radiographs[i], number=radiographs[i - 1].number)
    return radiographs


def _drawn_by(radiograph: _Radiograph, *, seed: int) -> tuple[np.random.Generator, Anatomy]:
    anatomy = draw_anatomy(np.random.default_rng((seed, *radiograph.person)))
    return np.random.default_rng((seed, *radiograph.person, radiograph.number)), anatomy


def _write(radiograph: _Radiograph, *, root: Path, seed: int) -> None:
    """Draws and saves one radiograph; its bytes depend on seed, person and number."""
    rng, anatomy = _drawn_by(radiograph, seed=seed)
    image = Image.fromarray(draw_radiograph(rng, subtype=radiograph.subtype, anatomy=anatomy))
    mode = "RGB" if rng.random() < 0.15 else "L"
    quality = int(rng.choice((75, 85, 95)))  # 75 and 95 are the real set's
    image.convert(mode).save(root / radiograph.path, quality=quality)


def _write_all(
    radiographs: list[_Radiograph], *, root: Path, seed: int, num_workers: int, bar: bool
) -> None:
    for radiograph in radiographs:
        (root / radiograph.path).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(num_workers) as pool:  # cv2, numpy and Pillow let go of the GIL
        done = pool.map(partial(_write, root=root, seed=seed), radiographs)
        for _ in tqdm(done, "phantoms", len(radiographs), unit="image", disable=not bar):
            pass


def _is_there(root: Path, *, radiographs: list[_Radiograph], stamp: str) -> bool:
    """Returns True if root holds these very radiographs, False if there is no root at all."""
    if not root.exists():
        return False
    stamp_path = root / STAMP
    found = stamp_path.read_text() if stamp_path.is_file() else "other files"
    if found == stamp and all((root / radiograph.path).is_file() for radiograph in radiographs):
        return True
    found = "a part of it" if found == stamp else found
    raise ValueError(
        f"{root} must be a new folder or hold the whole of {stamp}; got {found}: "
        "delete it or name another folder"
    )


def generate(
    root: Path,
    *,
    num_images: int = NUM_IMAGES,
    seed: int = 0,
    num_workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Returns root, which then holds train/ and test/, each with NORMAL/ and PNEUMONIA/.

    The folder appears whole or not at all, and is left as it is if it is already there. The same
    seed gives the same bytes, whatever num_workers (default: all cores). `progress` logs a line,
    and shows a bar on a terminal.

    Raises:
        ValueError: if num_images is under MIN_IMAGES, seed is negative, or root holds other files.
    """
    if num_images < MIN_IMAGES:
        raise ValueError(f"num_images must be at least {MIN_IMAGES}; got {num_images}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more; got {seed}")
    radiographs = _plan(num_images)
    stamp = json.dumps({"num_images": num_images, "seed": seed, "version": VERSION})
    if _is_there(root, radiographs=radiographs, stamp=stamp):
        return root
    bar = progress and sys.stderr.isatty()
    if progress:
        log.info("Drawing %d phantoms into %s", num_images, root)
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = atomic.temporary(root)
    num_workers = num_workers or os.cpu_count() or 1
    try:
        _write_all(radiographs, root=draft, seed=seed, num_workers=num_workers, bar=bar)
        (draft / STAMP).write_text(stamp)
        try:
            draft.rename(root)
        except OSError:
            if not _is_there(
                root, radiographs=radiographs, stamp=stamp
            ):  # else another process was first
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root


def boxes(root: Path) -> pd.DataFrame:
    """Returns a row for each radiograph in a folder of `generate`: path, boxes, width, height.

    Boxes are those of `draw_boxes`. They are worked out at the first call, and kept in BOXES.
    """
    path = root / BOXES
    if not path.is_file():
        asked = json.loads((root / STAMP).read_text())
        radiographs = _plan(asked["num_images"])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            rows = [
                row
                for part in pool.map(partial(_box_rows, seed=asked["seed"]), radiographs)
                for row in part
            ]
        with atomic.replacing(path) as draft:
            pd.DataFrame(rows, columns=["path", "width", "height", *SIDES]).to_csv(
                draft, index=False
            )
    return per_image(pd.read_csv(path))


def _box_rows(radiograph: _Radiograph, *, seed: int) -> list[tuple[Any, ...]]:
    """A row a box; of a radiograph without, one with empty sides."""
    rng, anatomy = _drawn_by(radiograph, seed=seed)
    found, (width, height) = draw_boxes(rng, subtype=radiograph.subtype, anatomy=anatomy)
    sides = [tuple(box) for box in found] or [(None,) * 4]
    return [(radiograph.path, width, height, *box) for box in sides]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command python -m pneumo.data.phantom; returns its exit code."""
    parser = cli.Parser(
        "data.phantom",
        description="Writes generated radiographs: for trying the software, not for medicine.",
        epilog="examples:\n  python -m pneumo.data.phantom --layout rsna --out phantoms\n",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--layout",
        choices=("kermany", "rsna"),
        default="kermany",
        help="of Kermany et al. (JPEG) or of the RSNA challenge (DICOM, boxes)",
    )
    parser.add_argument("--num-images", type=int, default=NUM_IMAGES, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    asked = parser.parse(arguments)

    def write() -> int:
        from pneumo.data import phantom_rsna  # late: it imports this module

        make = phantom_rsna.write if asked.layout == "rsna" else generate
        made = make(asked.out, num_images=asked.num_images, seed=asked.seed)
        sys.stdout.write(f"{asked.num_images} generated radiographs: {made}\n")
        return 0

    return cli.run(write)


if __name__ == "__main__":
    sys.exit(main())
