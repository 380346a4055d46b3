"""What a few hundred images of another hospital are worth: `python -m benchmarks.adapt DIR`.

For each of several draws, patients are split at random into a held-out test set and a pool, and
nested parts of the pool train a network that starts from `pretrained:compact-robust`, the same
network from random weights, and the thumbnail SVM. Beside them stands the number of bytes of the
file, which knows nothing of the lung. Everything runs twice: on the images as published, and
on copies of one size and JPEG quality, whose files reveal less of the label. Writes adapt.csv and
adapt.png; scores are AUROC on the held-out patients.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import roc_auc_score

from pneumo import api
from pneumo.data.folder import folder_table
from pneumo.labels import PNEUMONIA

mpl.use("Agg")
from matplotlib import pyplot as plt

SIZES = (25, 50, 100, 200, 400)
STEPS, BATCH = 200, 32  # of each training: equal for all numbers of images
SIDE, QUALITY = 128, 75  # pixels, of JPEG, of images saved alike
SYSTEMS = {
    "adapted": ("experiment=adapt", "init={init}"),
    "from scratch": ("experiment=adapt", "optimizer.lr=0.006"),
    "thumbnail SVM": ("model=thumbnail_svm",),
}
SAVED = ("as published", "saved alike")
KEYS = ["saved", "draw", "images", "system"]


def main() -> None:
    """Trains, writes the table after each run, and draws it; finished rows are not repeated."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapt")
    parser.add_argument("data", type=Path, metavar="DIR", help="a folder with NORMAL, PNEUMONIA")
    parser.add_argument("--init", default="pretrained:compact-robust", metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path("multirun/adapt"), metavar="DIR")
    parser.add_argument("--draws", type=int, default=5, metavar="N")
    parser.add_argument("overrides", nargs="*", help="further settings of the networks")
    args = parser.parse_intermixed_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "adapt.csv"
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*KEYS, "auroc"])
    for saved in SAVED:
        root = args.data.resolve()
        if saved != SAVED[0]:
            root = saved_alike(args.data, args.out / "images")
        finished = set(
            done.loc[done["saved"] == saved, KEYS[1:]].itertuples(index=False, name=None)
        )
        for row in rows(root, args, saved, finished):
            done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
            done.to_csv(path, index=False, float_format="%.4f")
    draw(done, args.out / "adapt.png")


def saved_alike(root: Path, out: Path) -> Path:
    """Returns a folder with the images of ``root`` at one size, codec and quality."""
    for path in folder_table(root)[0]["path"]:
        target = (out / path).with_suffix(".jpeg")
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(root / path) as image:
            small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        small.save(target, quality=QUALITY)
    return out.resolve()


def rows(
    root: Path, args: argparse.Namespace, saved: str, done: set[tuple[int, int, str]]
) -> Iterator[dict[str, object]]:
    """Yields the keys and the AUROC of each training, but for those that are ``done``."""
    table = folder_table(root)[0][["path", "label", "patient"]]
    table["bytes"] = [(root / path).stat().st_size for path in table["path"]]
    for number in range(args.draws):
        pool, test = split(table, draw=number)
        for images in SIZES:
            train = pool[:images]
            for system in (*SYSTEMS, "bytes of the file"):
                if (number, images, system) in done:
                    continue
                if system in SYSTEMS:
                    place = f"{saved}-{system}-{images}-{number}".replace(" ", "-")
                    auroc = trained(root, train, test, args, system, number, place)
                else:
                    auroc = of_bytes(train, test)
                yield dict(zip(KEYS, (saved, number, images, system), strict=True)) | {
                    "auroc": auroc
                }


def split(table: pd.DataFrame, *, draw: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the pool, in an order whose beginnings have both labels, and the test images.

    The pool has at least SIZES[-1] images, of patients that the test set lacks.
    """
    random = np.random.default_rng(draw)
    patients = random.permutation(table["patient"].unique())
    images = table.set_index("patient").loc[patients].reset_index()
    last = images["patient"].iloc[SIZES[-1] - 1]
    is_pool = np.arange(len(images)) <= images.index[images["patient"] == last].max()
    pool = images[is_pool].sample(frac=1, random_state=draw)
    pool = pool.assign(place=pool.groupby("label").cumcount()).sort_values("place", kind="stable")
    return pool.drop(columns="place"), images[~is_pool]


def trained(
    root: Path,
    train: pd.DataFrame,
    test: pd.DataFrame,
    args: argparse.Namespace,
    system: str,
    draw: int,
    name: str,
) -> float:
    """Returns the AUROC on ``test`` of a system that is trained on ``train``."""
    place = args.out / "runs" / name
    csv = place.with_name(f"{name}.csv")
    csv.parent.mkdir(exist_ok=True)
    listed = pd.concat([train.assign(split="train"), test.assign(split="test")])
    listed[["path", "label", "patient", "split"]].to_csv(csv, index=False)
    epochs = -(-STEPS * BATCH // max(BATCH, len(train)))
    words = [
        *("data=folder", f"data.root={root}", f"data.csv={csv.resolve()}", f"seed={draw}"),
        *("protocol=official", "protocol.val=0", "logger=none", "num_threads=1", "trainer=cpu"),
        *(word.format(init=args.init) for word in SYSTEMS[system]),
    ]
    if system != "thumbnail SVM":
        words += [f"trainer.max_epochs={epochs}", *args.overrides]
    run = api.fit(*words, "callbacks.checkpoint.monitor=last", run_dir=place)
    return float(run.metrics["best"]["test"]["auroc"])


def of_bytes(train: pd.DataFrame, test: pd.DataFrame) -> float:
    """Returns the AUROC on ``test`` of the file's number of bytes, its direction from ``train``."""
    sign, auroc = (
        roc_auc_score(images["label"] == PNEUMONIA, images["bytes"]) for images in (train, test)
    )
    return float(auroc if sign >= 0.5 else 1 - auroc)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draws the mean AUROC of each system against the number of images, with all draws."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for saved, axes in zip(SAVED, panels, strict=True):
        for place, system in enumerate((*SYSTEMS, "bytes of the file")):
            chosen = table[(table["saved"] == saved) & (table["system"] == system)]
            mean = chosen.groupby("images")["auroc"].mean()
            axes.plot(mean.index, mean, marker="o", color=f"C{place}", label=system)
            axes.scatter(chosen["images"], chosen["auroc"], s=8, alpha=0.4, color=f"C{place}")
        axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", xticks=SIZES, xticklabels=SIZES, title=f"images {saved}")
        axes.minorticks_off()
        axes.set_xlabel("images trained on")
    panels[0].set(ylim=(0.3, 1), ylabel="AUROC on held-out patients")
    panels[0].legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
