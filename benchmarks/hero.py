"""The README's picture: `python -m benchmarks.hero`. A heat map, and scores on three test sets.

The radiograph is a generated one (data=phantom); the scores are those of the kept runs. A bar goes
from the lowest to the highest seed; on external images it is the 95 % interval of one run.
"""

import json
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes

from benchmarks.kept import RUNS, read, scores
from benchmarks.zoo import Runs, recipes
from pneumo.data import image, phantom, reader
from pneumo.inference import saliency
from pneumo.inference.saliency import LogOdds
from pneumo.labels import PNEUMONIA
from pneumo.runs import pretrained
from pneumo.runs.run import Run

mpl.use("Agg")
from matplotlib import pyplot as plt

OUT = RUNS.parent / "figures" / "three-numbers.png"
SHOWN = {
    "thumbnail_svm": "thumbnail SVM",
    "tiny": "tiny, the paper's",
    "compact-robust": "compact-robust",
}
PLACES = ("random", "official", "external")
SCORES = {"auroc": "AUROC", "accuracy": "accuracy"}


def main() -> None:
    """Draws the picture."""
    figure, axes = plt.subplots(
        1, 4, figsize=(11, 3.2), layout="constrained", width_ratios=(1, 1, 1.3, 1.3)
    )
    draw_radiograph(*axes[:2])
    for panel, (name, title) in zip(axes[2:], SCORES.items(), strict=True):
        draw_scores(panel, name, title)
    axes[2].legend(
        *axes[3].get_legend_handles_labels(), loc="lower left", frameon=False, fontsize=9
    )
    figure.savefig(OUT, dpi=110)


def draw_radiograph(plain: Axes, mapped: Axes) -> None:
    """Draws a generated radiograph of pneumonia, and the evidence for it."""
    run = Run.open(pretrained.DEFAULT)
    with tempfile.TemporaryDirectory() as folder:
        root = phantom.generate(Path(folder) / "set", num_images=24, seed=0, progress=False)
        path = next(iter(sorted(root.rglob(f"{PNEUMONIA}/*"))))
        picture = reader.decode(str(path))[0]
    pixels = image.resize(picture, size=run.image_size, aspect=run.aspect)
    network = run.network()
    odds = LogOdds(network, range(1, network.num_classes), views=run.views).eval()
    heat = saliency.explain(odds, pixels.astype(np.float32), method=network.heatmap_method)
    for panel, title in ((plain, "a generated radiograph"), (mapped, "evidence for PNEUMONIA")):
        panel.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        panel.set_title(title, fontsize=10)
        panel.set_axis_off()
    mapped.imshow(heat, cmap="inferno", alpha=0.55)


def draw_scores(panel: Axes, name: str, title: str) -> None:
    """Draws a score of each system on the three test sets."""
    known = recipes()
    for place, (recipe, label) in enumerate(SHOWN.items()):
        for column, (low, middle, high) in ends(known[recipe], name).items():
            at = PLACES.index(column) + 0.16 * (place - 1)
            bars = np.array([[middle - low], [high - middle]])
            panel.errorbar(at, middle, bars, fmt="o", color=f"C{place}", capsize=3, label=label)
    handles, labels = panel.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    for handle in handles:
        handle.set_label("_")
    for label, handle in unique.items():
        handle.set_label(label)
    panel.set(xticks=range(len(PLACES)), ylim=(0.4, 1.02), title=title)
    panel.set_xticklabels(["random split", "official test", "other hospital"], fontsize=9)
    panel.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    panel.spines[["top", "right"]].set_visible(False)


def ends(runs: Runs, name: str) -> dict[str, tuple[float, float, float]]:
    """Returns low, middle and high of a score by test set, where it is known."""
    found = {}
    for column, places in zip(PLACES, runs, strict=False):
        if places:
            values = scores(read(places), name)
            found[column] = (min(values), float(np.median(values)), max(values))
    for path in (path for places in runs for path in places):
        for file in sorted((path / "external").glob("*.json")):
            score = json.loads(file.read_text())["assessment"]["scores"][name]
            found.setdefault("external", (score["low"], score["value"], score["high"]))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
