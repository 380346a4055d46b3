"""python -m benchmarks.time_to_score: minutes to an F1 on this machine, as a table and a picture.

A run of tiny takes an hour or several, so only its speed is measured here; its F1 by epoch is that
of the runs kept in docs/runs. experiment=compact-fast is trained whole, and scored once at the end.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks import stages
from benchmarks.run import machine, processes
from pneumo.runs.metrics import read_metrics

mpl.use("Agg")
from matplotlib import pyplot as plt

KEPT = Path("docs/runs")
LEVELS = (0.920, 0.938)  # F1 of NORMAL: of a thumbnail SVM (docs/results.md), and the paper's tiny


@dataclass
class Curve:
    """F1 of NORMAL on the test split after so many seconds from the command."""

    name: str
    how: str  # measured, or extrapolated from what
    seconds: list[float]  # at the end of each epoch
    f1: list[float]

    def reached(self, level: float) -> float | None:
        """Returns the seconds at the end of the first epoch with at least this F1; None: never."""
        return next((s for s, f1 in zip(self.seconds, self.f1, strict=True) if f1 >= level), None)


def main() -> None:
    """Measures, prints, and saves time-to-score.json, .txt and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real set")
    parser.add_argument("--out", type=Path, default=Path("multirun/time-to-score"))
    parser.add_argument("--seed", type=int, default=1, help="of the split and the training")
    parser.add_argument("--seconds", type=float, default=30, help="for tiny's speed, each form")
    parser.add_argument("overrides", nargs="*", help="settings of the fast training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        curves = measure(arguments, Path(folder))
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine(), "seed": arguments.seed, "curves": [asdict(c) for c in curves]}
    (arguments.out / "time-to-score.json").write_text(json.dumps(found, indent=1) + "\n")
    text = "\n".join(table(curves)) + "\n"
    (arguments.out / "time-to-score.txt").write_text(text)
    draw(curves, arguments.out / "time-to-score.png")
    sys.stdout.write(text)


def measure(arguments: argparse.Namespace, folder: Path) -> list[Curve]:
    """Returns a curve of plain tiny, tiny and compact-fast; ``folder`` is for what they leave."""
    os.environ.setdefault("PNEUMO_CACHE", str(folder / "cache"))
    root, seed, cores = arguments.data.resolve(), arguments.seed, os.cpu_count() or 1
    common = ["data=kermany", f"data.root={root}", f"seed={seed}", "trainer=cpu"]
    curves = [
        extrapolated(name, form, common, arguments.seconds, cores, seed)
        for name, form in (("tiny, plain PyTorch", "plain"), ("tiny", "fast"))
    ]
    words = [*common, "experiment=compact-fast", f"trainer.devices={min(2, cores)}"]
    words += arguments.overrides
    one = ["trainer.max_epochs=1", "hydra.run.dir=warm", "trainer.limit_train_batches=1"]
    stages.command("pneumo.train", *words, *one, cwd=folder)  # fills the cache, as for the others
    total = stages.command("pneumo.train", *words, "hydra.run.dir=fast", cwd=folder)
    f1 = read_metrics(folder / "fast")["best"]["test"]["f1_normal"]  # scored at the end only
    curves.append(Curve("compact-fast", "measured", [total], [f1]))
    return curves


def extrapolated(
    name: str, form: str, common: list[str], seconds: float, cores: int, seed: int
) -> Curve:
    """Returns a curve of tiny from its speed here and its F1 by epoch in a kept run."""
    kept = KEPT / f"model=tiny,seed={seed},data=kermany"
    metrics: dict[str, Any] = {**read_metrics(kept)}
    splits, f1 = metrics["data"]["splits"], [row["test"]["f1_normal"] for row in metrics["history"]]
    rate = processes(form, common, seconds, cores, 1)[0]
    epoch = splits["train"]["images"] / rate["training"]
    epoch += splits["test"]["images"] / rate["evaluation"]
    how = f"{epoch:.0f} s an epoch, extrapolated"
    return Curve(name, how, (epoch * np.arange(1, len(f1) + 1)).tolist(), f1)


def table(curves: list[Curve]) -> list[str]:
    """Returns the lines of the table, at most 80 columns wide."""
    heads = "".join(f"{f'F1 {level:.3f}':>13}" for level in LEVELS)
    text = [f"{'':34}{'all':>9}{heads}{'last F1':>9}"]
    for curve in curves:
        times = "".join(f"{minutes(curve.reached(level)):>13}" for level in LEVELS)
        whole = minutes(curve.seconds[-1])
        text.append(f"{curve.name:34}{whole:>9}{times}{curve.f1[-1]:9.3f}")
        text.append(f"  {curve.how}")
    return [*text, "", "Minutes from the command; the F1 of NORMAL is of the test split."]


def minutes(seconds: float | None) -> str:
    """Returns minutes with one digit, or never."""
    return "never" if seconds is None else f"{seconds / 60:.1f}"


def draw(curves: list[Curve], path: Path) -> None:
    """Saves the curves as a picture."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for curve in curves:
        times = np.array(curve.seconds) / 60
        axes.plot(times, curve.f1, marker=".", label=f"{curve.name} ({curve.how})")
    for level in LEVELS:
        axes.axhline(level, color="grey", linewidth=0.8, linestyle=":")
        axes.annotate(f"{level:.3f}", (1, level), xycoords=("axes fraction", "data"), fontsize=8)
    axes.set(xscale="log", xlabel="minutes from the command", ylabel="F1 of NORMAL, test split")
    axes.set_ylim(0.6, 1)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
