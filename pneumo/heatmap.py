"""Where a trained network looked in radiographs: pictures, and numbers on what these are worth."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pneumo import cli
from pneumo.data import reader
from pneumo.inference import ensemble, heatmap_images
from pneumo.inference.heatmap_images import METHODS, Heatmap, HeatmapRequest
from pneumo.labels import CLASS_NAMES, PNEUMONIA
from pneumo.runs import detection_run, output, pretrained, run_folder
from pneumo.runs.checkpoint import CHECKPOINTS, load

SCORES = "scores.json"
MAX_OWN = 100  # radiographs drawn from the run's test split, where none are named

EXAMPLES = """\
examples:
  python -m pneumo.heatmap RUN --out maps --score
      100 images drawn at random (seed 0) from the run's test split; the scores
      also go into the run folder, as heatmap.json, from where pictures, the
      report and the model card take them
  python -m pneumo.heatmap RUN radiograph.png --out maps
  python -m pneumo.heatmap pretrained:compact radiograph.png --out maps
      of the network that comes with the package
  python -m pneumo.heatmap RUN radiographs/ --out maps --method occlusion \\
      --class NORMAL
  python -m pneumo.heatmap RUN radiographs/ --out maps --score
      also maps/scores.json, what the maps are worth

The legend of a picture has the file's name, the probability, the decision and
its threshold (of the run's validation split, or 0.5), and what such maps are
worth on the run's own images. Bright is the most evidence for the class, on a
scale of that picture alone, so two pictures do not compare.

Without --method it is the one that measured best for the network (docs/use.md).
gradcam and layercam are quick, and as coarse as the layer they are taken from.
occlusion covers one window after another; integrated follows the gradient from
the blurred image to the image. Both take longer: up to seconds an image.

The numbers of --score, means over the radiographs and each radiograph's:
  deletion   area under the class's probability while the brightest places are
             blurred away first
  random     the same with places in random order, the baseline
  gap        random - deletion, with its 95 % interval: above 0, the map knows
             more than chance; near 0, it explains nothing
  randomised rank correlation with the maps of networks of random weights
             (Adebayo et al., 2018): near 0 is right; near 1, the map shows the
             radiograph and not what was learnt
  flat       images on which the method finds no evidence for the class, so
             that there is no map to score

A second call into the same folder replaces its list, heatmaps.json, and its
scores.
A map tells where, not why: a place that matters may be a letter, a tube or the
edge of the radiograph.

exit codes: 0 done; 2 a mistake; 3 done, but some files could not be read; 130
stopped. Not a medical device.
"""
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
    given = _parser().parse(arguments)
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
        stopped="stopped; the pictures so far are whole",
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
        method: of heatmap_images.METHODS; None: the network's own.
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
    album = heatmap_images.Album(out, request, names, flag="--out")
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
    album.write_list()
    sys.stdout.write(f"{cli.counted(len(names) - failed, 'picture')} in {out}\n")
    if not score:
        sys.stdout.write(f"{request.method}: {heatmap_images.verdict(request.scores)}\n")
    if score:
        summary = _write_scores(out / SCORES, album)
        if not paths and not pretrained.is_shipped(run_dir):
            run_folder.write_maps(run_dir, album.about | {"of": "the test split", "mean": summary})
    return cli.UNREADABLE if failed else 0


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


def _write_scores(path: Path, album: heatmap_images.Album) -> dict[str, Any]:
    """Writes scores.json, prints the means and returns them."""
    from pneumo.inference import saliency

    rows = [row for row in album.radiographs if "gap" in row]
    scored = [row for row in rows if not row["flat"]]
    counts = {"images": len(scored), "flat": len(rows) - len(scored)}
    summary = counts | saliency.means(scored)
    run_folder.write_json(
        path, album.about | {"meaning": MEANING, "mean": summary, "images": album.radiographs}
    )
    known = {key: summary[key] for key in MEANING if summary[key] is not None}
    told = "   ".join(f"{key} {value:.3f}" for key, value in known.items())
    worth = heatmap_images.verdict(summary)
    sys.stdout.write(f"{told}\n{album.about['method']}: {worth}\n{path}\n")
    return summary


def _parser() -> cli.Parser:
    parser = cli.Parser(
        "heatmap",
        description="Where a trained network looked, and what such a picture is worth.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "run", metavar="RUN", help="the folder of a finished run, or pretrained:compact"
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="radiographs, or folders; default: of its test split",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the pictures")
    parser.add_argument(
        "--method", choices=METHODS, help="default: the network's own, see docs/use.md"
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        choices=CLASS_NAMES,
        default=PNEUMONIA,
        help="default: %(default)s",
    )
    parser.add_argument(
        "--checkpoint", choices=CHECKPOINTS, default="best", help="default: %(default)s"
    )
    parser.add_argument("--score", action="store_true", help="also say what the maps are worth")
    parser.add_trust()
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
