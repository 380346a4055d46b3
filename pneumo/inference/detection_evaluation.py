"""The scores of finished detectors on their own test split, alone and fused, and their text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pneumo import cli
from pneumo.evaluation.detection import MAP_SENTENCE, SCORES, assess
from pneumo.inference import fusion
from pneumo.runs import run_folder
from pneumo.runs.run import Run
from pneumo.runs.tables import ImageBoxes
from pneumo.runs.tasks import DETECTION

TABLES = (("challenge", "f1", "auroc"), ("precision", "recall", "map_50"))
WIDTH = 20  # columns of a number and its interval


def evaluate(runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the scores of each detector, and of the fusions of several.

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
    tests = fusion.common(runs, "test")
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
            "what": "the test images all share" if len(runs) > 1 else "the test split",
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
        "fused": [_fused(runs, tests, method) for method in fusion.METHODS]
        if len(runs) > 1
        else [],
    }


def _assess(boxes: ImageBoxes, confidence: float) -> dict[str, Any]:
    about: dict[str, Any] = {"patient": boxes.images["patient"], "confidence": confidence}
    return assess(boxes.truth, boxes.predicted, boxes.scores, **about)


def _fused(runs: Sequence[Run], tests: Sequence[ImageBoxes], method: str) -> dict[str, Any]:
    try:
        about = fusion.fit(runs, method=method)
        boxes = fusion.fuse(tests, weights=about["weights"], method=method)
    except ValueError as error:  # no validation images in common, or no ensemble-boxes
        return {"method": method, "why_not": str(error)}
    return {"method": method, **about, **_assess(boxes, about["confidence"])}


def text(scores: dict[str, Any]) -> list[str]:
    """Returns the lines for a terminal; the JSON holds all of it."""
    on, iou = scores["scored_on"], scores["members"][0]["iou"]
    entries = {entry["run"]: entry for entry in scores["members"]}
    entries |= {
        fusion.TITLES[entry["method"]]: entry for entry in scores["fused"] if "scores" in entry
    }
    lines = [
        f"Scored on {on['what']}: {on['images']:,} images of {on['patients']:,} patients, "
        f"{on['with_boxes']:,} with boxes",
        *(f"! {note}" for note in scores["notes"]),
    ]
    short = cli.short_names([entry["run"] for entry in scores["members"]], width=WIDTH - 1)
    for names in TABLES:
        heads = (f"{SCORES[name].removesuffix(f' at IoU {iou}'):{WIDTH}}" for name in names)
        lines += ["", (" " * WIDTH + "".join(heads)).rstrip()]
        for run, entry in entries.items():
            shown = (f"{_number(entry['scores'][name]):{WIDTH}}" for name in names)
            lines.append(f"{short.get(run, run):{WIDTH}}" + "".join(shown).rstrip())
    lines += ["", f"F1, precision and recall of boxes at IoU {iou} and at the confidence fixed on"]
    lines.append("validation images:")
    lines += [
        f"  {entry['confidence']:.4f}  {short.get(run, run)}" for run, entry in entries.items()
    ]
    for entry in scores["fused"]:
        if "why_not" in entry:
            lines.append(f"no {fusion.TITLES[entry['method']]}: {entry['why_not']}")
    if weights := next((entry["weights"] for entry in scores["fused"] if "weights" in entry), None):
        lines.append(
            "weights of the fusions, from validation: " + " ".join(f"{w:.3f}" for w in weights)
        )
    why_no_map = scores["members"][0]["why_no_map"]
    return [*lines, f"no mAP: {why_no_map}" if why_no_map else MAP_SENTENCE]


def _number(scores: dict[str, float]) -> str:
    value, low, high = (scores[key] for key in ("value", "low", "high"))
    if np.isnan(value):
        return "?"
    return f"{value:.3f}" + ("" if np.isnan(low) else f" {low:.3f}-{high:.3f}")
