"""Where a trained network looked in each film: pictures, and numbers on their worth."""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from pneumo import dicom, films, image, runs, trained
from pneumo.trained import CHECKPOINTS, Trained

if TYPE_CHECKING:  # the extra is asked for when it is needed
    from pneumo.saliency import LogOdds

TITLES = {"gradcam": "Grad-CAM", "occlusion": "Occlusion"}
METHODS = tuple(TITLES)
CLASSES = ("NORMAL", "PNEUMONIA")
LIST, SCORES = "heatmaps.json", "scores.json"
MAX_SIDE = 1024  # pixels of the film as it is drawn; larger ones are shrunk
COLOURS = "inferno"  # perceptually uniform, and clear of a film's grey
OPACITY = 0.6  # of the strongest colour; the film must be seen beneath

EXAMPLES = """\
examples:
  python -m pneumo.heatmap RUN film.png --out maps
  python -m pneumo.heatmap RUN films/ --out maps --method occlusion --class NORMAL
  python -m pneumo.heatmap RUN films/ --out maps --score
      also maps/scores.json, what the maps are worth

Each picture shows the film, and over it what speaks for the class asked for: bright is most, and
the scale is that picture's own, so two pictures do not compare. gradcam is coarse (the film in
8 x 8 fields at 256 pixels) and quick; occlusion covers one window after another and measures what
that costs; it needs no gradient and takes seconds a film.

The numbers of --score, means over the films and each film's:
  deletion   area under the class's probability while the brightest places are blurred away first
  random     the same with places in random order, the baseline
  gap        random - deletion: above 0, the map knows more than chance; near 0, it explains nothing
  randomised rank correlation with the maps of networks of random weights (Adebayo et al., 2018):
             near 0 is right; near 1, the map shows the film and not what was learnt
  flat       films on which nothing spoke for the class, so that there is no map to score

A second call into the same folder replaces its list, heatmaps.json, and its scores.
A map tells where, not why: a place that matters may be a letter, a tube or the edge of the film.

exit codes: 0 done; 2 a mistake; 3 done, but some files could not be read; 130 stopped.
Not a medical device.
"""
MEANING = {
    "deletion": "area under the class's probability, brightest places blurred first; low is good",
    "random": "the same, places in random order: the baseline",
    "gap": "random - deletion; above 0 if the map knows more than chance",
    "randomised": "rank correlation with maps of random networks; near 0 is right",
}


@dataclass(frozen=True)
class Question:
    """What is asked of a network: which class, by which method, with scores or without."""

    one: Trained
    model: "LogOdds"
    name: str  # of the class
    method: str
    score: bool


class Answer(NamedTuple):
    """The picture of one film, and what is written of it."""

    png: bytes
    row: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = _parser().parse_args(arguments)
    try:
        return heatmaps(
            given.run,
            given.paths,
            out=given.out,
            method=given.method,
            class_name=given.class_name,
            checkpoint=given.checkpoint,
            score=given.score,
        )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; the pictures so far are whole.\n")
        return 130


def heatmaps(
    run_dir: Path,
    paths: Sequence[str],
    *,
    out: Path,
    method: str = "gradcam",
    class_name: str = "PNEUMONIA",
    checkpoint: str = "best",
    score: bool = False,
) -> int:
    """Writes a picture for each film, a list, and scores if asked for; returns 0, or 3.

    Args:
        run_dir: a finished run.
        paths: files or folders of films.
        out: a folder that is new, empty, or of an earlier call.
        method: gradcam or occlusion.
        class_name: NORMAL or PNEUMONIA (of three classes, bacteria and virus together).
        checkpoint: best or last.
        score: also write scores.json.

    Raises:
        FileNotFoundError: the run or a file of it is missing.
        ValueError: the run is broken, the extra is not installed, no film was named, or ``out``
            holds something else.
    """
    one = trained.load(run_dir, checkpoint=checkpoint)
    model = _model(one, class_name)
    _check_out(out)
    names, _ = films.find(paths)
    if not names:
        raise ValueError(f"name at least one film; found none in {', '.join(paths)}")
    targets = _targets(names, suffix=f".{method}-{class_name}.png")
    out.mkdir(parents=True, exist_ok=True)
    question = Question(one, model, class_name, method, score)
    about = _about(question, checkpoint)
    runs.write_json(out / LIST, about | {"films": []})  # from now on the folder is ours
    rows, failed = [], 0
    for name in tqdm(names, desc=method, unit=" films", disable=None):
        try:
            answer = _answer(question, name)
        except ValueError as error:
            sys.stderr.write(f"Not read: {error}\n")
            rows.append({"file": Path(name).name, "error": _reason(error, name)})
            failed += 1
            continue
        _write_bytes(out / targets[name], answer.png)
        rows.append({"file": Path(name).name, "picture": targets[name], **answer.row})
    runs.write_json(out / LIST, about | {"films": rows})
    sys.stdout.write(f"{len(names) - failed} pictures in {out}\n")
    if score:
        _write_scores(out / SCORES, about, rows)
    return 3 if failed else 0


def _model(one: Trained, class_name: str) -> "LogOdds":
    """The network's log-odds of a class; ValueError where captum is not installed."""
    if class_name not in CLASSES:
        raise ValueError(f"--class must be one of {', '.join(CLASSES)}; got {class_name!r}")
    try:
        from pneumo.saliency import LogOdds
    except ImportError as error:
        if not str(error.name).startswith("captum"):
            raise
        raise ValueError(
            "python -m pneumo.heatmap needs captum, which is not installed. Install it with "
            "python -m pip install 'pneumo[heatmap]'"
        ) from None
    chosen = [0] if class_name == "NORMAL" else list(range(1, len(one.classes)))
    return LogOdds(one.network, chosen).eval()


def _answer(question: Question, name: str) -> Answer:
    from pneumo import saliency

    one, model, method = question.one, question.model, question.method
    film = _decode(name)
    prepared = image.resize(film, size=one.image_size, aspect=one.aspect).astype(np.float32)
    heat = saliency.explain(model, prepared, method=method)
    probability = float(saliency.probabilities(model, prepared[None])[0])
    row: dict[str, Any] = {"probability": probability, "flat": not heat.any()}
    if question.score:
        row |= saliency.faithfulness(model, prepared, heat)._asdict()
        row["randomised"] = saliency.randomised_correlation(model, prepared, heat, method=method)
    told = "Nothing in the film speaks" if row["flat"] else "Bright: what speaks most"
    legend = (
        f"{question.name}: probability {probability:.3f}\n"
        f"{TITLES[method]}. {told} for {question.name}. Not a medical device."
    )
    shown = _shrunk(film)
    return Answer(_draw(shown, unprepared(heat, shown.shape, aspect=one.aspect), legend), row)


def unprepared(heat: np.ndarray, shape: tuple[int, ...], *, aspect: str) -> np.ndarray:
    """(S, S) in the prepared image's pixels to (H, W) in those of the film, as ``aspect`` went."""
    side, (height, width) = heat.shape[0], shape[:2]
    if aspect == "pad":
        longest = max(height, width)
        rows, columns = round(height / longest * side), round(width / longest * side)
        top, left = round((side - rows) / 2), round((side - columns) / 2)
        heat = heat[top : top + max(1, rows), left : left + max(1, columns)]
    drawn: np.ndarray = cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)
    return drawn


def _draw(film: np.ndarray, heat: np.ndarray, legend: str) -> bytes:
    """A PNG: the film, the film under the map, a scale and the legend."""
    height, width = film.shape
    figure = Figure(figsize=(10.6, min(16, max(2.4, 4.7 * height / width)) + 0.6), dpi=100)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.03})
    for axes in (left, right):
        axes.imshow(film, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
    colours = right.imshow(heat, cmap=COLOURS, vmin=0, vmax=1, alpha=OPACITY * heat)
    figure.subplots_adjust(left=0.01, right=0.91, bottom=0.02, top=1 - 0.5 / figure.get_figheight())
    box = right.get_position()
    scale = figure.add_axes((0.92, box.y0, 0.015, box.height))
    bar = figure.colorbar(colours, cax=scale, ticks=[0, 1])
    if bar.solids is not None:
        bar.solids.set_alpha(1)  # of the map it is the map's own
    bar.ax.set_yticklabels(["none", "most"])
    figure.text(0.01, 0.99, legend, va="top", ha="left", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _shrunk(film: np.ndarray) -> np.ndarray:
    height, width = film.shape
    factor = MAX_SIDE / max(height, width)
    if factor >= 1:
        return film
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small: np.ndarray = cv2.resize(film, size, interpolation=cv2.INTER_AREA)
    return small


def _decode(name: str) -> np.ndarray:
    data = image.read(Path(name))
    decode = dicom.decode if dicom.is_dicom(data) else image.decode
    return decode(data, name=name)


def _check_out(out: Path) -> None:
    """Raises ValueError where the folder holds anything but an earlier call's files."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must name a folder; {out} is a file")
    if out.is_dir() and any(out.iterdir()) and not _is_own(out):
        raise ValueError(
            f"--out must be new, empty or hold earlier heatmaps; {out} holds something else. Name "
            "another folder"
        )


def _is_own(out: Path) -> bool:
    try:
        found = json.loads((out / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("written_by") == "pneumo.heatmap"


def _targets(names: Sequence[str], *, suffix: str) -> dict[str, str]:
    """The picture's name for each film: what tells it from the others of the call."""
    places = {name: Path(name).absolute() for name in names}
    top = Path(os.path.commonpath([place.parent for place in places.values()]))
    return {
        name: "__".join(place.relative_to(top).parts) + suffix for name, place in places.items()
    }


def _about(question: Question, checkpoint: str) -> dict[str, Any]:
    metrics = question.one.metrics
    return {
        "written_by": "pneumo.heatmap",
        "model": metrics["model"],
        "seed": metrics["seed"],
        "data_kind": metrics["data"]["kind"],
        "checkpoint": checkpoint,
        "method": question.method,
        "class": question.name,
    }


def _write_scores(path: Path, about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    scored = [row for row in rows if "gap" in row and not row["flat"]]
    means = {}
    for key in MEANING:
        known = [row[key] for row in scored if np.isfinite(row[key])]
        means[key] = float(np.mean(known)) if known else float("nan")
    flat = sum(bool(row.get("flat")) for row in rows)
    better = float(np.mean([row["gap"] > 0 for row in scored])) if scored else float("nan")
    summary = {"films": len(scored), "flat": flat, **means, "share_of_gaps_above_0": better}
    runs.write_json(path, about | {"meaning": MEANING, "mean": summary, "films": rows})
    told = "   ".join(f"{key} {value:.3f}" for key, value in means.items())
    sys.stdout.write(f"{told}   ({len(scored)} films, {flat} flat)\n{path}\n")


def _write_bytes(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _reason(error: Exception, name: str) -> str:
    return str(error).removeprefix(f"{name}: ")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pneumo.heatmap",
        description="Where a trained network looked, and what such a picture is worth.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="films, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the pictures")
    parser.add_argument(
        "--method", choices=METHODS, default=METHODS[0], help="default: %(default)s"
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        choices=CLASSES,
        default="PNEUMONIA",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--checkpoint", choices=CHECKPOINTS, default="best", help="default: %(default)s"
    )
    parser.add_argument("--score", action="store_true", help="also say what the maps are worth")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
