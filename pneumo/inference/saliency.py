"""Attribution maps of a network by several methods, and their faithfulness."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Occlusion
from numpy.typing import NDArray
from scipy.stats import spearmanr
from scipy.stats import t as student
from torch import Tensor, nn

from pneumo.models.base import Network
from pneumo.models.unet_encoder import initialise
from pneumo.models.views import ONE_VIEW, Views

Map = NDArray[np.float32]

WINDOW, STRIDE = 8, 16  # of occlusion, in parts of the side: 32 and 16 pixels of 256
NUM_NOISY, NOISE = 4, 0.1  # of SmoothGrad: noisy images, and their noise in deviations of the image
PATH_STEPS = 8  # of integrated gradients, from the blurred image to the image
SMOOTH = 32  # sigma that smooths the map of integrated gradients, in parts of the side
BATCH = 64  # images at once through the network
BLUR = 16  # sigma of the blurred image in parts of the side: no rib and no vessel is left
BLOCKS = 16  # of the random order, along a side: single pixels would make noise, not a deletion
STEPS = 20  # of the deletion curve
NUM_RANDOM = 5  # random orders, and three networks, are few: the mean over images is what counts
NUM_NETWORKS = 3


class Faithfulness(NamedTuple):
    """Areas under the deletion curve, each in [0, 1], means of the class's probability."""

    deletion: float  # the most salient pixels first; low is faithful
    random: float  # blocks in random order, the baseline
    gap: float  # random - deletion; above 0 if the map is better than chance


class LogOdds(nn.Module):
    """The logarithm of p / (1 - p), where p is the probability of the classes ``chosen`` together.

    ``views``: of an image, whose logits are averaged. ``layer``: of the network, for gradcam and
    layercam; None: its heatmap_layer.
    """

    def __init__(
        self,
        network: Network,
        chosen: Sequence[int],
        *,
        views: Views = ONE_VIEW,
        layer: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network, self.views, self.layer = network, views, layer
        self.chosen = list(chosen)
        self.others = [c for c in range(network.num_classes) if c not in self.chosen]

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, S, S) grey values to (B,) log-odds."""
        logits = self.views.logits(self.network, image)
        odds: Tensor = logits[:, self.chosen].logsumexp(1) - logits[:, self.others].logsumexp(1)
        return odds


def explain(model: LogOdds, image: Map, *, method: str) -> Map:
    """Returns (S, S) float32 in [0, 1]: the evidence for the class at each place of an image.

    The mean of the maps of all views, in the image's pixels, divided by its largest value; all 0
    where the method finds no evidence. Methods, of ATTRIBUTIONS:
        gradcam: Selvaraju et al. (2017), at the network's heatmap_layer.
        layercam: Jiang et al. (2021), at the same layer.
        occlusion: Zeiler and Fergus (2014), a window of the blurred image.
        integrated: Sundararajan et al. (2017), from the blurred image, with SmoothGrad (Smilkov et
            al., 2017), smoothed.

    ``model`` is in evaluation mode, ``image`` (S, S) float32 grey values 0-255. ValueError: the
    network has no layer that the method can use.
    """
    one_view = LogOdds(model.network, model.chosen, layer=model.layer).eval()
    attribute = partial(ATTRIBUTIONS[method], one_view)
    raw = model.views.maps(attribute, torch.from_numpy(image)[None, None])[0].numpy()
    heat: Map = np.maximum(raw, 0)
    return heat / heat.max() if heat.max() > 0 else heat


def probabilities(model: LogOdds, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns (B,) probabilities of the model's classes of (B, S, S) grey values."""
    with torch.inference_mode():
        odds = model(torch.from_numpy(images)[:, None])
    return np.asarray(odds.double().sigmoid().numpy())


def faithfulness(model: LogOdds, image: Map, heat: Map, *, seed: int = 0) -> Faithfulness:
    """Returns how fast the probability falls as a map's pixels are blurred.

    Deletion as in RISE (Petsiuk et al., 2018), with a blurred image in place of black, which a
    network takes for a finding. Equal pixels are blurred in random order.
    """
    salient = deletion(model, image, salient_order(heat, seed=seed))
    baseline = random_deletion(model, image, seed=seed)
    return Faithfulness(salient, baseline, baseline - salient)


def salient_order(heat: Map, *, seed: int = 0) -> NDArray[np.int64]:
    """Returns (S * S,) pixel numbers, the most salient first, equal ones in random order."""
    tie = np.random.default_rng(seed).random(heat.size)
    return np.lexsort((tie, -heat.ravel()))


def random_deletion(model: LogOdds, image: Map, *, seed: int = 0) -> float:
    """Returns the mean area under the deletion curve of NUM_RANDOM random orders of blocks."""
    rng, place = np.random.default_rng((seed, 1)), np.arange(image.shape[0]) * BLOCKS
    block = place[:, None] // image.shape[0] * BLOCKS + place[None, :] // image.shape[0]
    areas = []
    for _ in range(NUM_RANDOM):
        rank = rng.permutation(BLOCKS * BLOCKS)[block]
        areas.append(deletion(model, image, np.argsort(rank.ravel(), kind="stable")))
    return float(np.mean(areas))


def deletion(model: LogOdds, image: Map, order: NDArray[np.int64]) -> float:
    """Returns the area under the probability against the share of pixels blurred, in [0, 1].

    ``image``: (S, S) float32 grey values 0-255; ``order``: (S * S,) pixel numbers, the first to be
    blurred first.
    """
    blurred = _blur(image)
    counts = np.linspace(0, order.size, STEPS + 1).round().astype(int)
    images = np.repeat(image.reshape(1, -1), counts.size, 0)
    for row, number in zip(images, counts, strict=True):
        row[order[:number]] = blurred.ravel()[order[:number]]
    curve = probabilities(model, images.reshape(-1, *image.shape))
    return float(np.trapezoid(curve, counts / order.size))


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Returns the means of the scores of some maps that are not flat, None if unknown.

    gap_low and gap_high are the interval of mean_interval.
    """
    scores = pd.DataFrame(rows, columns=["deletion", "random", "gap", "randomised"], dtype=float)
    scores["share_of_gaps_above_0"] = (scores["gap"] > 0).astype(float)
    low, high = mean_interval(scores["gap"].tolist())
    means = {str(k): None if np.isnan(v) else float(v) for k, v in scores.mean().items()}
    return {**means, "gap_low": low, "gap_high": high}


def mean_interval(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Returns the 95 % interval of a mean by Student's t; None of fewer than two values."""
    if len(values) < 2:
        return None, None
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values) - half), float(np.mean(values) + half)


def randomised_correlation(model: LogOdds, image: Map, heat: Map, *, method: str) -> float:
    """Returns the mean rank correlation, in [-1, 1], with the maps of networks of random weights.

    Adebayo et al. (2018): a map that hardly changes when the network has learned nothing shows the
    image, not the network. It should be near 0; NaN if every such map is flat.
    """
    others = (randomised(model, seed=seed) for seed in range(NUM_NETWORKS))
    values = [rank_correlation(heat, explain(other, image, method=method)) for other in others]
    return float(pd.Series(values).mean())


def randomised(model: LogOdds, *, seed: int) -> LogOdds:
    """Returns a copy of the model with random weights; the standardisation of the input stays."""
    copy = deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in copy.modules():
            initialise(module)
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
    return copy.eval()


def rank_correlation(first: Map, second: Map) -> float:
    """Returns Spearman's correlation of two maps in [-1, 1]; NaN if one of them is flat."""
    if any(heat.min() == heat.max() for heat in (first, second)):
        return float("nan")
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def _gradcam(model: LogOdds, image: Tensor) -> Tensor:
    activation, gradient = _activation_and_gradient(model, image)
    weight = gradient.mean((2, 3), keepdim=True)
    return _enlarged((weight * activation).sum(1).relu(), image)


def _layercam(model: LogOdds, image: Tensor) -> Tensor:
    activation, gradient = _activation_and_gradient(model, image)
    return _enlarged((gradient * activation).relu().sum(1), image)


def _activation_and_gradient(model: LogOdds, image: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a layer's (B, C, H, W) output, and the gradient of the log-odds there.

    ValueError: the layer does not run exactly once, so that the gradient would be of one of its
    runs, or its output has another shape.
    """
    outputs: list[Tensor] = []
    layer = model.layer or model.network.heatmap_layer
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
    try:
        with torch.enable_grad():
            odds = model(image.detach().requires_grad_())
    finally:
        handle.remove()
    if len(outputs) != 1 or outputs[0].ndim != 4 or len(outputs[0]) != len(image):
        raise ValueError(
            "this heat map needs a layer that runs once in a forward pass, with output (B, C, H, "
            f"W); {type(layer).__name__} has {[tuple(o.shape) for o in outputs]}. Name another by "
            "model.heatmap_layer, or use --method occlusion"
        )
    (gradient,) = torch.autograd.grad(odds.sum(), outputs)
    return outputs[0].detach(), gradient


def _enlarged(maps: Tensor, image: Tensor) -> Tensor:
    """(B, H, W) maps of a layer to (B, S, S), the pixels of ``image``, by linear interpolation."""
    size = (image.shape[3], image.shape[2])
    large = [cv2.resize(heat.numpy(), size, interpolation=cv2.INTER_LINEAR) for heat in maps]
    return torch.from_numpy(np.stack(large))


def _occlusion(model: LogOdds, image: Tensor) -> Tensor:
    side = image.shape[-1]
    window, stride = max(1, side // WINDOW), max(1, side // STRIDE)
    with torch.inference_mode():
        heat: Tensor = Occlusion(model).attribute(
            image,
            sliding_window_shapes=(1, window, window),
            strides=(1, stride, stride),
            baselines=_blurred(image),
            perturbations_per_eval=BATCH,
        )
    return heat[:, 0].float()


def _integrated(model: LogOdds, image: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same noise for each view, image and network
        heat: Tensor = NoiseTunnel(IntegratedGradients(model)).attribute(
            image.detach(),
            nt_type="smoothgrad",
            nt_samples=NUM_NOISY,
            stdevs=NOISE * float(image.std()),
            baselines=_blurred(image),
            n_steps=PATH_STEPS,
            internal_batch_size=BATCH,
        )
    return _blurred(heat.detach().float(), SMOOTH)[:, 0]


def _blurred(images: Tensor, share: int = BLUR) -> Tensor:
    """Returns (B, 1, S, S) values blurred, by default as the deletion leaves them."""
    blurred = np.stack([_blur(image, share) for image in images[:, 0].numpy()])
    return torch.from_numpy(blurred)[:, None]


def _blur(image: Map, share: int = BLUR) -> Map:
    """Returns a Gaussian blur whose sigma is the image's side divided by ``share``."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), image.shape[0] / share), np.float32)


ATTRIBUTIONS: dict[str, Callable[[LogOdds, Tensor], Tensor]] = {
    "gradcam": _gradcam,
    "layercam": _layercam,
    "occlusion": _occlusion,
    "integrated": _integrated,
}
