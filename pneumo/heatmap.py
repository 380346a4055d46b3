"""Where a trained network looked in radiographs: pictures, and numbers on what these are worth."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need nothing of what follows
    raise SystemExit(cli.start("heatmap"))

import numpy as np
from tqdm import tqdm

from pneumo.arguments.heatmap import parse
from pneumo.data import reader
from pneumo.inference import ensemble, heatmap_images
from pneumo.inference.heatmap_images import Heatmap, HeatmapRequest
from pneumo.labels import PNEUMONIA
from pneumo.runs import detection_run, output, pretrained, run_folder
from pneumo.runs.checkpoint import load

SCORES = "scores.json"
MAX_OWN = 100  # radiographs drawn from the run's test split, where none are named

MEANING = {
    "deletion": "area under the class's probability, brightest places blurred first; low is good",
    "random": "the same, places in random order: the baseline",
    "gap": "random - deletion; above 0 if the map knows more than chance",
    "gap_low": "lower end of the gap's 95 % interval",
    "gap_high": "upper end",
    "randomised": "rank correlation with maps of random networks; near 0 is right",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = parse(arguments)
    return cli.run(
        lambda: heatmaps(
            pretrained.find(given.run),
            given.paths,
            out=given.out,
            method=given.method,
            class_name=given.class_name,
            checkpoint=given.checkpoint,
            score=given.score,
            trust=given.trust,
        ),
        stopped="stopped; nothing was written",
    )


def heatmaps(
    run_dir: Path,
    paths: Sequence[str],
    *,
    out: Path,
    method: str | None = None,
    class_name: str = PNEUMONIA,
    checkpoint: str = "best",
    score: bool = False,
    trust: Sequence[str] = (),
) -> int:
    """Writes a picture for each radiograph, a list, and scores if asked for; returns 0, or 3.

    Args:
        run_dir: a finished run.
        paths: files or folders of radiographs; of none, radiographs of the run's own test split.
        out: a folder that is new, empty, or of an earlier call.
        method: of choices.METHODS; None: the network's own.
        class_name: NORMAL or PNEUMONIA (of three classes, bacteria and virus together).
        checkpoint: best or last.
        trust: packages whose networks the run folder may ask for, see pneumo.runs.checkpoint.
        score: also write scores.json, and without ``paths`` the run's heatmap.json.

    Raises:
        FileNotFoundError: the run or a file of it is missing.
        ValueError: the run is broken, the extra is not installed, no image was named, or ``out``
            holds something else.
    """
    detection_run.refuse(run_dir, "a heat map is of a classifier")
    heatmap_images.check_album(out, "--out")
    one = load(run_dir, checkpoint=checkpoint, trust=trust)
    request = heatmap_images.make_request(
        one, checkpoint=checkpoint, class_name=class_name, method=method
    )
    names, others = reader.find(paths) if paths else (_own_radiographs(run_dir), 0)
    if others:
        sys.stderr.write(
            f"note: left out {cli.counted(others, 'file')} in these folders: no image, "
            "or a linked folder\n"
        )
    if not names:
        raise ValueError(f"name at least one radiograph; found none in {', '.join(paths)}")
    with heatmap_images.album(out, request, names) as album:
        failed = _draw(album, request, names, score=score)
        summary = _write_scores(album) if score else {}
    sys.stdout.write(f"{cli.counted(len(names) - failed, 'picture')} in {out}\n")
    if score:
        sys.stdout.write(f"{_said(summary, method=request.method)}\n{out / SCORES}\n")
        if not paths and not pretrained.is_shipped(run_dir):
            run_folder.write_maps(run_dir, album.about | {"of": "the test split", "mean": summary})
    else:
        sys.stdout.write(f"{request.method}: {heatmap_images.verdict(request.scores)}\n")
    return cli.UNREADABLE if failed else 0


def _draw(
    album: heatmap_images.Album, request: HeatmapRequest, names: Sequence[str], *, score: bool
) -> int:
    """Adds a picture for each radiograph; returns how many could not be read."""
    failed = 0
    for name in tqdm(names, desc=request.method, unit=" images", disable=None):
        try:
            radiograph = reader.decode(name)[0]
        except ValueError as error:
            sys.stderr.write(f"not read: {error}\n")
            reason = str(error).removeprefix(f"{name}: ")
            album.radiographs.append({"file": output.printable(Path(name).name), "error": reason})
            failed += 1
            continue
        found = heatmap_images.explain(request, radiograph, name=name, score=score)
        album.add(name, found, **_scores(request, found))
    return failed


def _own_radiographs(run_dir: Path) -> list[str]:
    """Up to MAX_OWN radiographs drawn from the run's test split; errors as ensemble.read."""
    member = ensemble.read(run_dir)
    root = ensemble.own_images(member)
    if root is None:
        raise FileNotFoundError(
            "name some images; those of the run's own test split are not where it found them. Set "
            "PNEUMO_DATA (or, for generated ones, PNEUMO_CACHE) as it was for the training"
        )
    paths = member.of_split("test")["path"]
    drawn = np.random.default_rng(0).choice(len(paths), min(MAX_OWN, len(paths)), replace=False)
    return [str(root / paths[number]) for number in sorted(drawn)]


def _scores(request: HeatmapRequest, made: Heatmap) -> dict[str, float]:
    """The scores of one map; none where it was not scored."""
    if made.scores is None:
        return {}
    from pneumo.inference import saliency

    model, prepared, heat = request.model, made.prepared, made.heat
    randomised = saliency.randomised_correlation(model, prepared, heat, method=request.method)
    return {**made.scores._asdict(), "randomised": randomised}


def _write_scores(album: heatmap_images.Album) -> dict[str, Any]:
    """Writes scores.json and returns the means."""
    from pneumo.inference import saliency

    rows = [row for row in album.radiographs if "gap" in row]
    scored = [row for row in rows if not row["flat"]]
    counts = {"images": len(scored), "flat": len(rows) - len(scored)}
    summary = counts | saliency.means(scored)
    run_folder.write_json(
        album.folder / SCORES,
        album.about | {"meaning": MEANING, "mean": summary, "images": album.radiographs},
    )
    return summary


def _said(summary: dict[str, Any], *, method: str) -> str:
    known = {key: summary[key] for key in MEANING if summary[key] is not None}
    means = "   ".join(f"{key} {value:.3f}" for key, value in known.items())
    return f"{means}\n{method}: {heatmap_images.verdict(summary)}"
