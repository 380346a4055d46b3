"""Boxes to numbers: the challenge's score, precision and recall, FROC, mean average precision.

Throughout, `truth` and `predicted` hold an array (K, 4) for each image, x_min, y_min, x_max, y_max
in pixels, (0, 4) where there is no box, and `scores` an array (K,) in [0, 1] for each image. A box
counts when its score is at least the confidence. A predicted box hits when its IoU with a true box
is greater than the threshold, as the challenge has it; predicted boxes are asked from the highest
score down, each takes the best true box that is still free. What is undefined is NaN, never 0.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.metrics import Array, auroc, ratio

IOU_THRESHOLDS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
IOU = 0.4  # of precision, recall, F1 and the curves: the challenge's lowest
INSTALL = "install it with python -m pip install 'pneumo[detection]'"
NO_BOX = 1.0  # the confidence where no box that is kept makes the score better than none
WHY_NO_BOX = "at no confidence is the challenge score of validation images above 0"


class Counts(NamedTuple):
    """Boxes of each image, (N,) int64 each."""

    hits: Array  # true positives
    false_positives: Array
    misses: Array  # false negatives


class Curve(NamedTuple):
    """A curve over all confidences, (K,) float64 each, from the highest confidence down."""

    x: Array
    y: Array
    confidence: Array


def box_iou(first: ArrayLike, second: ArrayLike) -> Array:
    """Intersection over union, (N, M) in [0, 1], of boxes (N, 4) and (M, 4)."""
    a, b = _boxes(first)[:, None], _boxes(second)[None]
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = overlap.clip(0).prod(-1)
    area_a, area_b = ((boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (a, b))
    return np.nan_to_num(ratio(shared, area_a + area_b - shared))


def hits(
    truth: ArrayLike, predicted: ArrayLike, *, thresholds: Sequence[float] = IOU_THRESHOLDS
) -> Array:
    """Which predicted boxes of one image hit at each IoU threshold, (T, K) bool.

    Args:
        truth: (M, 4).
        predicted: (K, 4), the highest score first. Leaving out the last ones changes none before.
        thresholds: (T,), IoU must be greater.
    """
    iou = box_iou(predicted, truth)
    found = np.zeros((len(thresholds), len(iou)), dtype=bool)
    for at, threshold in enumerate(thresholds):
        free = np.ones(iou.shape[1], dtype=bool)
        for number in np.flatnonzero(iou.max(1, initial=0) > threshold):
            best = int(np.argmax(np.where(free, iou[number], -1)))
            if free[best] and iou[number, best] > threshold:
                found[at, number], free[best] = True, False
    return found


def challenge_score(
    truth: Sequence[ArrayLike],
    predicted: Sequence[ArrayLike],
    scores: Sequence[ArrayLike] | None = None,
) -> float:
    """The score of the RSNA Pneumonia Detection Challenge, in [0, 1]: the mean of `image_scores`.

    NaN where no image has a box. As published in RSNA Pneumonia Detection Challenge (Kaggle, 2018),
    https://www.kaggle.com/c/rsna-pneumonia-detection-challenge, "Evaluation".

    Args:
        truth: (M, 4) of each image.
        predicted: (K, 4) of each image; only those that are to count, see `kept`.
        scores: (K,) of each image; without them each image's boxes are in order, highest first.

    >>> challenge_score([[[0, 0, 10, 10]]], [[[0, 0, 10, 6]]])  # IoU 0.6 is above 0.4 to 0.55
    0.5
    """
    values = image_scores(truth, predicted, scores)
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")


def image_scores(
    truth: Sequence[ArrayLike],
    predicted: Sequence[ArrayLike],
    scores: Sequence[ArrayLike] | None = None,
) -> Array:
    """The challenge's score of each image, (N,) in [0, 1]; NaN of one with no box at all.

    Mean of TP / (TP + FP + FN) over `IOU_THRESHOLDS`. An image without truth on which a box is
    predicted has 0. Arguments as of `challenge_score`.
    """
    if scores is not None:
        predicted = [boxes for boxes, _ in _ranked(predicted, scores)]
    return np.array([_by_number_kept(t, p)[-1] for t, p in zip(truth, predicted, strict=True)])


def kept(
    predicted: Sequence[ArrayLike], scores: Sequence[ArrayLike], *, confidence: float
) -> tuple[list[Array], list[Array]]:
    """The boxes with at least this score, highest first, and their scores, image by image."""
    pairs = [(p[s >= confidence], s[s >= confidence]) for p, s in _ranked(predicted, scores)]
    return [boxes for boxes, _ in pairs], [score for _, score in pairs]


def fit_confidence(
    truth: Sequence[ArrayLike], predicted: Sequence[ArrayLike], scores: Sequence[ArrayLike]
) -> float:
    """The confidence of the best challenge score, in [0, 1]; of validation images.

    Of equal ones the highest. `NO_BOX` where no confidence has a score above 0.
    """
    ranked = _ranked(predicted, scores)
    values = [_by_number_kept(t, p) for t, (p, _) in zip(truth, ranked, strict=True)]
    score = np.concatenate([np.zeros(0), *(s for _, s in ranked)])
    if not score.size:
        return NO_BOX
    order = np.argsort(-score, kind="stable")
    # each box that is kept changes its image's score; one without truth counts from its first on
    change = np.concatenate([np.diff(np.nan_to_num(value)) for value in values])
    new = np.concatenate([np.diff(np.isfinite(value).astype(int)) for value in values])
    images = sum(np.isfinite(value[0]) for value in values) + new[order].cumsum()
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))  # of each distinct score
    mean = ratio(change[order].cumsum(), images)[last].round(12)  # sums of equal parts are equal
    best = int(np.argmax(mean))
    return float(score[order][last][best]) if mean[best] > 0 else NO_BOX


def image_counts(
    truth: Sequence[ArrayLike],
    predicted: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    *,
    iou: float = IOU,
    confidence: float,
) -> Counts:
    """Hits, false positives and misses of each image at one IoU threshold and one confidence."""
    boxes, _ = kept(predicted, scores, confidence=confidence)
    pairs = list(zip(truth, boxes, strict=True))
    found = np.array([hits(t, p, thresholds=[iou]).sum() for t, p in pairs], dtype=np.int64)
    called, there = (np.array([len(_boxes(b[i])) for b in pairs], dtype=np.int64) for i in (1, 0))
    return Counts(found, called - found, there - found)


def precision_recall_f1(
    truth: Sequence[ArrayLike],
    predicted: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    *,
    iou: float = IOU,
    confidence: float,
) -> dict[str, float]:
    """Precision, recall and f1 of all images' boxes together, each in [0, 1] or NaN.

    Precision is NaN where no box is kept, recall and F1 where there is no true box.

    Args:
        truth: (M, 4) of each image.
        predicted: (K, 4) of each image.
        scores: (K,) of each image.
        iou: a hit must have more.
        confidence: a box must have at least this score; fix it on validation images.
    """
    counts = image_counts(truth, predicted, scores, iou=iou, confidence=confidence)
    return {name: float(value) for name, value in box_scores(*map(np.sum, counts)).items()}


def box_scores(
    true_positives: ArrayLike, false_positives: ArrayLike, misses: ArrayLike
) -> dict[str, Array]:
    """Precision, recall and f1 of numbers of boxes (...), as (...) each."""
    hit, false, missed = (
        np.asarray(a, np.float64) for a in (true_positives, false_positives, misses)
    )
    there = np.where(hit + missed > 0, 1.0, np.nan)
    return {
        "precision": ratio(hit, hit + false),
        "recall": ratio(hit, hit + missed),
        "f1": there * ratio(2 * hit, 2 * hit + false + missed),
    }


def precision_recall_curve(
    truth: Sequence[ArrayLike],
    predicted: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    *,
    iou: float = IOU,
) -> Curve:
    """Recall (x) and precision (y) of boxes at every confidence, recall rising."""
    hit, false, there, confidence = _pooled(truth, predicted, scores, iou)
    return Curve(ratio(hit, there), ratio(hit, hit + false), confidence)


def froc(
    truth: Sequence[ArrayLike],
    predicted: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    *,
    iou: float = IOU,
) -> Curve:
    """False positives an image (x) and sensitivity (y) at every confidence: the FROC curve.

    Sensitivity is the share of true boxes that are hit; all images count, with or without truth.
    """
    hit, false, there, confidence = _pooled(truth, predicted, scores, iou)
    return Curve(ratio(false, len(truth)), ratio(hit, there), confidence)


def highest_scores(scores: Sequence[ArrayLike]) -> Array:
    """(N,) the highest score of each image's boxes, 0 where there is none."""
    return np.array([np.max(np.asarray(s, np.float64), initial=0.0) for s in scores])


def image_auroc(truth: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> float:
    """AUROC of images by the highest score of their boxes; positive are those with a true box."""
    return auroc(np.array([len(_boxes(t)) > 0 for t in truth], np.int64), highest_scores(scores))


def mean_average_precision(
    truth: Sequence[ArrayLike], predicted: Sequence[ArrayLike], scores: Sequence[ArrayLike]
) -> dict[str, float]:
    """Torchmetrics' map (IoU 0.50 to 0.95) and map_50, as COCO has them, in [0, 1] or NaN.

    Another number than the challenge's: it ranks the boxes of all images together and averages
    precision over recall, so that it needs no confidence, and a false box with a low score costs
    it next to nothing; the challenge scores each image at one confidence and averages over images,
    at lower IoUs, and a single false box on an image without truth makes that image 0. Of each
    image the 100 highest boxes count, as COCO has it.

    Raises:
        ModuleNotFoundError: pycocotools is missing; the message names the extra.
    """
    if find_spec("pycocotools") is None:
        raise ModuleNotFoundError(f"mean average precision needs pycocotools; {INSTALL}")
    import torch  # late: the other numbers need neither
    from torchmetrics.detection import MeanAveragePrecision

    # as pycocotools has them; torchmetrics' own are float32, and 0.6 of those is above 0.6
    metric = MeanAveragePrecision(
        backend="pycocotools",
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
    )
    metric.warn_on_many_detections = False  # the docstring says it

    def as_dict(boxes: ArrayLike, score: ArrayLike | None = None) -> dict[str, torch.Tensor]:
        xyxy = torch.from_numpy(_boxes(boxes).astype(np.float32))
        one = {"boxes": xyxy, "labels": torch.zeros(len(xyxy), dtype=torch.int64)}
        values = {} if score is None else {"scores": torch.tensor(np.asarray(score, np.float32))}
        return one | values

    metric.update(
        [as_dict(p, s) for p, s in zip(predicted, scores, strict=True)], [as_dict(t) for t in truth]
    )
    found = {name: float(value) for name, value in metric.compute().items() if value.ndim == 0}
    return {k: found[k] if found[k] >= 0 else float("nan") for k in ("map", "map_50")}


def _by_number_kept(truth: ArrayLike, ranked: ArrayLike) -> Array:
    """(K + 1,) the challenge's score of one image with its 0, 1, ... K highest boxes."""
    there, boxes = len(_boxes(truth)), _boxes(ranked)
    hit = np.zeros((len(IOU_THRESHOLDS), len(boxes) + 1))
    hit[:, 1:] = hits(truth, boxes).cumsum(1)
    return np.asarray(ratio(hit, there + np.arange(len(boxes) + 1) - hit).mean(0))


def _pooled(
    truth: Sequence[ArrayLike],
    predicted: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    iou: float,
) -> tuple[Array, Array, int, Array]:
    """Hits and false positives at each distinct confidence, true boxes, and the confidences."""
    ranked = _ranked(predicted, scores)
    pairs = zip(truth, ranked, strict=True)
    hit = np.concatenate([np.zeros(0), *(hits(t, p, thresholds=[iou])[0] for t, (p, _) in pairs)])
    score = np.concatenate([np.zeros(0), *(s for _, s in ranked)])
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    hit_count = hit[order].cumsum()[last]
    there = sum(len(_boxes(t)) for t in truth)
    return hit_count, last + 1 - hit_count, there, score[order][last]


def _ranked(
    predicted: Sequence[ArrayLike], scores: Sequence[ArrayLike]
) -> list[tuple[Array, Array]]:
    """Boxes (K, 4) and scores (K,) of each image, highest first; of equal ones the first given."""
    pairs = []
    for boxes, score in zip(predicted, scores, strict=True):
        boxes, score = _boxes(boxes), np.asarray(score, dtype=np.float64)
        if score.shape != (len(boxes),):
            raise ValueError(
                f"the scores of an image's {len(boxes)} boxes must be (K,); got {score.shape}"
            )
        order = np.argsort(-score, kind="stable")
        pairs.append((boxes[order], score[order]))
    return pairs


def _boxes(boxes: ArrayLike) -> Array:
    array = np.asarray(boxes, dtype=np.float64)
    return array.reshape(0, 4) if array.size == 0 else array
