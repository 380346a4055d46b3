"""Scores of boxes and the assessment of a detector: challenge score, FROC, mAP, intervals.

Throughout, `truth` and `predicted` hold an array (K, 4) for each image, x_min, y_min, x_max, y_max
in pixels, (0, 4) without boxes, and `scores` an array (K,) in [0, 1] for each image. A box counts
if its score is at least the confidence. A predicted box hits if its IoU with a true box is greater
than the threshold, as in the challenge; predicted boxes are matched from the highest score down,
each to the best true box that is still free. What is undefined is NaN, never 0.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.intervals import (
    UNKNOWN,
    Interval,
    f1_of_jaccard,
    score_intervals,
    share_interval,
)
from pneumo.evaluation.metrics import Array, ratio
from pneumo.evaluation.scores import BOX_SCORES, auroc

IOU_THRESHOLDS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
IOU = 0.4  # of precision, recall, F1 and the curves: the challenge's lowest
INSTALL = "install it with python -m pip install 'pneumo[detection]'"
NO_BOX = 1.0  # the confidence if no box that is kept improves the score
WHY_NO_BOX = "at no confidence is the challenge score of validation images above 0"
SCORES = {name: score.heading for name, score in BOX_SCORES.items()}
MAP_SENTENCE = (
    "mAP differs from the challenge score: it ranks the boxes of all images together, at IoU 0.50 "
    "and above, and needs no confidence; the challenge scores image by image at one confidence and "
    "from IoU 0.40 on, and a single false box on an image without truth makes that image 0."
)

Images = Sequence[ArrayLike]  # boxes (K, 4) or scores (K,) of each image


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
    """Returns the intersection over union, (N, M) in [0, 1], of boxes (N, 4) and (M, 4)."""
    a, b = _boxes(first)[:, None], _boxes(second)[None]
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = overlap.clip(0).prod(-1)
    area_a, area_b = ((boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (a, b))
    return np.nan_to_num(ratio(shared, area_a + area_b - shared))


def hits(
    truth: ArrayLike, predicted: ArrayLike, *, thresholds: Sequence[float] = IOU_THRESHOLDS
) -> Array:
    """Returns which predicted boxes of one image hit at each of T IoU thresholds, (T, K) bool.

    ``predicted``: (K, 4), the highest score first; a box changes none before it.
    """
    iou = box_iou(predicted, truth)
    is_hit = np.zeros((len(thresholds), len(iou)), dtype=bool)
    for at, threshold in enumerate(thresholds):
        free = np.ones(iou.shape[1], dtype=bool)
        for number in np.flatnonzero(iou.max(1, initial=0) > threshold):
            best = int(np.argmax(np.where(free, iou[number], -1)))
            if free[best] and iou[number, best] > threshold:
                is_hit[at, number], free[best] = True, False
    return is_hit


def challenge_score(truth: Images, predicted: Images, scores: Images | None = None) -> float:
    """Returns the RSNA Pneumonia Detection Challenge's score, in [0, 1]: mean of `image_scores`.

    NaN if no image has a box. As published in RSNA Pneumonia Detection Challenge (Kaggle, 2018),
    https://www.kaggle.com/c/rsna-pneumonia-detection-challenge, "Evaluation". ``predicted`` holds
    only boxes that count, see `kept`; without ``scores`` each image's are in order, highest first.

    >>> challenge_score([[[0, 0, 10, 10]]], [[[0, 0, 10, 6]]])  # IoU 0.6 is above 0.4 to 0.55
    0.5
    """
    values = image_scores(truth, predicted, scores)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def image_scores(truth: Images, predicted: Images, scores: Images | None = None) -> Array:
    """Returns the challenge's score of each image, (N,) in [0, 1]; NaN without any box.

    Mean of TP / (TP + FP + FN) over `IOU_THRESHOLDS`. A predicted box on an image without truth
    makes it 0. Arguments as of `challenge_score`.
    """
    if scores is not None:
        predicted = [boxes for boxes, _ in _ranked(predicted, scores)]
    return np.array([_by_number_kept(t, p)[-1] for t, p in zip(truth, predicted, strict=True)])


def kept(
    predicted: Images, scores: Images, *, confidence: float
) -> tuple[list[Array], list[Array]]:
    """Returns each image's boxes with at least this score, highest first, and their scores."""
    pairs = [(p[s >= confidence], s[s >= confidence]) for p, s in _ranked(predicted, scores)]
    return [boxes for boxes, _ in pairs], [score for _, score in pairs]


def fit_confidence(truth: Images, predicted: Images, scores: Images) -> float:
    """Returns the confidence with the best challenge score, in [0, 1]; fit it on validation images.

    Of equal ones the highest. `NO_BOX` if no confidence has a score above 0.
    """
    ranked = _ranked(predicted, scores)
    values = [_by_number_kept(t, p) for t, (p, _) in zip(truth, ranked, strict=True)]
    order, last, confidence = _descending(ranked)
    if not order.size:
        return NO_BOX
    # each kept box changes its image's score; an image without truth counts from its first box on
    change = np.concatenate([np.diff(np.nan_to_num(value)) for value in values])
    new = np.concatenate([np.diff(np.isfinite(value).astype(int)) for value in values])
    images = sum(np.isfinite(value[0]) for value in values) + new[order].cumsum()
    mean = ratio(change[order].cumsum(), images)[last].round(12)  # sums of equal parts are equal
    best = int(np.argmax(mean))
    return float(confidence[best]) if mean[best] > 0 else NO_BOX


def image_counts(truth: Images, predicted: Images, scores: Images, *, confidence: float) -> Counts:
    """Returns hits, false positives and misses of each image at `IOU` and one confidence."""
    boxes, _ = kept(predicted, scores, confidence=confidence)
    hit = np.array(
        [hits(*pair, thresholds=[IOU]).sum() for pair in zip(truth, boxes, strict=True)], np.int64
    )
    num_true, num = (np.array([len(_boxes(b)) for b in part], np.int64) for part in (truth, boxes))
    return Counts(hit, num - hit, num_true - hit)


def box_scores(
    true_positives: ArrayLike, false_positives: ArrayLike, misses: ArrayLike
) -> dict[str, Array]:
    """Returns precision, recall and f1 of numbers of boxes (...), as (...) each, or NaN.

    Precision is NaN if no box is kept, recall and F1 if there is no true box.
    """
    hit, false, missed = (
        np.asarray(a, np.float64) for a in (true_positives, false_positives, misses)
    )
    return {
        "precision": ratio(hit, hit + false),
        "recall": ratio(hit, hit + missed),
        "f1": np.where(hit + missed > 0, ratio(2 * hit, 2 * hit + false + missed), np.nan),
    }


def precision_recall_curve(truth: Images, predicted: Images, scores: Images) -> Curve:
    """Returns recall (x) and precision (y) of boxes at every confidence, recall rising."""
    hit, false, num_true, confidence = _pooled(truth, predicted, scores)
    return Curve(ratio(hit, num_true), ratio(hit, hit + false), confidence)


def froc(truth: Images, predicted: Images, scores: Images) -> Curve:
    """Returns false positives an image (x) and sensitivity (y) at every confidence: FROC.

    Sensitivity is the share of true boxes that are hit; all images count, with or without truth.
    """
    hit, false, num_true, confidence = _pooled(truth, predicted, scores)
    return Curve(ratio(false, len(truth)), ratio(hit, num_true), confidence)


def highest_scores(scores: Images) -> Array:
    """Returns the highest score of each image's boxes, (N,), 0 without boxes."""
    return np.array([np.max(np.asarray(s, np.float64), initial=0.0) for s in scores])


def mean_average_precision(truth: Images, predicted: Images, scores: Images) -> dict[str, float]:
    """Returns torchmetrics' map (IoU 0.50 to 0.95) and map_50, as COCO, in [0, 1] or NaN.

    It differs from the challenge score: it ranks the boxes of all images together and averages
    precision over recall, so it needs no confidence, and a false box with a low score costs almost
    nothing. Of each image the 100 highest boxes count. ModuleNotFoundError: pycocotools is missing.
    """
    if find_spec("pycocotools") is None:
        raise ModuleNotFoundError(f"mean average precision needs pycocotools; {INSTALL}")
    import torch  # late: the other numbers need neither
    from torchmetrics.detection import MeanAveragePrecision

    # those of pycocotools; torchmetrics' own are float32, in which 0.6 is above 0.6
    metric = MeanAveragePrecision(
        backend="pycocotools",
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
    )
    metric.warn_on_many_detections = False  # the docstring says it

    def as_dict(boxes: ArrayLike, score: ArrayLike | None = None) -> dict[str, torch.Tensor]:
        xyxy = torch.from_numpy(_boxes(boxes).astype(np.float32))
        image = {"boxes": xyxy, "labels": torch.zeros(len(xyxy), dtype=torch.int64)}
        if score is not None:
            image["scores"] = torch.tensor(np.asarray(score, np.float32))
        return image

    metric.update(
        [as_dict(p, s) for p, s in zip(predicted, scores, strict=True)], [as_dict(t) for t in truth]
    )
    computed = metric.compute()
    values = ((name, float(computed[name])) for name in ("map", "map_50"))
    return {name: value if value >= 0 else float("nan") for name, value in values}


def assess(
    truth: Images, predicted: Images, scores: Images, *, patient: ArrayLike, confidence: float
) -> dict[str, Any]:
    """Returns value, low and high of every score of `SCORES`, and numbers of the images.

    Intervals are of 95 %, over patients, as a classifier's; all but the AUROC are at the one
    confidence, fixed on validation images. The mean average precisions have none (NaN). Without
    pycocotools they are NaN, with the reason in ``why_no_map``. ``predicted`` holds all boxes, with
    low scores too; ``patient`` (N,) is who each image is of.
    """
    boxes, _ = kept(predicted, scores, confidence=confidence)
    challenge = image_scores(truth, boxes)
    counts = image_counts(truth, predicted, scores, confidence=confidence)
    defined = challenge[np.isfinite(challenge)]
    number = np.array([len(np.asarray(boxes)) for boxes in truth], dtype=np.int64)
    label, highest = (number > 0).astype(np.int64), highest_scores(scores)
    interval = share_intervals(challenge, counts, patient)
    interval |= score_intervals(label, highest, patient=patient, names=("auroc",))
    value = {
        "challenge": float(defined.mean()) if defined.size else float("nan"),
        **{name: float(score) for name, score in box_scores(*map(np.sum, counts)).items()},
        "auroc": auroc(label, highest),
        **dict.fromkeys(("map", "map_50"), float("nan")),
    }
    why_no_map = None
    try:
        value |= mean_average_precision(truth, predicted, scores)
    except ModuleNotFoundError as error:
        why_no_map = str(error)
    return {
        "images": len(truth),
        "patients": int(np.unique(np.asarray(patient)).size),
        "true_boxes": int(number.sum()),
        "iou": IOU,
        "confidence": confidence,
        "why_no_map": why_no_map,
        "scores": {
            name: {"value": value[name], **interval.get(name, UNKNOWN)._asdict()} for name in SCORES
        },
    }


def share_intervals(challenge: Array, counts: Counts, patient: ArrayLike) -> dict[str, Interval]:
    """Returns intervals, over patients, of the challenge score and of precision, recall and f1.

    ``challenge``: (N,) of each image, NaN without any box. ``patient``: (N,).
    """
    hit, false, missed = counts
    wholes = {"precision": hit + false, "recall": hit + missed, "f1": hit + false + missed}
    shares = {name: share_interval(hit, whole, patient=patient) for name, whole in wholes.items()}
    shares["f1"] = f1_of_jaccard(shares["f1"]) if (hit + missed).any() else UNKNOWN
    # an image's score lies between 0 and 1 as well, so that it varies less than a share
    score, is_defined = np.nan_to_num(challenge), np.isfinite(challenge)
    return shares | {"challenge": share_interval(score, is_defined, patient=patient, least=0)}


def _by_number_kept(truth: ArrayLike, ranked: ArrayLike) -> Array:
    """Returns the challenge's score of one image with its 0, 1, ... K highest boxes, (K + 1,)."""
    num_true, boxes = len(_boxes(truth)), _boxes(ranked)
    hit = np.zeros((len(IOU_THRESHOLDS), len(boxes) + 1))
    hit[:, 1:] = hits(truth, boxes).cumsum(1)
    return np.asarray(ratio(hit, num_true + np.arange(len(boxes) + 1) - hit).mean(0))


def _pooled(truth: Images, predicted: Images, scores: Images) -> tuple[Array, Array, int, Array]:
    """Returns hits and false positives at each confidence, all true boxes, the confidences."""
    ranked = _ranked(predicted, scores)
    pairs = zip(truth, ranked, strict=True)
    hit = np.concatenate([np.zeros(0), *(hits(t, p, thresholds=[IOU])[0] for t, (p, _) in pairs)])
    order, last, confidence = _descending(ranked)
    hit_count = hit[order].cumsum()[last]
    num_true = sum(len(_boxes(t)) for t in truth)
    return hit_count, last + 1 - hit_count, num_true, confidence


def _descending(ranked: Sequence[tuple[Array, Array]]) -> tuple[Array, Array, Array]:
    """Returns the order of all boxes by score, places of each score's last one, these scores."""
    score = np.concatenate([np.zeros(0), *(s for _, s in ranked)])
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    return order, last, score[order][last]


def _ranked(predicted: Images, scores: Images) -> list[tuple[Array, Array]]:
    """Returns boxes (K, 4) and scores (K,) of each image, highest first, ties in their order."""
    pairs = []
    for boxes, score in zip(map(_boxes, predicted), scores, strict=True):
        order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")
        pairs.append((boxes[order], np.asarray(score, dtype=np.float64)[order]))
    return pairs


def _boxes(boxes: ArrayLike) -> Array:
    array = np.asarray(boxes, dtype=np.float64)
    return array.reshape(0, 4) if array.size == 0 else array
