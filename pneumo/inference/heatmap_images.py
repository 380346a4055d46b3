"""Heat maps drawn over radiographs, and the folder of such pictures."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from pneumo.choices import METHODS
from pneumo.data import image
from pneumo.data.reader import Radiograph
from pneumo.inference import album
from pneumo.inference.album import Album
from pneumo.inference.ensemble import mean_operating_point
from pneumo.inference.prediction import Row
from pneumo.labels import NORMAL, PNEUMONIA
from pneumo.runs import run_folder
from pneumo.runs.network import check_finite
from pneumo.runs.run import Run

if TYPE_CHECKING:  # an extra
    from pneumo.inference.saliency import LogOdds

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


@dataclass(frozen=True)
class HeatmapRequest:
    """The settings of a heat map: network, class and method."""

    run: Run
    model: "LogOdds"  # on the CPU
    name: str  # of the class
    method: str
    checkpoint: str
    threshold: float = 0.5  # on the probability of PNEUMONIA, from which it is predicted
    scores: Mapping[str, Any] | None = None  # the run's own in heatmap.json; None: not scored


def make_request(
    run: Run,
    *,
    checkpoint: str,
    trust: Sequence[str] = (),
    class_name: str = PNEUMONIA,
    method: str | None = None,
    threshold: float | None = None,
) -> HeatmapRequest:
    """Returns the request; of three classes, bacteria and virus together are PNEUMONIA.

    The default method is the network's own, see Network.heatmap_method. The default threshold is
    the run's operating point, or 0.5 without one. ValueError: there is no such method.
    """
    from pneumo.inference.saliency import LogOdds

    network = run.network(checkpoint, trust=trust)
    method = method or network.heatmap_method
    if method not in METHODS:
        raise ValueError(f"--method must be one of {', '.join(METHODS)}; got {method!r}")
    chosen = [0] if class_name == NORMAL else list(range(1, network.num_classes))
    model = LogOdds(network, chosen, views=run.views).eval()
    rows = run_folder.read_maps(run.run_dir, checkpoint=checkpoint)
    scores = [row["mean"] for row in rows if (row["method"], row["class"]) == (method, class_name)]
    if threshold is None:
        threshold = mean_operating_point([run], checkpoint=checkpoint).threshold
    return HeatmapRequest(
        run, model, class_name, method, checkpoint, threshold, scores[-1] if scores else None
    )


def explain(
    request: HeatmapRequest, radiograph: np.ndarray, *, name: str = "", score: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """Returns the heat map of one radiograph, (H, W) uint8, as PNG, and its entry in a list.

    The picture shows the file's ``name``, the probability, the decision, the threshold, and the
    deletion gap: with ``score`` of this map, else of the run's own images. The entry is flat if the
    method finds no evidence for the class. ValueError: the network's output is not finite, or it
    has no layer for the method.
    """
    from pneumo.inference import saliency

    run, model, method = request.run, request.model, request.method
    prepared = image.resize(radiograph, size=run.image_size, aspect=run.aspect).astype(np.float32)
    heat = saliency.explain(model, prepared, method=method)
    probability = float(saliency.probabilities(model, prepared[None])[0])
    check_finite(np.append(heat, probability), name=run.name)
    scores: dict[str, float] = {}
    if score:
        scores = saliency.faithfulness(model, prepared, heat)._asdict()
        random = saliency.randomised_correlation(model, prepared, heat, method=method)
        scores["randomised"] = random
    flat = not heat.any()
    legend = _legend(request, probability, name=name, flat=flat, gap=scores.get("gap"))
    factor = min(1.0, MAX_SIDE / max(radiograph.shape))
    size = [max(1, round(side * factor)) for side in radiograph.shape[::-1]]
    shown = cv2.resize(radiograph, size, interpolation=cv2.INTER_AREA)
    png = _draw(shown, unprepared(heat, shown.shape, aspect=run.aspect), legend)
    return png, {"probability": probability, "flat": flat, **scores}


def _legend(
    request: HeatmapRequest, probability: float, *, name: str, flat: bool, gap: float | None
) -> str:
    pneumonia = probability if request.name == PNEUMONIA else 1 - probability
    predicted = PNEUMONIA if pneumonia >= request.threshold else NORMAL
    title, worth = TITLES[request.method], verdict(request.scores)
    meaning = f"{title}. Bright: most evidence for {request.name}"
    if flat:
        meaning = (
            f"{title}, flat map: this method finds no evidence for {request.name}; probability "
            f"{probability:.3f}"
        )
    elif gap is not None:
        worth = f"This map: {_against_chance(gap, gap)}"
    file = album.shown_name(name)
    if len(file) > MAX_LETTERS:  # the end, where most names differ
        file = f"…{file[1 - MAX_LETTERS :]}"
    return "\n".join(
        [
            *([file] if file else []),
            f"{request.name}: probability {probability:.3f}. Predicted {predicted}: PNEUMONIA "
            f"{pneumonia:.3f}, threshold {request.threshold:.3f}",
            meaning,
            f"{worth}. Not a medical device.",
        ]
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


def opened(
    out: Path, request: HeatmapRequest, names: Sequence[str]
) -> AbstractContextManager[Album]:
    """Returns the album of ``names`` in ``out``, checked by `album.check`."""

    def draw(radiograph: Radiograph, _row: Row) -> tuple[bytes, dict[str, Any]]:
        return explain(request, album.original(radiograph), name=radiograph.name)

    suffix, head = f".{request.method}-{request.name}.png", about(request)
    head |= {"scores": request.scores}
    return album.opened(out, names, draw, column="heatmap", suffix=suffix, about=head)


def about(request: HeatmapRequest) -> dict[str, Any]:
    """Returns the network, method and class in a list of pictures."""
    metrics = request.run.metrics
    return {
        "written_by": album.WRITERS["heatmap"],
        "model": metrics["model"],
        "seed": metrics.get("seed"),
        "data_kind": metrics["data"]["kind"],
        "checkpoint": request.checkpoint,
        "method": request.method,
        "class": request.name,
    }


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
    return album.png(figure)
