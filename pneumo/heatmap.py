"""Draws attribution maps of a network over radiographs, and scores their faithfulness."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pneumo import atomic, cli
from pneumo.runs.run import Run
from pneumo.runs.tasks import check_classifier
from pneumo.runs.writer import RunWriter

if TYPE_CHECKING:  # torch, seconds that a mistyped RUN need not wait for
    from pneumo.inference.album import Album

OPTIONS = ("checkpoint", "trust", "class_name", "method", "score")
MAX_OWN = 100  # radiographs drawn from the run's test split, if none are named

MEANING = {
    "deletion": "area under the class's probability, brightest places blurred first; low is good",
    "random": "the same, places in random order: the baseline",
    "gap": "random - deletion; above 0 if the map is better than chance",
    "gap_low": "lower end of the gap's 95 % interval",
    "gap_high": "upper end",
    "randomised": "rank correlation with maps of random networks; near 0 is right",
}


@cli.command("heatmap", stopped="stopped; nothing was written")
def main(args: argparse.Namespace) -> int:
    """Writes a picture for each radiograph, a list, and scores if wanted; returns 0, or 3."""
    run = Run.open(args.run)
    check_classifier(run, "a heat map needs a classifier")
    cli.check_installed("a heat map", "captum", extra="heatmap")
    from pneumo.inference import album
    from pneumo.inference.heatmap_images import Heatmaps, verdict

    album.check(args.out, "--out", column="heatmap")
    options = {name: getattr(args, name) for name in OPTIONS}
    maps, names = Heatmaps(run, **options), _names(run, args.paths)
    with maps.album(args.out, names) as pictures:
        failed = _draw(pictures, names, title=maps.method)
        summary = _write_scores(pictures, maps.about()) if args.score else {}
    sys.stdout.write(f"{cli.counted(len(names) - failed, 'picture')} in {args.out}\n")
    if args.score:
        means = {key: summary[key] for key in MEANING if summary[key] is not None}
        sys.stdout.write("   ".join(f"{key} {value:.3f}" for key, value in means.items()) + "\n")
        if not args.paths and not run.is_shipped:
            RunWriter(run.run_dir).write_maps(
                maps.about() | {"of": "the test split", "mean": summary}
            )
    where = f"{args.out / album.SCORES}\n" if args.score else ""
    sys.stdout.write(f"{maps.method}: {verdict(summary or maps.scores)}\n{where}")
    return cli.UNREADABLE if failed else 0


def _names(run: Run, paths: Sequence[str]) -> list[str]:
    """Returns the named radiographs, or one of up to MAX_OWN patients of its test split."""
    import numpy as np

    from pneumo.inference.inputs import find_noted
    from pneumo.inference.scoring import own_root

    if paths:
        if names := find_noted(paths):
            return names
        raise ValueError(f"there must be a radiograph; got none in {', '.join(paths)}")
    root, test = own_root(run), run.of_split("test").drop_duplicates("group")["path"].tolist()
    drawn = np.random.default_rng(0).choice(len(test), min(MAX_OWN, len(test)), replace=False)
    return [str(root / test[number]) for number in sorted(drawn)]


def _draw(album: "Album", names: Sequence[str], *, title: str) -> int:
    """Adds a picture for each radiograph to an album; returns how many could not be read."""
    from tqdm import tqdm

    from pneumo.data.image import ImageError
    from pneumo.data.reader import Radiograph
    from pneumo.inference.album import shown_name

    failed = 0
    for name in tqdm(names, desc=title, unit=" images", disable=None):
        try:
            album.add(Radiograph(name), {})
        except ImageError as error:
            sys.stderr.write(f"not read: {error}\n")
            reason = str(error).removeprefix(f"{name}: ")
            album.images.append({"file": shown_name(name), "error": reason})
            failed += 1
    return failed


def _write_scores(album: "Album", about: dict[str, Any]) -> dict[str, Any]:
    """Writes scores.json and returns the means."""
    from pneumo.inference import saliency
    from pneumo.inference.album import SCORES

    rows = [row for row in album.images if "gap" in row]
    scored = [row for row in rows if not row["flat"]]
    counts = {"images": len(scored), "flat": len(rows) - len(scored)}
    summary = counts | saliency.means(scored)
    content = {"meaning": MEANING, "mean": summary, "images": album.images}
    atomic.write_json(album.folder / SCORES, about | content)
    return summary


if __name__ == "__main__":
    raise SystemExit(cli.start("heatmap"))
