"""Where a network looked: maps by two methods of captum, and what the maps are worth."""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import cv2
import numpy as np
import torch
from captum.attr import LayerGradCam, Occlusion
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from pneumo.choices import METHODS
from pneumo.models.base import Network
from pneumo.models.unet_encoder import initialise

Map = NDArray[np.float32]

WINDOW, STRIDE = 8, 16  # of occlusion, in parts of the side: 32 and 16 pixels of 256
BLUR = 16  # sigma of the blurred image in parts of the side: no rib and no vessel is left
BLOCKS = 16  # of the random order, along a side: single pixels would make noise, not a deletion
STEPS = 20  # of the deletion curve
NUM_RANDOM = 5  # random orders, and three networks, are few: the mean over images is what counts
NUM_NETWORKS = 3


class Faithfulness(NamedTuple):
    """Areas under the deletion curve, each in [0, 1], means of the class's probability."""

    deletion: float  # the most salient pixels first; low is faithful
    random: float  # blocks in random order, the baseline
    gap: float  # random - deletion; above 0 if the map knows more than chance


class LogOdds(nn.Module):
    """The logarithm of p / (1 - p) of some classes together: all their probability hangs on."""

    def __init__(self, network: Network, chosen: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.chosen = list(chosen)
        self.others = [c for c in range(network.num_classes) if c not in self.chosen]

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, S, S) grey values to (B,) log-odds."""
        logits = self.network(image)
        odds: Tensor = logits[:, self.chosen].logsumexp(1) - logits[:, self.others].logsumexp(1)
        return odds


def explain(model: LogOdds, image: Map, *, method: str) -> Map:
    """(S, S) float32 in [0, 1]: how much each place of an image speaks for the class.

    The largest is 1; all are 0 where nothing speaks for it. ``gradcam`` is Selvaraju et al. (2017)
    at the network's heatmap_layer, of the paper's a map of S/32 x S/32 drawn large;
    ``occlusion`` is Zeiler & Fergus (2014), a window of the train split's mean grey.

    Args:
        model: in evaluation mode.
        image: (S, S) float32 grey values 0-255.
        method: gradcam or occlusion.
    """
    if method not in METHODS:
        raise ValueError(f"--method must be one of {', '.join(METHODS)}; got {method!r}")
    raw = _gradcam(model, image) if method == "gradcam" else _occlusion(model, image)
    heat = np.maximum(raw, 0)
    return heat / heat.max() if heat.max() > 0 else heat


def probabilities(model: LogOdds, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """(B, S, S) grey values to (B,) probabilities of the model's classes."""
    with torch.inference_mode():
        odds = model(torch.from_numpy(images)[:, None])
    return np.asarray(odds.double().sigmoid().numpy())


def faithfulness(model: LogOdds, image: Map, heat: Map, *, seed: int = 0) -> Faithfulness:
    """Returns how fast the probability falls as a map's pixels are blurred away.

    Deletion as in RISE (Petsiuk et al., 2018), with a blurred image in place of black, which a
    network takes for a finding of its own. Equal pixels go in random order.
    """
    rng = np.random.default_rng(seed)
    tie = rng.random(heat.size)
    salient = deletion(model, image, np.lexsort((tie, -heat.ravel())))
    chance = [
        deletion(model, image, _random_blocks(image.shape[0], rng)) for _ in range(NUM_RANDOM)
    ]
    baseline = float(np.mean(chance))
    return Faithfulness(salient, baseline, baseline - salient)


def deletion(model: LogOdds, image: Map, order: NDArray[np.int64]) -> float:
    """Area under the probability against the share of pixels blurred, in [0, 1].

    Args:
        model: in evaluation mode.
        image: (S, S) float32 grey values 0-255.
        order: (S * S,) pixel numbers, the first to go first.
    """
    blurred = cv2.GaussianBlur(image, (0, 0), image.shape[0] / BLUR)
    counts = np.linspace(0, order.size, STEPS + 1).round().astype(int)
    images = np.repeat(image.reshape(1, -1), counts.size, 0)
    for row, number in zip(images, counts, strict=True):
        row[order[:number]] = blurred.ravel()[order[:number]]
    curve = probabilities(model, images.reshape(-1, *image.shape))
    return float(np.trapezoid(curve, counts / order.size))


def randomised_correlation(model: LogOdds, image: Map, heat: Map, *, method: str) -> float:
    """Mean rank correlation, in [-1, 1], with the maps of networks of random weights.

    Adebayo et al. (2018): a map that hardly changes when the network has learnt nothing shows the
    image, not the network. Near 0 is right; NaN where every such map is flat.
    """
    found = []
    for seed in range(NUM_NETWORKS):
        other = explain(randomised(model, seed=seed), image, method=method)
        found.append(rank_correlation(heat, other))
    known = [value for value in found if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def randomised(model: LogOdds, *, seed: int) -> LogOdds:
    """A copy of the model with fresh weights; the standardisation of the input stays."""
    copy = deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in copy.modules():
            initialise(module)
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
    return copy.eval()


def rank_correlation(one: Map, other: Map) -> float:
    """Spearman's correlation of two maps in [-1, 1]; NaN where one of them is flat."""
    if any(heat.min() == heat.max() for heat in (one, other)):
        return float("nan")
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def _gradcam(model: LogOdds, image: Map) -> Map:
    method = LayerGradCam(model, model.network.heatmap_layer)
    with torch.enable_grad():
        coarse = method.attribute(torch.from_numpy(image)[None, None], relu_attributions=True)
    size = image.shape[::-1]
    small = coarse.detach().numpy()[0, 0].astype(np.float32)
    drawn: Map = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return drawn


def _occlusion(model: LogOdds, image: Map) -> Map:
    side = image.shape[0]
    window, stride = max(1, side // WINDOW), max(1, side // STRIDE)
    with torch.inference_mode():
        heat = Occlusion(model).attribute(
            torch.from_numpy(image)[None, None],
            sliding_window_shapes=(1, window, window),
            strides=(1, stride, stride),
            baselines=float(model.network.mean),
            perturbations_per_eval=16,
        )
    return np.asarray(heat.numpy()[0, 0], dtype=np.float32)


def _random_blocks(side: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(side * side,) pixel numbers, BLOCKS x BLOCKS blocks in random order."""
    place = np.arange(side) * BLOCKS // side
    block = place[:, None] * BLOCKS + place[None, :]
    rank = rng.permutation(BLOCKS * BLOCKS)
    return np.argsort(rank[block].ravel(), kind="stable")
