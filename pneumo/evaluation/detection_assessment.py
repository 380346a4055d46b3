"""The assessment of a detector's boxes on one set of images: every score with its interval."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.detection import (
    IOU,
    Counts,
    Images,
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
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.scores import BOX_SCORES, auroc

SCORES = {name: score.heading for name, score in BOX_SCORES.items()}
MAP_SENTENCE = (
    "mAP differs from the challenge score: it ranks the boxes of all images together, at IoU 0.50 "
    "and above, and needs no confidence; the challenge scores image by image at one confidence and "
    "from IoU 0.40 on, and a single false box on an image without truth makes that image 0."
)


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
