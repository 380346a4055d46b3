"""The first page of a run folder that is handed on: how to use it, what made it, whose images."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pneumo.data.sets import class_of
from pneumo.evaluation.scores import CLINICAL
from pneumo.evaluation.scores import SCORES as ALL_SCORES
from pneumo.report.wording import decimal
from pneumo.runs.metrics import how_chosen

SCORES = {"accuracy": "accuracy"} | {k: CLINICAL[k] for k in ("sensitivity", "specificity")}
SCORES |= {ALL_SCORES[name].title: name for name in ("f1_normal", "auroc")}


def write(metrics: Mapping[str, Any], *, overrides: Sequence[str], card: str) -> str:
    """Returns the card of a run folder that is handed on, as Markdown.

    Args:
        metrics: metrics.json of the run.
        overrides: of the command that trained it.
        card: the run's own model card, which follows.
    """
    data = metrics["data"]
    data_set = class_of(data["kind"])
    command = shlex.join(["python", "-m", "pneumo.train", *overrides])
    rows = [
        f"| {split}, {counts['images']:,} images | "
        + " | ".join(decimal(metrics["best"][split][key]) for key in SCORES.values())
        + " |"
        for split, counts in data["splits"].items()
        if split in ("val", "test")
    ]
    lines = [
        f"# Trained weights: {metrics['model']}",
        "",
        "> **Research use only. Not a medical device.** No decision about a person may rest on it.",
        "",
        f"A run folder with the weights of epoch {metrics['best']['epoch'] + 1} of "
        f"{len(metrics['history'])}, {how_chosen(metrics['selection'])}, without the "
        "optimizer's state. Trained by",
        "",
        f"    {command}",
        "",
        f"with pneumo {metrics['versions']['pneumo']}, commit "
        f"{metrics.get('git_commit') or 'not recorded'}, seed {metrics['seed']}, in "
        f"{metrics['seconds']['total'] / 60:.1f} minutes on {metrics['machine']['device']}. "
        f"Split: SHA-256 `{data['split_sha256']}`.",
        "",
        f"Scores at a probability of 0.5, protocol={metrics['protocol']}:",
        "",
        f"| split | {' | '.join(SCORES)} |",
        "| --- |" + " ---: |" * len(SCORES),
        *rows,
        "",
        f"Weights and code: MIT. Licence of the images it was trained on: "
        f"{data.get('licence') or data_set.licence}"
        + (f". Cite them: {data_set.citation}." if data_set.citation else "."),
        "",
        "split.csv.gz names the files and patients of the set, so that `python -m pneumo.evaluate` "
        "can refuse images that it was trained on. No image is in here. The card of the run "
        'follows; where it says "inside the file", it speaks of the ONNX file that '
        "`python -m pneumo.export` makes.",
        "",
    ]
    return "\n".join(lines) + "\n" + card
