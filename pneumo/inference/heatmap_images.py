"""Heat maps drawn over radiographs, and the folder of such pictures."""

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from pneumo.choices import METHODS
from pneumo.data import image
from pneumo.inference import album
from pneumo.inference.album import Album
from pneumo.inference.ensemble import mean_operating_point
from pneumo.labels import NORMAL, PNEUMONIA
from pneumo.runs import run_folder
from pneumo.runs.network import check_finite
from pneumo.runs.run import Run

TITLES = {
    "gradcam": "Grad-CAM",
    "layercam": "LayerCAM",
    "occlusion": "Occlusion",
    "integrated": "Integrated gradients",
}
MAX_SIDE = 1024  # pixels of the radiograph as it is drawn; larger ones are shrunk
MAX_LETTERS = 110  # of a file's name in a picture
COLOURS = "inferno"  # perceptually uniform, and clear of a radiograph's grey
OPACITY = 0.6  # of the strongest colour; the radiograph must be seen beneath


class Heatmaps:
    """The heat maps of a network for a class, by one method.

    Of three classes, bacteria and virus together are PNEUMONIA. The default method is the network's
    own, see Network.heatmap_method. The default ``threshold``, of the decision in the legend, is
    the run's operating point, or 0.5 without one. ``score``: whether each map is scored.
    ValueError: there is no such method.
    """

    def __init__(
        self,
        run: Run,
        *,
        checkpoint: str = "best",
        trust: Sequence[str] = (),
        class_name: str = PNEUMONIA,
        method: str | None = None,
        threshold: float | None = None,
        score: bool = False,
    ) -> None:
        from pneumo.inference.saliency import LogOdds  # an extra

        network = run.network(checkpoint, trust=trust)
        self.run, self.name, self.checkpoint, self.score = run, class_name, checkpoint, score
        self.method = method or network.heatmap_method
        if self.method not in METHODS:
            raise ValueError(f"--method must be one of {', '.join(METHODS)}; got {self.method!r}")
        chosen = [0] if class_name == NORMAL else list(range(1, network.num_classes))
        self.model = LogOdds(network, chosen, views=run.views).eval()
        point = mean_operating_point([run], checkpoint=checkpoint)
        self.threshold = point.threshold if threshold is None else threshold
        rows = run_folder.read_maps(run.run_dir, checkpoint=checkpoint)
        means = {(row["method"], row["class"]): row["mean"] for row in rows}
        self.scores: Mapping[str, Any] | None = means.get((self.method, class_name))

    def album(self, out: Path, names: Sequence[str]) -> AbstractContextManager[Album]:
        """Returns the album of ``names`` in ``out``, checked by `album.check`."""
        return album.opened(
            out,
            names,
            lambda radiograph, pixels, _: self.explain(pixels, name=radiograph.name),
            column="heatmap",
            suffix=f".{self.method}-{self.name}.png",
            about=self.about() | {"scores": self.scores},
        )

    def about(self) -> dict[str, Any]:
        """Returns the network, method and class in a list of pictures."""
        metrics = self.run.metrics
        return {
            "written_by": album.WRITERS["heatmap"],
            "model": metrics["model"],
            "seed": metrics.get("seed"),
            "data_kind": metrics["data"]["kind"],
            "checkpoint": self.checkpoint,
            "method": self.method,
            "class": self.name,
        }

    def explain(self, radiograph: np.ndarray, *, name: str = "") -> tuple[bytes, dict[str, Any]]:
        """Returns the heat map of one radiograph, (H, W) uint8, as PNG, and its entry in a list.

        The picture shows the file's ``name``, the probability, the decision, the threshold, and the
        deletion gap: of this map if it is scored, else of the run's own images. The entry is flat
        if the method finds no evidence for the class. ValueError: the network's output is not
        finite, or it has no layer for the method.
        """
        from pneumo.inference import saliency

        run, model, method = self.run, self.model, self.method
        prepared = image.resize(radiograph, size=run.image_size, aspect=run.aspect)
        prepared = prepared.astype(np.float32)
        heat = saliency.explain(model, prepared, method=method)
        probability = float(saliency.probabilities(model, prepared[None])[0])
        check_finite(np.append(heat, probability), name=run.name)
        scores: dict[str, float] = {}
        if self.score:
            scores = saliency.faithfulness(model, prepared, heat)._asdict()
            random = saliency.randomised_correlation(model, prepared, heat, method=method)
            scores["randomised"] = random
        flat = not heat.any()
        legend = self._legend(probability, name=name, flat=flat, gap=scores.get("gap"))
        factor = min(1.0, MAX_SIDE / max(radiograph.shape))
        size = [max(1, round(side * factor)) for side in radiograph.shape[::-1]]
        shown = cv2.resize(radiograph, size, interpolation=cv2.INTER_AREA)
        png = _draw(shown, unprepared(heat, shown.shape, aspect=run.aspect), legend)
        return png, {"probability": probability, "flat": flat, **scores}

    def _legend(self, probability: float, *, name: str, flat: bool, gap: float | None) -> str:
        pneumonia = probability if self.name == PNEUMONIA else 1 - probability
        predicted = PNEUMONIA if pneumonia >= self.threshold else NORMAL
        title, worth = TITLES[self.method], verdict(self.scores)
        meaning = f"{title}. Bright: most evidence for {self.name}"
        if flat:
            meaning = (
                f"{title}, flat map: this method finds no evidence for {self.name}; probability "
                f"{probability:.3f}"
            )
        elif gap is not None:
            worth = f"This map: {_against_chance(gap, gap)}"
        file = album.shown_name(name)
        if len(file) > MAX_LETTERS:  # the end, where most names differ
            file = f"…{file[1 - MAX_LETTERS :]}"
        return f"{file}\n" * bool(file) + (
            f"{self.name}: probability {probability:.3f}. Predicted {predicted}: PNEUMONIA "
            f"{pneumonia:.3f}, threshold {self.threshold:.3f}\n{meaning}\n"
            f"{worth}. Not a medical device."
        )


def verdict(scores: Mapping[str, Any] | None) -> str:
    """Returns the faithfulness of a method's maps on a run's own images, a mean in heatmap.json."""
    if scores is None:
        return "Not scored: run with --score"
    worth = "too few maps to score"
    if scores["gap"] is not None and scores["gap_low"] is not None:
        worth = _against_chance(scores["gap"], scores["gap_low"])
    total = scores["images"] + scores["flat"]
    return f"On {total} test images ({scores['flat']} flat): {worth}"


def _against_chance(gap: float, low: float) -> str:
    """Returns a deletion gap in words; ``low`` is the lower end of its interval."""
    return f"deletion gap {gap:+.3f}, {'' if low > 0 else 'no '}better than random order"


def unprepared(heat: np.ndarray, shape: tuple[int, ...], *, aspect: str) -> np.ndarray:
    """Returns (H, W) in the pixels of the original, from (S, S) in those of the prepared image."""
    side, (height, width) = heat.shape[0], shape[:2]
    if aspect == "pad":
        longest = max(height, width)
        rows, columns = round(height / longest * side), round(width / longest * side)
        top, left = round((side - rows) / 2), round((side - columns) / 2)
        heat = heat[top : top + max(1, rows), left : left + max(1, columns)]
    return np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR))


def _draw(radiograph: np.ndarray, heat: np.ndarray, legend: str) -> bytes:
    """Returns a PNG: the radiograph, the radiograph under the map, a scale and the legend."""
    height, width = radiograph.shape
    band = 0.1 + 0.2 * len(legend.splitlines())  # inches above the pictures, for the legend
    figure = Figure(figsize=(10.6, min(16, max(2.4, 4.7 * height / width)) + band), dpi=100)
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.03})
    for axes in (left, right):
        axes.imshow(radiograph, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
    colours = right.imshow(heat, cmap=COLOURS, vmin=0, vmax=1, alpha=OPACITY * heat)
    figure.subplots_adjust(
        left=0.01, right=0.91, bottom=0.02, top=1 - band / figure.get_figheight()
    )
    box = right.get_position()
    scale = figure.add_axes((0.92, box.y0, 0.015, box.height))
    bar = figure.colorbar(colours, cax=scale, ticks=[0, 1])
    if bar.solids is not None:
        bar.solids.set_alpha(1)  # the map's own in the map
    bar.ax.set_yticklabels(["none", "most"])
    figure.text(0.01, 0.99, legend, va="top", ha="left", fontsize=11, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
