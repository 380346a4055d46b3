"""A baseline scores new images: its run folder has no weights, so it is fitted again."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from hydra.utils import instantiate

from pneumo.evaluation.metrics import Array
from pneumo.inference.networks import THREADS, check_readable, read_shown
from pneumo.labels import NORMAL
from pneumo.runs.run import Run

CLASS = re.compile(r"pneumo\.baselines\.\w+\.[A-Z]\w*")  # all that is built


def probabilities(run: Run, train_root: Path, root: Path, paths: Sequence[str]) -> Array:
    """Returns (N,) probabilities of PNEUMONIA of N files below ``root``.

    Args:
        run: of a baseline, see pneumo.baselines.
        train_root: the folder of the run's images, to whose train split it is fitted.
        root: the folder that the paths are relative to.
        paths: of the files.

    Raises:
        ValueError: the run names another class.
        UnreadableError: an image cannot be read.
    """
    model = {key: value for key, value in run.settings["model"].items() if key != "name"}
    if not CLASS.fullmatch(str(model.get("_target_"))):
        raise ValueError(f"{run.run_dir} must name a baseline; got {model.get('_target_')}")
    train = run.split[run.split["split"] == "train"]
    places = [*(train_root / path for path in train["path"]), *(root / path for path in paths)]
    others = pd.DataFrame({"label": NORMAL, "group": "", "split": "new"}, index=range(len(paths)))
    table = pd.concat([train[["label", "group", "split"]], others], ignore_index=True)
    names = list(map(str, places))  # absolute: of two folders
    table = table.assign(path=names)
    shape, prepared = (run.image_size, run.aspect), []
    for radiograph in read_shown(names, "reading", shapes=[shape], threads=THREADS):
        check_readable(radiograph)
        prepared.append(radiograph.prepared[shape])
    fitted = instantiate(model).fit(
        table, np.stack(prepared), root=Path(), seed=int(run.config["seed"])
    )
    return np.asarray(fitted[len(train) :])
