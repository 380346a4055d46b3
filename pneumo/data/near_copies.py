"""Copies of an image that were saved again, shifted, turned or cropped a little, by appearance.

Two images are near copies if their perceptual hashes agree or their thumbnails correlate. The share
found of 300 copies of radiographs of Kermany et al. at 224 x 224 pixels (measured; in brackets by
the hash alone): saved again at half the size and JPEG quality 50, 1.00 (0.99); shifted by 2 pixels
down and across, 1.00 (0.36); turned by 1 degree, 1.00 (0.55); 1 % cropped off each side, 1.00
(0.68). Larger changes are missed: of shifts by 3 and 4 pixels 0.91 and 0.17 are found, of turns by
2 degrees 0.29, of crops of 2 % 0.30, of mirror images none.
"""

from typing import NamedTuple

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pneumo.data import image
from pneumo.data.labelled import join_duplicates

SIDE = 32  # pixels of a thumbnail
# Bits of 64 in which the hashes of near copies differ at most. Of the 17 million pairs of Kermany
# et al. 15 of different patients are as near but no copies, at 4 bits 214; joining too many
# cannot leak (measured).
MAX_BITS = 2
# Correlation of the thumbnails of near copies. Of the same pairs, of different patients or files,
# the highest is 0.983 (measured).
COPY = 0.99
NEAR = 0.95  # correlation from which on two thumbnails are compared again, moved
MOVE = 0.3  # thumbnail pixels: 2 of 224, the shift that is found
BLOCK = 512  # images that are compared with all others at once


class Pairs(NamedTuple):
    """Near copies, an entry a pair."""

    row: NDArray[np.int64]
    other: NDArray[np.int64]  # a later row
    bits: NDArray[np.uint8]  # of the hashes, that differ
    correlation: NDArray[np.float64]  # of the thumbnails, -1 to 1; 0 for an image of one grey


def near_duplicates(table: pd.DataFrame, images: np.ndarray) -> "pd.Series[str]":
    """Returns the group of each row: its patient, joined with those of all near copies.

    Args:
        table: with a column patient; its order is that of ``images``.
        images: (N, S, S) uint8, prepared.
    """
    hashes = np.array([perceptual_hash(each) for each in images], np.uint64)
    return join_near(table, hashes, np.stack([image.resize(each, size=SIDE) for each in images]))


def join_near(table: pd.DataFrame, hashes: np.ndarray, thumbnails: np.ndarray) -> "pd.Series[str]":
    """Returns the groups as near_duplicates does, from the arguments of near_pairs."""
    pairs = near_pairs(hashes, thumbnails)
    shape = (len(hashes), len(hashes))
    edges = coo_array((np.ones(len(pairs.row)), (pairs.row, pairs.other)), shape=shape)
    _, alike = connected_components(edges, directed=False)
    return join_duplicates(table, [str(number) for number in alike])


def perceptual_hash(pixels: np.ndarray) -> int:
    """Returns the 64 bits of imagehash's phash of (S, S) uint8, the low frequencies' signs."""
    bits = imagehash.phash(Image.fromarray(pixels)).hash
    return int.from_bytes(np.packbits(bits).tobytes())


def near_pairs(hashes: np.ndarray, thumbnails: np.ndarray) -> Pairs:
    """Returns the pairs of images within MAX_BITS, or whose thumbnails correlate by COPY or more.

    Takes N²/2 products of thumbnails, and memory for BLOCK x N of their results.

    Args:
        hashes: (N,) uint64 of perceptual_hash.
        thumbnails: (N, SIDE, SIDE) uint8.
    """
    pixels, blocks = _standardised(thumbnails), []
    for start in range(0, len(hashes), BLOCK):
        bits = np.bitwise_count(hashes[start : start + BLOCK, None] ^ hashes[None, start:])
        alike = pixels[start : start + BLOCK] @ pixels[start:].T
        row, other = np.nonzero(np.triu((bits <= MAX_BITS) | (alike >= NEAR), k=1))
        bits, correlation = bits[row, other], alike[row, other].astype(np.float64)
        row, other = row + start, other + start
        unsure = np.flatnonzero((correlation >= NEAR) & (correlation < COPY))
        for some in np.array_split(unsure, len(unsure) // BLOCK + 1):
            moved = _moved_correlation(thumbnails[row[some]], thumbnails[other[some]])
            correlation[some] = np.maximum(correlation[some], moved)
        near = (bits <= MAX_BITS) | (correlation >= COPY)
        rounded = correlation[near].clip(-1, 1).round(4)
        blocks.append((row[near], other[near], bits[near], rounded))
    return Pairs(*map(np.concatenate, zip(*blocks, strict=True)))


def _moved_correlation(first: np.ndarray, second: np.ndarray) -> NDArray[np.float64]:
    """Returns (P,) the highest correlation of (P, SIDE, SIDE) pairs, the first moved or not."""
    inner = _standardised(second[:, 1:-1, 1:-1])
    moves = [(down, across) for down in (-MOVE, 0, MOVE) for across in (-MOVE, 0, MOVE)]
    each = [(_standardised(_moved(first, *move)) * inner).sum(1) for move in moves]
    return np.asarray(np.max(each, axis=0), np.float64)


def _moved(thumbnails: np.ndarray, down: float, across: float) -> NDArray[np.float32]:
    """Returns (P, S - 2, S - 2) of (P, S, S), moved by a part of a pixel, without the border."""
    pixels = thumbnails.astype(np.float32)
    for axis, by in ((1, down), (2, across)):
        pixels = (1 - abs(by)) * pixels + abs(by) * np.roll(pixels, int(np.sign(by)), axis)
    return np.asarray(pixels[:, 1:-1, 1:-1])


def _standardised(thumbnails: np.ndarray) -> NDArray[np.float32]:
    """Returns (N, S²) of (N, S, S): mean 0, length 1, so that products are correlations."""
    size = thumbnails.shape[1] * thumbnails.shape[2]
    pixels = thumbnails.reshape(len(thumbnails), size).astype(np.float32)
    pixels -= pixels.mean(1, keepdims=True)
    length = np.linalg.norm(pixels, axis=1, keepdims=True)
    return np.asarray(np.divide(pixels, length, out=np.zeros_like(pixels), where=length > 0))
