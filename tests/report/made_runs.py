"""Made-up run folders for the tests of the report, and readers of what it writes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pneumo.evaluation.metrics import confusion
from pneumo.evaluation.scores import scores
from pneumo.labels import CLASS_NAMES
from pneumo.report.ensembles import add_ensembles
from pneumo.report.groups import Group, group_trials
from pneumo.report.reading import read_run
from pneumo.report.trials import Trial
from pneumo.runs.run_folder import find_runs

SIZES = {"tiny": (115_062, 83_304_648), "small": (281_000, 120_000_000),
         "medium": (1_020_000, 210_000_000), "large": (4_060_000, 800_000_000)}  # fmt: skip
SKILL = {"tiny": 3.6, "small": 3.5, "medium": 3.4, "large": 3.4}


def make_run(
    sweep: Path,
    *,
    model: str = "tiny",
    seed: int = 0,
    protocol: str = "paper",
    kind: str = "kermany",
    index: str = "aa11",
    images: int = 200,
    epochs: int = 6,
    sick: float = 0.73,
    settings: dict[str, Any] | None = None,
    **changed: Any,
) -> Path:
    """Writes a finished run with random but plausible predictions, and returns its folder."""
    rng = np.random.default_rng([seed, sum(map(ord, model))])
    split = np.random.default_rng(seed)
    patient = np.sort(split.integers(0, max(2, images // 2), images))
    label = (split.random(images // 2 + 2)[patient] < sick).astype(int)
    score = rng.normal((label - 0.5) * SKILL.get(model, 3), 1)
    probability = (1 / (1 + np.exp(-2 * score))).round(4)
    test = scores_of(label, probability)
    rise = 1 - np.exp(-np.arange(1, epochs + 1) / (epochs / 8))
    best = epochs - 1 - seed % 3

    def at(epoch: int, shift: float) -> dict[str, Any]:
        wobble = rise[epoch] / rise[best] + shift + (epoch != best) * rng.normal(-0.01, 0.004)
        return {k: v if k == "confusion" else min(1.0, v * wobble) if v is not None else None
                for k, v in test.items()}  # fmt: skip

    parts = ("train", "test") if protocol == "paper" else ("train", "val", "test")
    history: list[dict[str, Any]] = [
        {"epoch": e, "seconds": 6.0} | {p: at(e, 0.02 * (p == "train")) for p in parts}
        for e in range(epochs)
    ]
    history[best]["test"] = test
    sizes = {
        name: {"images": n, "patients": n // 2, "NORMAL": n // 4, "PNEUMONIA": n - n // 4}
        for name, n in (("train", 7 * images // 3), ("val", images // 3))
        if name in parts
    }
    sizes["test"] = {"images": images, "patients": len(set(patient)),
                     "NORMAL": int((label == 0).sum()), "PNEUMONIA": int(label.sum())}  # fmt: skip
    content = {
        "schema": 1, "model": model, "seed": seed, "protocol": protocol, "fold": None,
        "decision": "argmax" if protocol == "paper" else "sensitivity",
        "num_classes": 2, "batch_norm": True,
        "selection": {"monitor": "f1_normal", "on": "test" if protocol == "paper" else "val"},
        "data": {"kind": kind, "root_name": "chest_xray", "images": 10 * images // 3,
                 "patients": 5 * images // 3, "split_sha256": f"{index}-{protocol}-{seed}",
                 "index_sha256": index, "splits": sizes},
        "best": {"epoch": best, **{p: history[best][p] for p in parts}},
        "last": {"epoch": epochs - 1, **{p: history[-1][p] for p in parts}},
        "history": history,
        "parameters": SIZES.get(model, (1000, 1000))[0],
        "multiply_adds": SIZES.get(model, (1000, 1000))[1],
        "seconds": {"total": 310.0 + seed, "train": 300.0},
        "versions": {"numpy": "2"}, "git_commit": "abc1234",
        "machine": {"accelerator": "cpu", "device": "cpu", "cpu": "x", "threads": 2},
    } | changed  # fmt: skip
    folder = sweep / f"model={model},protocol={protocol},seed={seed}"
    (folder / ".hydra").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    configure(folder, seed=seed, model={"name": model}, trainer={"max_epochs": epochs},
              protocol={"name": protocol, "fold": changed.get("fold")},
              optimizer={"lr": 0.001} | (settings or {}))  # fmt: skip
    write_status(folder, status="done", epoch=epochs - 1, max_epochs=epochs)
    text = "path,patient,label,split,p_normal,p_pneumonia\n" + "".join(
        f'"a,{i}.jpeg",p{p},{CLASS_NAMES[y]},test,{1 - s:.4f},{s:.4f}\n'
        for i, (p, y, s) in enumerate(zip(patient, label, probability, strict=True))
    )
    (folder / "predictions.csv").write_text(text)
    return folder


def make_baseline(sweep: Path, **changed: Any) -> Path:
    """Writes a finished run of an SVM, which has no epochs and no size."""
    return make_run(sweep, model="thumbnail_svm", baseline=True, selection=None, history=[],
                    parameters=None, multiply_adds=None, **changed)  # fmt: skip


def scores_of(label: Any, probability: Any) -> dict[str, Any]:
    """The scores of one split as metrics.json has them: null where undefined."""
    values = scores(label, probability)
    table = confusion(label, probability >= 0.5).tolist()
    known = {name: None if np.isnan(value) else value for name, value in values.items()}
    return known | {"loss": 0.1, "confusion": table}


def write_status(folder: Path, **status: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"error": None, "time": "2025-01-01T00:00:00"} | status
    (folder / "status.json").write_text(json.dumps(content))


def configure(folder: Path, **changed: dict[str, Any] | int | str) -> None:
    """Writes the configuration that a run of pneumo.train writes."""
    content = {"seed": 0, "model": {"name": "tiny"}, "protocol": {"name": "paper", "fold": None}}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(content | changed))


def groups_of(root: Path) -> list[Group]:
    """The groups of the runs below a folder."""
    runs = [read_run(path, name=path.name) for path in find_runs(root)]
    groups, _ = group_trials([run for run in runs if isinstance(run, Trial)])
    add_ensembles(groups)
    return groups


def read_metrics(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return content


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = read_metrics(folder)
    change(content)
    (folder / "metrics.json").write_text(json.dumps(content))


def rescore(folder: Path, when: str = "best", split: str = "test", **scores: Any) -> None:
    """Overwrites scores of a run."""
    edit(folder, lambda content: content[when].setdefault(split, {}).update(scores))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def row_of(path: Path, **wanted: str) -> dict[str, str]:
    """The only row of a table with these values."""
    (row,) = [r for r in rows_of(path) if all(r[k] == v for k, v in wanted.items())]
    return row


def score_of(report: Path, score: str, **wanted: str) -> dict[str, str]:
    """The only row of summary.csv with a score on the test split at the best epoch."""
    return row_of(report / "summary.csv", epoch="best", split="test", score=score, **wanted)


def summary(report: Path) -> str:
    return (report / "summary.md").read_text()


def page(report: Path) -> str:
    return (report / "report.html").read_text()
