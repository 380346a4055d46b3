"""Made-up run folders of detectors, for the tests of what reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pneumo.data import split
from pneumo.labels import CLASS_NAMES
from pneumo.runs.tables import BOX_COLUMNS

SIDE = 200.0  # pixels of an image
SPLITS = ("train", "val", "test")


def make_detector(
    folder: Path,
    *,
    seed: int = 0,
    skill: float = 6.0,
    images: int = 90,
    model: str = "retinanet",
    parts: tuple[str, ...] = SPLITS,
    source: dict[str, Any] | None = None,
    **changed: Any,
) -> Path:
    """Writes a finished detector; the truth is the same for all seeds, the predictions are not.

    Args:
        folder: of the run.
        seed: of the predictions.
        skill: pixels by which predicted boxes miss the true ones.
        images: how many; half of them with one or two boxes, two images per patient.
        model: its name.
        parts: split of the images, by turns of patients.
        source: the data set of the configuration.
        changed: keys of metrics.json.
    """
    table, truth = _truth(images, parts)
    rng = np.random.default_rng(seed)
    scored = table[table["split"] != "train"]
    rows, highest = [], []
    for at, image in zip(scored.index, scored.itertuples(), strict=True):
        found = _predicted(truth[at], rng, skill)
        about = (image.path, image.patient, image.split)
        rows += [(*about, "truth", "", *box) for box in truth[at]]
        rows += [(*about, "predicted", score, *box) for box, score in found]
        highest.append(max((score for _, score in found), default=0.0))
    (folder / ".hydra").mkdir(parents=True)
    pd.DataFrame(rows, columns=BOX_COLUMNS).to_csv(folder / "boxes.csv", index=False)
    predictions = scored[["path", "patient", "label", "split"]]
    predictions = predictions.assign(p_normal=1 - np.array(highest), p_pneumonia=highest)
    predictions.to_csv(folder / "predictions.csv", index=False)
    table.to_csv(folder / "split.csv", index=False)
    config = {"task": "detection", "data": {"source": source or {}}}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    metrics = {
        "schema": 1,
        "task": "detection",
        "confidence": 0.5,
        "model": model,
        "seed": seed,
        "protocol": "holdout",
        "data": {"kind": "phantom", "split_sha256": split.digest(table)},
        "best": {"epoch": 4, "test": {}},
        "last": {"epoch": 5, "test": {}},
    } | changed
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "status.json").write_text(json.dumps({"status": "done"}))
    return folder


def _truth(images: int, parts: tuple[str, ...]) -> tuple[pd.DataFrame, list[Any]]:
    rng = np.random.default_rng(7)
    label = [CLASS_NAMES[number % 2] for number in range(images)]
    patient = [f"p{number // 2:03}" for number in range(images)]
    table = pd.DataFrame(
        {
            "path": [f"{n:03}.png" for n in range(images)],
            "patient": patient,
            "group": patient,
            "label": label,
            "subtype": "",
            "source": "",
            "split": [parts[n // 2 % len(parts)] for n in range(images)],
        }
    )
    truth = []
    for number in range(images):
        corner = rng.uniform(20, 100, (number % 2 * rng.integers(1, 3), 2))
        truth.append(np.hstack([corner, corner + rng.uniform(40, 80, corner.shape)]).round(1))
    return table, truth


def _predicted(truth: Any, rng: Any, skill: float) -> list[tuple[Any, float]]:
    """A box near most of the true ones, with a high score, and some anywhere, with a low one."""
    near = [_with_area(b + rng.normal(0, skill, 4)) for b in truth if rng.random() < 0.85]
    corner = rng.uniform(0, 120, (rng.integers(0, 3), 2))
    far = np.hstack([corner, corner + rng.uniform(30, 60, corner.shape)])
    scored = [(box.round(1), float(rng.beta(6, 2))) for box in near]
    return scored + [(box.round(1), float(rng.beta(2, 6))) for box in far]


def _with_area(box: Any) -> Any:
    return np.concatenate([box[:2], np.maximum(box[2:], box[:2] + 2)])
