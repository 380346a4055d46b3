"""The most confident errors as one self-contained page: no script, pictures inline."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pneumo import cli
from pneumo.data import reader
from pneumo.inference import scoring
from pneumo.inference.ensemble import mean_operating_point
from pneumo.inference.heatmap_images import Heatmaps
from pneumo.inference.networks import Networks
from pneumo.labels import PNEUMONIA
from pneumo.report.templates import data_uri, render_page
from pneumo.runs.run import Run
from pneumo.shift.page import picture

TEMPLATE = "errors.html.j2"
MOST = 8  # errors of each kind
MOST_TRAINING = 5000  # training images, drawn at random, among which the similar ones are sought
NUM_SIMILAR = 3  # training images beside each error


def html(run: Run, *, checkpoint: str, trust: Sequence[str] = (), notes: Sequence[str] = ()) -> str:
    """Returns the text of a page of missed PNEUMONIA, then of false alarms.

    The most confident come first, each with its heat map, its probability and the most similar
    training images. ``notes``: sentences for the top of the page.

    Raises:
        FileNotFoundError: the run's images are missing.
        ValueError: an image cannot be read, or the run has no network or cannot be loaded.
    """
    cli.check_installed("a page of errors", "captum", extra="heatmap")
    root = scoring.own_root(run)
    if checkpoint != "best":
        run = scoring.rescored(run, ("val", "test"), checkpoint=checkpoint, trust=trust)
    threshold = mean_operating_point([run]).threshold
    maps = Heatmaps(run, checkpoint=checkpoint, trust=trust, threshold=threshold)
    test, train = run.of_split("test"), run.split[run.split["split"] == "train"]
    train = train.sample(min(len(train), MOST_TRAINING), random_state=0)
    by_kind = errors(test, threshold=threshold)
    shown = pd.concat([rows[:MOST] for rows in by_kind.values()])
    networks = Networks([run], checkpoint=checkpoint, trust=trust)
    near = most_similar(networks, root, shown["path"].tolist(), among=train["path"].tolist())

    def entry(row: Any) -> dict[str, Any]:
        png, _ = maps.explain(reader.decode(str(root / row.path))[0])
        similar = train.iloc[near[row.path]]
        pictures = [picture(root / path) for path in similar["path"]]
        return {
            "row": row,
            "picture": data_uri(Image.open(io.BytesIO(png)).convert("RGB")),
            "similar": list(zip(similar["path"], similar["label"], pictures, strict=True)),
        }

    entries = {kind: [*map(entry, rows[:MOST].itertuples())] for kind, rows in by_kind.items()}
    text: str = render_page(
        TEMPLATE,
        package="pneumo.gallery",
        run=run.name,
        num_test=len(test),
        num_train=len(train),
        threshold=threshold,
        notes=notes,
        numbers={kind: len(rows) for kind, rows in by_kind.items()},
        entries=entries,
    )
    return text


def errors(test: pd.DataFrame, *, threshold: float) -> dict[str, pd.DataFrame]:
    """Returns the false negatives and the false positives of a test split, most confident first.

    ``test``: columns path, label and p_pneumonia, PNEUMONIA from ``threshold`` on.
    """
    positive, predicted = test["label"] == PNEUMONIA, test["p_pneumonia"] >= threshold
    return {
        "Missed PNEUMONIA": test[positive & ~predicted].sort_values("p_pneumonia"),
        "False alarms": test[~positive & predicted].sort_values("p_pneumonia", ascending=False),
    }


def most_similar(
    networks: Networks, root: Path, paths: Sequence[str], *, among: Sequence[str]
) -> dict[str, np.ndarray]:
    """Returns for each path the places in ``among`` of the NUM_SIMILAR nearest images.

    The distance is Euclidean in the features of the first network, each divided by its standard
    deviation over ``among``.
    """
    if not paths:
        return {}
    names = [str(root / path) for path in (*among, *paths)]
    batches = networks.scored(names, title="training images")
    features = np.concatenate([scored.features for _, scored in batches])
    features /= np.maximum(features[: len(among)].std(0), 1e-9)
    of_train, of_errors = np.split(features, [len(among)])
    return {
        path: np.linalg.norm(of_train - values, axis=1).argsort(kind="stable")[:NUM_SIMILAR]
        for path, values in zip(paths, of_errors, strict=True)
    }
