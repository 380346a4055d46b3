"""A detector's boxes on one set of images become all that is said of them, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.detection import (
    IOU,
    Counts,
    box_scores,
    highest_scores,
    image_counts,
    image_scores,
    kept,
    mean_average_precision,
)
from pneumo.evaluation.intervals import (
    UNKNOWN,
    Interval,
    f1_of_jaccard,
    score_intervals,
    share_interval,
)
from pneumo.evaluation.metrics import Array, auroc

SCORES = {  # by name: what a table calls it
    "challenge": "Challenge score",
    "map_50": "mAP at IoU 0.50",
    "map": "mAP at IoU 0.50 to 0.95",
    "f1": f"F1 at IoU {IOU}",
    "precision": f"Precision at IoU {IOU}",
    "recall": f"Recall at IoU {IOU}",
    "auroc": "AUROC of images",
}

MAP_SENTENCE = (
    "mAP is another number than the challenge score: it ranks the boxes of all images together, at "
    "IoU 0.50 and above, and needs no confidence; the challenge scores image by image at one "
    "confidence and from IoU 0.40 on, and a single false box on an image without truth costs it "
    "that image."
)


def assess(
    truth: Sequence[ArrayLike],
    predicted: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    *,
    patient: ArrayLike,
    confidence: float,
) -> dict[str, Any]:
    """Returns value, low and high of every score of `SCORES`, and what they are of.

    Intervals are of 95 %, over patients, as a classifier's; of all but the AUROC at the one
    confidence. The mean average precisions have none (NaN). They are NaN, with the reason in
    ``why_no_map``, where pycocotools is not installed.

    Args:
        truth: (M, 4) of each image.
        predicted: (K, 4) of each image, all of them, with low scores too.
        scores: (K,) of each image.
        patient: (N,) who each image is of.
        confidence: from which a box counts, fixed on validation images.
    """
    boxes, _ = kept(predicted, scores, confidence=confidence)
    challenge = image_scores(truth, boxes)
    counts = image_counts(truth, predicted, scores, confidence=confidence)
    there = np.isfinite(challenge)
    value = {"challenge": float(challenge[there].mean()) if there.any() else float("nan")}
    value |= {name: float(score) for name, score in box_scores(*map(np.sum, counts)).items()}
    interval = share_intervals(challenge, counts, patient)
    label = np.array([len(np.asarray(boxes)) > 0 for boxes in truth], dtype=np.int64)
    highest = highest_scores(scores)
    value["auroc"] = auroc(label, highest)
    interval |= score_intervals(label, highest, patient=patient, names=("auroc",))
    maps, why_not = _mean_average_precision(truth, predicted, scores)
    value |= maps
    return {
        "images": len(truth),
        "patients": int(np.unique(np.asarray(patient)).size),
        "true_boxes": int(sum(map(len, map(np.asarray, truth)))),
        "iou": IOU,
        "confidence": confidence,
        "why_no_map": why_not,
        "scores": {
            name: {"value": value[name], **interval.get(name, UNKNOWN)._asdict()} for name in SCORES
        },
    }


def share_intervals(challenge: Array, counts: Counts, patient: ArrayLike) -> dict[str, Interval]:
    """Intervals, over patients, of the challenge score and of precision, recall and f1.

    Args:
        challenge: (N,) of each image, NaN without any box.
        counts: (N,) each.
        patient: (N,) who each image is of.
    """
    hit, false, missed = counts
    wholes = {"precision": hit + false, "recall": hit + missed, "f1": hit + false + missed}
    found = {name: share_interval(hit, whole, patient=patient) for name, whole in wholes.items()}
    found["f1"] = f1_of_jaccard(found["f1"]) if (hit + missed).any() else UNKNOWN
    # an image's score lies between 0 and 1 as well, so that it varies less than a share
    score, there = np.nan_to_num(challenge), np.isfinite(challenge)
    return found | {"challenge": share_interval(score, there, patient=patient, least=0)}


def _mean_average_precision(
    truth: Sequence[ArrayLike], predicted: Sequence[ArrayLike], scores: Sequence[ArrayLike]
) -> tuple[dict[str, float], str | None]:
    try:
        return mean_average_precision(truth, predicted, scores), None
    except ModuleNotFoundError as error:
        return dict.fromkeys(("map", "map_50"), float("nan")), str(error)
