"""The scores of detectors, and their boxes as one detector's: fused, or those of highest score.

Weights, and the fused boxes' confidence, come from validation images only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.detection import INSTALL, assess, challenge_score, fit_confidence, kept
from pneumo.evaluation.metrics import Array
from pneumo.inference.ensemble import common_paths
from pneumo.runs import run_folder
from pneumo.runs.run import Run
from pneumo.runs.tables import ImageBoxes, same_truth
from pneumo.runs.tasks import DETECTION

WBF_IOU = 0.55  # from which boxes are fused; the default of its authors
NMS_IOU = 0.5

Boxes = Sequence[ArrayLike]  # (K_m, 4) of each of M members, in pixels
Scores = Sequence[ArrayLike]  # (K_m,) of each member, in [0, 1]


def weighted_box_fusion(
    boxes: Boxes, scores: Scores, *, weights: ArrayLike, iou: float = WBF_IOU
) -> tuple[Array, Array]:
    """Returns fused boxes (K, 4) and scores (K,) of one image, the highest first.

    Boxes that overlap by more than ``iou`` become their mean, weighted by score and member; a box
    that few members predict loses score, one of score 0 or without area is left out, and so is a
    member of weight 0. Solovyev et al., Image and Vision Computing 107 (2021) 104117, by their own
    package. ``weights``: (M,); their scale does not matter. ValueError: it is not installed.
    """
    try:
        from ensemble_boxes import weighted_boxes_fusion
    except ModuleNotFoundError as error:
        raise ValueError(f"weighted box fusion needs {error.name}; {INSTALL}") from None
    boxes, scores, weight = _usable(boxes, scores, weights)
    every = np.concatenate(boxes)
    if not len(every):
        return np.zeros((0, 4)), np.zeros(0)
    # it requires coordinates in [0, 1]; neither IoU nor mean depends on the origin or scale
    low = np.tile(every.reshape(-1, 2).min(0), 2)
    size = np.tile(every.reshape(-1, 2).max(0), 2) - low
    inside = [(b - low) / size for b in boxes]
    labels = [np.zeros(len(b)) for b in inside]
    fused, score, _ = weighted_boxes_fusion(inside, scores, labels, weights=weight, iou_thr=iou)
    order = np.argsort(-score, kind="stable")
    return (fused * size + low)[order], np.clip(score, 0, 1)[order]


def non_maximum_suppression(
    boxes: Boxes, scores: Scores, *, weights: ArrayLike, iou: float = NMS_IOU
) -> tuple[Array, Array]:
    """Returns the boxes of one image that overlap none of higher score, the highest first.

    See `weighted_box_fusion`; scores count by weight, the greatest being 1. By torchvision, since
    ensemble-boxes compiles its own by numba first.
    """
    import torch
    from torchvision.ops import nms

    boxes, scores, weight = _usable(boxes, scores, weights)
    every = np.concatenate(boxes)
    score = np.concatenate([s * (w / max(weight)) for s, w in zip(scores, weight, strict=True)])
    keep = nms(torch.from_numpy(every), torch.from_numpy(score), iou).numpy()
    return every[keep], score[keep]


METHODS = {
    "weighted box fusion": weighted_box_fusion,
    "non-max suppression": non_maximum_suppression,
}


def common(runs: Sequence[Run], split: str) -> list[ImageBoxes]:
    """Returns each run's boxes on the images of a split that are new to all, see common_paths.

    ValueError: they have different true boxes, or none is left.
    """
    of_split, paths = [run.boxes.of_split(split) for run in runs], common_paths(runs, split)
    if not paths:
        raise ValueError(
            f"no image of the {split} splits is shared by all runs and new to them; take runs of "
            "one split"
        )
    parts = [part.only(part.images["path"].isin(paths).to_numpy()) for part in of_split]
    if not same_truth(parts):
        raise ValueError("the runs must have the same true boxes; take runs of the same data")
    return parts


def fit_weights(val: Sequence[ImageBoxes]) -> Array:
    """Returns (M,) weights of sum 1, proportional to the challenge scores on validation images.

    Equal weights if no member scores above 0.
    """
    scores = np.array([_best_score(part) for part in val])
    return scores / scores.sum() if scores.any() else np.full(scores.size, 1 / scores.size)


def fuse(parts: Sequence[ImageBoxes], *, weights: ArrayLike, method: str) -> ImageBoxes:
    """Returns the members' boxes of the same images, fused by a method of `METHODS`."""
    first, pairs = parts[0], []
    for place in range(len(first.truth)):
        boxes, scores = ([getattr(p, key)[place] for p in parts] for key in ("predicted", "scores"))
        pairs.append(METHODS[method](boxes, scores, weights=weights))
    return ImageBoxes(first.images, first.truth, *([pair[i] for pair in pairs] for i in (0, 1)))


def fit(runs: Sequence[Run], *, method: str = "weighted box fusion") -> dict[str, Any]:
    """Returns weights and confidence fitted on validation images, and their number val_images.

    ValueError: see `common`; or ensemble-boxes is not installed.
    """
    val = common(runs, "val")
    weights = fit_weights(val)
    on_val = fuse(val, weights=weights, method=method)
    return {
        "weights": weights.tolist(),
        "confidence": fit_confidence(on_val.truth, on_val.predicted, on_val.scores),
        "val_images": len(on_val.images),
    }


def evaluate(runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the scores of each detector, and of their fusion by each method.

    Raises:
        FileNotFoundError, ValueError: a run is broken, or has no test images; the runs have none in
            common.
    """
    run_folder.check_named_once([run.run_dir for run in runs])
    if untested := [run for run in runs if run.of_split("test").empty]:
        raise ValueError(
            f"a run must have test images to be scored on; {untested[0].name} has none. Name a run "
            "whose split.csv has a test split"
        )
    tests = common(runs, "test")
    images = tests[0].images
    left_out = len(runs[0].of_split("test")) - len(images)
    notes = [str(n) for n in dict.fromkeys(run.metrics["data"].get("note") for run in runs) if n]
    if left_out:
        notes.append(
            f"{left_out:,} test images of {runs[0].name} are left out: another run was trained on "
            "their patients, or did not test on them"
        )
    return {
        "schema": 1,
        "task": DETECTION,
        "scored_on": {
            "what": "the test images that all runs share" if len(runs) > 1 else "the test split",
            "images": len(images),
            "patients": int(images["patient"].nunique()),
            "with_boxes": int(sum(len(boxes) > 0 for boxes in tests[0].truth)),
            "left_out": left_out,
        },
        "notes": notes,
        "members": [
            {"run": run.name, **_assess(test, run.confidence)}
            for run, test in zip(runs, tests, strict=True)
        ],
        "fused": {m: _fused(runs, tests, m) for m in METHODS if len(runs) > 1},
    }


def _assess(boxes: ImageBoxes, confidence: float) -> dict[str, Any]:
    about: dict[str, Any] = {"patient": boxes.images["patient"], "confidence": confidence}
    return assess(boxes.truth, boxes.predicted, boxes.scores, **about)


def _fused(runs: Sequence[Run], tests: Sequence[ImageBoxes], method: str) -> dict[str, Any]:
    try:
        about = fit(runs, method=method)
        boxes = fuse(tests, weights=about["weights"], method=method)
    except ValueError as error:  # no validation images in common, or no ensemble-boxes
        return {"why_not": str(error)}
    return about | _assess(boxes, about["confidence"])


def _best_score(part: ImageBoxes) -> float:
    confidence = fit_confidence(part.truth, part.predicted, part.scores)
    score = challenge_score(part.truth, *kept(part.predicted, part.scores, confidence=confidence))
    return 0.0 if np.isnan(score) else score


def _usable(
    boxes: Boxes, scores: Scores, weights: ArrayLike
) -> tuple[list[Array], list[Array], list[float]]:
    """Returns boxes with area and a score above 0, and their scores, of members of weight above 0.

    Mean and overlap of others would be NaN. The weights are those of these members.
    """
    usable = []
    for box, score, weight in zip(boxes, scores, np.asarray(weights, np.float64), strict=True):
        if weight > 0:
            corners = np.reshape(box, (-1, 4)).astype(np.float64)
            value = np.asarray(score, np.float64)
            mask = (value > 0) & (corners[:, 2:] > corners[:, :2]).all(1)
            usable.append((corners[mask], value[mask], float(weight)))
    return tuple(map(list, zip(*usable, strict=True)))  # type: ignore[return-value]
