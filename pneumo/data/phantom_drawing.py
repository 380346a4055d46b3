"""Draws schematic chest radiographs of one person, and boxes around their opacities."""

from collections.abc import Iterable
from types import SimpleNamespace

import cv2
import numpy as np

from pneumo.labels import BACTERIA, SUBTYPES, VIRUS

VERSION = 1  # of the drawing: increase it if a seed draws other pictures
OPAQUE = 0.3  # share of the air that is lost within a box's opacity, chosen by eye
MIN_BOX = 0.04  # of the radiograph's height; narrower opacities are not visible

# Anatomy is drawn in units of half a chest's height: x to the right, y down, (0, 0) the middle.
UNIT = 200  # pixels
REACH = np.array((1.6, 1.3))  # the drawn area is ±REACH
SHAPE = (round(2 * REACH[1] * UNIT), round(2 * REACH[0] * UNIT))

Map = np.ndarray  # SHAPE float32, a density or a share of one
Points = list[tuple[float, float]]
Line = tuple[np.ndarray, float]  # points (n, 2), width

# Of one person's chest, drawn in this order; the ranges were chosen by eye. Lengths are in half
# chest heights, densities relative to soft tissue
RANGES = {
    "width": (0.72, 0.98),  # from the middle to the side of the rib cage
    "apex": (-0.8, -0.66),  # y of the lungs' tops
    "lower": (0.0, 0.1),  # by which the left half of the diaphragm is lower
    "heart": (0.28, 0.38),  # half width
    "thymus": (-0.4, 0.4),  # density; a normal shadow in many children, none below 0
    "markings": (0.05, 0.22),  # density of the vessels
    "rib": (0.08, 0.17),  # density
    "rib_slope": (0.1, 0.32),
    "spine": (0.075, 0.1),  # half width
    "fat": (0.06, 0.2),  # thickness of the wall outside the ribs
    "arm": (-0.9, 1.3),  # angle of the upper arms below the horizontal, radians
}


class Anatomy(SimpleNamespace):
    """One person's chest: RANGES, a seed, and bases, the y of the two halves of the diaphragm."""


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Returns a person for each state of rng."""
    base, seed = rng.uniform(0.42, 0.66), int(rng.integers(2**31))
    lengths = {name: rng.uniform(*limits) for name, limits in RANGES.items()}
    return Anatomy(seed=seed, bases=(base, base + lengths["lower"]), **lengths)


def _blur(image: Map, soft: float) -> Map:
    """Returns a Gaussian blur by `soft` units, on a smaller copy if wide (looks the same)."""
    step = max(1, int(soft * UNIT / 3))
    small_size = (SHAPE[1] // step, SHAPE[0] // step)
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(soft * UNIT / step, 0.3))
    return np.asarray(cv2.resize(small, SHAPE[::-1]), np.float32)


def _pixels(points: np.ndarray) -> np.ndarray:
    """Converts units to pixels with the 3 fractional bits that cv2 calls `shift`."""
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
    """Returns smooth noise, mean 0, deviation about 0.7, `cells` bumps from top to bottom."""
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
    """Returns nine pairs: outwards from the spine (behind), back inwards, fainter (front)."""
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
    return rim + 0.5 * _lines(front, soft=0.012)


def _vessels(rng: np.random.Generator) -> Map:
    """Returns branches that leave both hila and get thinner outwards."""
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
    """Returns ribs, spine, collar bones, shoulder blades and upper arms."""
    spine = _lines([(np.array(((0, -1.3), (0, 1.3))), 2 * a.spine)], soft=0.02)
    levels = np.arange(-1.3, 1.3, 0.125)
    discs = _lines([(np.array(((-a.spine, y), (a.spine, y))), 0.025) for y in levels], soft=0.008)
    shoulder = (a.width + 0.1, -0.7)
    elbow = (shoulder[0] + np.cos(a.arm), shoulder[1] + np.sin(a.arm))
    collar = ((0.07, a.apex + 0.08), (0.3, a.apex - 0.02), (a.width - 0.05, a.apex - 0.1))
    blade = ((a.width, a.apex), (a.width - 0.1, -0.2))
    widths = ((collar, 0.06), ((shoulder, elbow), 0.1), (blade, 0.05))
    bones = [(np.array(points) * (side, 1), w) for points, w in widths for side in (-1, 1)]
    return np.asarray(
        a.rib * _ribs(a) + 0.16 * spine - 0.04 * discs + 0.13 * _lines(bones, soft=0.01)
    )


def _body(a: Anatomy) -> Map:
    """Returns soft tissue: trunk, neck and arms, thinner towards the edges."""
    wall = a.width + a.fat
    half = [(0.2, -1.6), (0.22, -0.95), (wall, -0.85), (wall + 0.04, -0.4), (wall, 0.3)]
    half += [(wall, 1.7)]
    trunk = _area([*half, *[(-x, y) for x, y in reversed(half)]], soft=0.03)
    elbow = (a.width + 0.1 + 1.5 * np.cos(a.arm), -0.7 + 1.5 * np.sin(a.arm))
    arm = np.array(((a.width - 0.05, -0.72), elbow))
    arms = _lines([(arm * (side, 1), 0.24 + a.fat) for side in (-1, 1)], soft=0.03)
    tissue = np.maximum(trunk, 0.75 * arms)
    return np.asarray(tissue * (0.55 + 0.45 * _blur(tissue, 0.12)))


def _mediastinum(a: Anatomy) -> Map:
    """Returns heart, great vessels and thymus: the share of the lungs' air that they cover."""
    base, w = max(a.bases), a.heart
    heart = [(-0.13, -0.3), (0.1, -0.35), (0.2, -0.15), (1.35 * w, 0.15), (1.5 * w, base - 0.12)]
    heart += [(0.8 * w, base + 0.12), (-0.4 * w, base + 0.1), (-0.75 * w, base - 0.2)]
    stalk = [(-0.13, -1.3), (0.13, -1.3), (0.16, -0.4), (0.15, 1.1), (-0.15, 1.1), (-0.15, -0.4)]
    sail = [(-0.3, -0.6), (0.28, -0.6), (0.38, -0.2), (0.1, -0.1), (-0.34, -0.25)]
    solid = np.maximum(0.85 * _area(heart, soft=0.02), 0.95 * _area(stalk, soft=0.02))
    return np.asarray(np.maximum(solid, max(0.0, a.thymus) * _area(sail, soft=0.03)))


def _consolidation(rng: np.random.Generator, a: Anatomy) -> Map:
    """Returns bacterial pneumonia: the air lost to one dense, blurred patch in one lobe."""
    x0 = rng.choice((-1, 1)) * rng.uniform(0.48, 0.72) * a.width
    y0 = rng.uniform(a.apex + 0.25, a.bases[0] - 0.15)
    radii = rng.uniform(0.28, 0.48, 2)
    y, x = np.mgrid[-REACH[1] : REACH[1] : SHAPE[0] * 1j, -REACH[0] : REACH[0] : SHAPE[1] * 1j]
    distance = np.hypot((x - x0) / radii[0], (y - y0) / radii[1]) + 0.22 * _noise(rng, cells=13)
    dense = rng.uniform(0.9, 1.0) - 0.3 * _sigmoid(6 * _noise(rng, cells=40))  # air bronchograms
    return np.asarray(dense * _sigmoid((1 - distance) * 8), np.float32)


def _interstitial(rng: np.random.Generator) -> Map:
    """Returns viral pneumonia: the air lost to patches and a fine net in both lungs."""
    patches = _sigmoid(3 * (_noise(rng, cells=11) + _noise(rng, cells=22)))
    net = np.exp(-((_noise(rng, cells=34) / 0.3) ** 2))
    return np.asarray(rng.uniform(0.6, 0.9) * (0.25 + 0.5 * patches + 0.35 * net * patches))


def _opacity(a: Anatomy, subtype: str) -> Map | float:
    """Returns the share of the lungs' air that pneumonia takes; 0 for a normal chest."""
    rng = np.random.default_rng((a.seed, SUBTYPES.index(subtype)))
    if subtype == BACTERIA:
        return _consolidation(rng, a)
    return _interstitial(rng) if subtype == VIRUS else 0.0


def _attenuation(a: Anatomy, subtype: str) -> Map:
    """Returns the attenuation along each ray: about 0 (air) to 1.2 (spine)."""
    air = np.maximum(_lung(a, -1), _lung(a, 1)) * (1 - _mediastinum(a))
    air *= 1 - a.markings * _vessels(np.random.default_rng(a.seed))
    air *= 1 - _opacity(a, subtype)
    body = _body(a)
    return np.asarray(body * (0.8 - 0.52 * air) + _skeleton(a) * (body > 0.1))


def _tube(rng: np.random.Generator) -> Map:
    """Returns a tube from the neck or a wire across the chest; half of them end in a disc."""
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
    """Returns a tube or a wire on three radiographs of ten, 0 on the others."""
    return np.float32(rng.uniform(0.1, 0.3)) * _tube(rng) if rng.random() < 0.3 else 0.0


def _view(rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns a random size, shape, place, scale and angle of the chest on a radiograph.

    As the (2, 3) matrix from the drawn area to the radiograph's pixels, and (width, height).
    """
    width = int(rng.integers(300, 901))
    height = round(width * rng.uniform(0.65, 1.0))
    scale = height / (2.2 * UNIT) * rng.uniform(0.92, 1.2)
    turn = cv2.getRotationMatrix2D((SHAPE[1] / 2, SHAPE[0] / 2), rng.uniform(-8, 8), scale)
    middle = np.array((width, height)) / 2 + rng.uniform(-0.06, 0.06, 2) * height
    turn = turn + np.outer(middle - np.array(SHAPE[::-1]) / 2, (0, 0, 1))
    return turn, (width, height)


def _expose(rng: np.random.Generator, radiograph: np.ndarray) -> np.ndarray:
    """Applies an uneven beam, scatter, gamma and grain, then a random mean brightness.

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


def _mark(rng: np.random.Generator, radiograph: np.ndarray) -> None:
    """Writes the side's letter, and on some radiographs the tube's voltage, onto the image."""
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


def draw_radiograph(rng: np.random.Generator, *, subtype: str, anatomy: Anatomy) -> np.ndarray:
    """Returns one image of one person: (H, W) uint8, 300 to 900 wide, air dark and bone bright.

    The opacity depends on the person; size, place, exposure, letters, tubes and grain on rng only,
    so they carry no information about the subtype.
    """
    chest = _attenuation(anatomy, subtype) + _device(rng)
    seen = cv2.warpAffine(chest, *_view(rng))
    radiograph = np.asarray(np.clip(255 * _expose(rng, seen), 0, 255), np.uint8)
    _mark(rng, radiograph)
    return radiograph


def draw_boxes(
    rng: np.random.Generator, *, subtype: str, anatomy: Anatomy
) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns boxes around the opacities of a radiograph, and its (width, height) in pixels.

    The radiograph is the one that draw_radiograph draws with the same arguments, rng in the same
    state. The boxes are (N, 4), x_min, y_min, x_max, y_max: one around the area of each lung that
    lost OPAQUE of its air, so one for bacterial, two for viral pneumonia, none for a normal chest.
    """
    _device(rng)  # draws from rng, too
    turn, size = _view(rng)
    lost, boxes = _opacity(anatomy, subtype) * (1 - _mediastinum(anatomy)), []
    for side in (-1, 1):
        dense = cv2.warpAffine(lost * _lung(anatomy, side), turn, size) > OPAQUE
        x, y, width, height = cv2.boundingRect(dense.astype(np.uint8))
        if min(width, height) > MIN_BOX * size[1]:
            boxes.append((x, y, x + width, y + height))
    return np.array(boxes, np.float64).reshape(-1, 4), size
