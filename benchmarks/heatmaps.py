"""What heat maps of a run are worth, by method and layer: `python -m benchmarks.heatmaps RUN`.

On random images of the run's test split: the deletion gap as `pneumo.heatmap --score` has it, all
methods against the same random orders. On phantoms also the pointing game (Zhang et al., 2018): the
share of PNEUMONIA images whose map has its maximum in a box of an opacity.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from pneumo.data import image, phantom, reader
from pneumo.inference import saliency
from pneumo.inference.saliency import LogOdds
from pneumo.labels import PNEUMONIA
from pneumo.models.base import Network, Wrapped
from pneumo.runs.run import Run

NUM_STAGES = 3  # the last ones, for the methods that draw a layer
PIXELS = ("occlusion", "integrated")  # methods without a layer


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heatmaps")
    parser.add_argument("run", metavar="RUN", help="a run folder, or pretrained:compact-robust")
    parser.add_argument("--images", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of images")
    args = parser.parse_args()
    torch.set_num_threads(1)
    run = Run.open(args.run)
    network = run.network()
    rows = [row for path, boxes in images(run, args) for row in score(run, network, path, boxes)]
    print(f"{args.run}, {args.images} random test images, seed {args.seed}\n")  # noqa: T201
    print("\n".join(table(pd.DataFrame(rows))))  # noqa: T201


def images(run: Run, args: argparse.Namespace) -> Iterator[tuple[Path, np.ndarray | None]]:
    """Yields random test images, and (N, 4) boxes in shares of the sides where they are known.

    Raises:
        FileNotFoundError: the run's images are not where it found them.
    """
    root = run.images()
    if root is None:
        raise FileNotFoundError("the run's images are missing: set PNEUMO_DATA or PNEUMO_CACHE")
    rows = run.of_split("test")
    rows = rows.sample(min(args.images, len(rows)), random_state=args.seed).sort_values("path")
    found = None
    if run.metrics["data"]["kind"] == "phantom":
        found = phantom.Phantoms(root).boxes().set_index("path")
    for path, label in tqdm(list(zip(rows["path"], rows["label"], strict=True)), disable=None):
        boxes = None
        if found is not None and label == PNEUMONIA:
            width, height = found.loc[path, ["width", "height"]]
            boxes = found.loc[path, "boxes"] / np.array([width, height, width, height])
        yield root / path, boxes


def methods(network: Network) -> Iterator[tuple[str, str, nn.Module | None]]:
    """Yields each method with a layer's name and the layer; None where it needs none."""
    for name, layer in layers(network).items():
        for method in ("gradcam", "layercam"):
            yield method, name, layer
    for method in PIXELS:
        yield method, "", None


def layers(network: Network) -> dict[str, nn.Module]:
    """Returns the last convolution, and what goes into the last pools or the head, by name."""
    names = {module: name for name, module in network.named_modules()}
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    if isinstance(network, Wrapped):
        parts = list(network.body.get_submodule("layers").children())
        ends = [a for a, b in zip(parts, [*parts[1:], nn.MaxPool2d(2)], strict=True) if pools(b)]
    else:
        levels = network.get_submodule("levels").children()
        ends = [level.get_submodule("convolutions") for level in levels]
    return {names[m]: m for m in (convolutions[-1], *ends[::-1][:NUM_STAGES])}


def pools(module: nn.Module) -> bool:
    """Returns whether a module halves the sides."""
    return isinstance(module, nn.MaxPool2d)


def score(
    run: Run, network: Network, path: Path, boxes: np.ndarray | None
) -> Iterator[dict[str, Any]]:
    """Yields a row a method: flat, gap, seconds, and where boxes are known hit and chance."""
    picture = reader.decode(str(path))[0]
    pixels = image.resize(picture, size=run.image_size, aspect=run.aspect).astype(np.float32)
    chosen = list(range(1, network.num_classes))
    whole = LogOdds(network, chosen, views=run.views).eval()
    probability = saliency.probabilities(whole, pixels[None])[0]
    random = saliency.random_deletion(whole, pixels)
    for method, name, layer in methods(network):
        model = LogOdds(network, chosen, views=run.views, layer=layer).eval()
        start = time.process_time()
        heat = saliency.explain(model, pixels, method=method)
        row: dict[str, Any] = {"method": method, "layer": name}
        row["seconds"] = time.process_time() - start
        row |= {"flat": not heat.any(), "probability": probability}
        if heat.any():
            row["gap"] = random - saliency.deletion(whole, pixels, saliency.salient_order(heat))
        yield row | ({} if boxes is None else pointing(heat, boxes))


def pointing(heat: np.ndarray, boxes: np.ndarray) -> dict[str, float]:
    """Returns whether the maximum is in a box, and the share of all pixels that are."""
    side = (np.arange(heat.shape[0]) + 0.5) / heat.shape[0]
    inside = np.zeros(heat.shape, bool)
    for left, top, right, bottom in boxes:
        rows, columns = (side >= top) & (side <= bottom), (side >= left) & (side <= right)
        inside |= rows[:, None] & columns
    return {"hit": bool(heat.any() and inside.flat[heat.argmax()]), "chance": float(inside.mean())}


def table(rows: pd.DataFrame) -> list[str]:
    """Returns the lines of a Markdown table, a row a method and layer."""
    columns: dict[str, Callable[[pd.DataFrame], str]] = {
        "flat": lambda g: str(g["flat"].sum()),
        "gap": gap,
        "above 0": lambda g: f"{(g['gap'].dropna() > 0).mean():.2f}",
        "gap where PNEUMONIA is predicted": lambda g: gap(g[g["probability"] >= 0.5]),
        "seconds of a core": lambda g: f"{g['seconds'].mean():.2f}",
    }
    if "hit" in rows:
        columns["maximum in a box"] = lambda g: f"{g['hit'].dropna().mean():.2f}"
    lines = [f"| method | layer | {' | '.join(columns)} |", "| --- " * (len(columns) + 2) + "|"]
    for (method, layer), group in rows.groupby(["method", "layer"], sort=False):
        cells = " | ".join(column(group) for column in columns.values())
        lines.append(f"| {method} | {layer} | {cells} |")
    if "chance" in rows:
        lines += ["", f"chance of a random pixel in a box: {rows['chance'].mean():.2f}"]
    return lines


def gap(rows: pd.DataFrame) -> str:
    """Returns the mean gap with its 95 % interval, over maps that are not flat."""
    values = rows["gap"].dropna().to_list()
    low, high = saliency.mean_interval(values)
    if low is None:
        return "too few maps"
    return f"{np.mean(values):+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
