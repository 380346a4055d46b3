"""The commands train and predict as functions, for notebooks: docs/quickstart.ipynb."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import PIL.Image
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from pneumo import cli, train
from pneumo.arguments.train import CONF
from pneumo.data import reader
from pneumo.data.reader import InMemory
from pneumo.inference.classifiers import open_classifiers
from pneumo.inference.networks import batches
from pneumo.report.external import of_run
from pneumo.runs import pretrained, run_folder
from pneumo.runs.run import Run
from pneumo.runs.tasks import check_classifier
from pneumo.training import hydra_cli

ImageLike = str | Path | np.ndarray | PIL.Image.Image


def fit(*overrides: str, run_dir: str | Path) -> Path:
    """Trains as ``python -m pneumo.train OVERRIDES`` does; returns the run folder it leaves.

    A line for each epoch goes to standard error, which a notebook shows at once. A folder with an
    unfinished run of these settings is resumed; a finished one stays as it is.

    Args:
        overrides: as on the command line, such as "experiment=compact-fast", "data=kermany".
        run_dir: the run folder, new or of such a run.

    Raises:
        ValueError: a setting is wrong, the run folder holds something else, or the run failed.
        KeyboardInterrupt: the user stopped it; the same call resumes it.
    """
    folder = Path(run_dir).expanduser().absolute()
    try:
        cfg = _compose(overrides, folder)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(hydra_cli.mistake_message(error)) from None
    try:
        code = train.run(cfg, folder, sweeping=False)
    except (ValueError, OSError, OmegaConfBaseException) as error:
        run_folder.remove_empty(folder, levels=1)
        raise ValueError(train.error_message(error, folder)) from None
    if code == train.INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise ValueError(f"the run in {folder} failed: {run_folder.read_status(folder)['error']}")
    return folder


def predict(
    images: ImageLike | Iterable[ImageLike],
    *,
    run: str | Path = pretrained.DEFAULT,
    threshold: float | None = None,
    coverage: float | None = None,
    ids: bool = False,
) -> pd.DataFrame:
    """Returns the predictions for radiographs: a row an image, with the columns of the command.

    Args:
        images: one or several of: PNG, JPEG or DICOM files, folders that hold some, PIL images,
            and arrays (H, W) in which 0 is black: uint8, uint16 (scaled as a 16-bit PNG, by the
            depth that holds 99 % of the pixels) or float from 0 to 1. The column path of an image
            in memory is its place among these, such as "image 0".
        run: a finished run's folder, or pretrained:NAME.
        threshold: the probability from which PNEUMONIA is predicted, 0 to 1; by default the run's
            own operating point.
        coverage: adds a column prediction_set, which holds the label of this share of images that
            are like the run's validation images; in (0, 1).
        ids: adds the columns SOPInstanceUID, StudyInstanceUID and AccessionNumber of DICOM files.

    Raises:
        FileNotFoundError: the run or a file of it is missing.
        ValueError: the run is broken, there is no image, or one in memory has another type, shape,
            dtype or range. A file that cannot be read is a row with its error.
    """
    opened = Run.open(run)
    check_classifier(opened, "pneumo.api.predict takes a classifier")
    sources, threads = _sources(images), os.cpu_count() or 1
    classifiers = open_classifiers(
        [opened], threshold=threshold, coverage=coverage, ids=ids, threads=threads
    )
    for note in classifiers.notes:
        cli.note(note)
    stream = reader.read_all(sources, shapes=classifiers.shapes, threads=threads)
    rows = [
        row
        for batch in batches(stream, batch_size=classifiers.batch_size)
        for row in classifiers.rows(batch)
    ]
    return pd.DataFrame(rows, columns=classifiers.columns)


def list_models() -> pd.DataFrame:
    """Returns the networks of the package, a row each: what they are and how well they rank.

    Columns: name (for ``run`` of `predict`), model, parameters, trained_on, and the AUROC with its
    95 % interval on the test images: random (drawn from the same images), official (the set's own
    test split), external (of other sources, by name); "" if not scored.

    Examples:
        >>> list_models().set_index("name").loc["pretrained:compact-robust", "official"]
        '0.987 (0.977 to 0.993)'
    """
    runs = [Run.open(name) for name in pretrained.names()]
    return pd.DataFrame(
        {
            "name": run.name,
            "model": run.metrics["model"],
            "parameters": run.metrics.get("parameters"),
            "trained_on": run.metrics["data"]["kind"],
            **of_run(run, run.assessment),
        }
        for run in runs
    )


def _sources(images: ImageLike | Iterable[ImageLike]) -> list[str | InMemory]:
    """Returns the files and the images in memory; ValueError: see predict."""
    is_one = isinstance(images, str | bytes | Path | np.ndarray | PIL.Image.Image)
    several = images if isinstance(images, Iterable) and not is_one else [images]
    sources: list[str | InMemory] = []
    for place, image in enumerate(several):
        if isinstance(image, str | Path):
            sources += reader.find([str(image)])[0]
        else:
            sources.append(reader.from_memory(image, name=f"image {place}"))
    if not sources:
        raise ValueError(f"there must be an image to predict; got none in {images}")
    return sources


def _compose(overrides: Sequence[str], run_dir: Path) -> DictConfig:
    """Returns the configuration as hydra.main composes it for a run in ``run_dir``."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(run_dir)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg
