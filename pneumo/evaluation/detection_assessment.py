"""A detector's boxes on one set of images become all that is said of them, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.detection import (
    IOU,
    box_scores,
    highest_scores,
    image_counts,
    image_scores,
    kept,
    mean_average_precision,
)
from pneumo.evaluation.intervals import patient_weights, percentile_interval, score_intervals
from pneumo.evaluation.metrics import Array, auroc, ratio

RESAMPLES = 1000  # of the patients
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

    Intervals are of 95 %, over patients: of the AUROC as a classifier's, of the others the middle
    of `RESAMPLES` resamples of the patients, at the one confidence. The mean average precisions
    have none (NaN): each resample would rank all boxes anew. They are NaN, with the reason in
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
    one = np.ones((len(truth), 1))
    weight = patient_weights(patient, resamples=RESAMPLES)(0, RESAMPLES)
    value = {name: float(found[0]) for name, found in _weighted(challenge, counts, one).items()}
    drawn = _weighted(challenge, counts, weight)
    interval = {name: percentile_interval(found)._asdict() for name, found in drawn.items()}
    label = np.array([len(np.asarray(boxes)) > 0 for boxes in truth], dtype=np.int64)
    highest = highest_scores(scores)
    value["auroc"] = auroc(label, highest)
    found = score_intervals(label, highest, patient=patient, names=("auroc",))
    interval["auroc"] = found["auroc"]._asdict()
    maps, why_not = _mean_average_precision(truth, predicted, scores)
    value |= maps
    nan = float("nan")
    return {
        "images": len(truth),
        "patients": int(np.unique(np.asarray(patient)).size),
        "true_boxes": int(sum(map(len, map(np.asarray, truth)))),
        "iou": IOU,
        "confidence": confidence,
        "why_no_map": why_not,
        "scores": {
            name: {"value": value[name], **interval.get(name, {"low": nan, "high": nan})}
            for name in SCORES
        },
    }


def _weighted(challenge: Array, counts: Sequence[Array], weight: Array) -> dict[str, Array]:
    """Scores of B weightings (N, B) of the images, (B,) each."""
    counted = np.isfinite(challenge)
    mean = ratio(np.nan_to_num(challenge) @ weight, counted.astype(np.float64) @ weight)
    return {"challenge": mean, **box_scores(*(each @ weight for each in counts))}


def _mean_average_precision(
    truth: Sequence[ArrayLike], predicted: Sequence[ArrayLike], scores: Sequence[ArrayLike]
) -> tuple[dict[str, float], str | None]:
    try:
        return mean_average_precision(truth, predicted, scores), None
    except ModuleNotFoundError as error:
        return dict.fromkeys(("map", "map_50"), float("nan")), str(error)
