"""Train, predict, score and explain from Python, for notebooks: docs/quickstart.ipynb."""

import html
import io
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import PIL.Image
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from matplotlib.figure import Figure
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from pneumo import cli, train
from pneumo.arguments.train import CONF
from pneumo.data import image as preparing
from pneumo.data import reader
from pneumo.data.reader import InMemory
from pneumo.inference.classifiers import Classifiers
from pneumo.inference.heatmap_images import Heatmaps
from pneumo.inference.networks import batches
from pneumo.labels import CLASSES
from pneumo.report.assessed import of_run
from pneumo.runs import pretrained, run_folder
from pneumo.runs.run import Run as RunFolder
from pneumo.runs.tasks import check_classifier
from pneumo.shift import evaluation
from pneumo.training import hydra_cli
from pneumo.training.callbacks import history_table

ImageLike = str | Path | np.ndarray | PIL.Image.Image
SHOWN = ("auroc", "accuracy", "f1_normal", "recall_pneumonia", "recall_normal")  # of a notebook
CURVES = {"loss": "loss", "f1_normal": "F1 of NORMAL"}  # of plot_history


class Run(RunFolder):
    """A run folder with methods for notebooks; see pneumo.runs.run.Run for its files.

    ``Run.open(FOLDER)`` opens one, ``Run.open("pretrained:NAME")`` a network of the package.
    """

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row per epoch: epoch, lr, seconds, and the scores of each split, such as test/auroc."""
        return history_table(self.metrics["history"] or [])

    def evaluate(self, data: str | Path | None = None) -> pd.DataFrame:
        """Returns the scores of a classifier: one row per score; value, and low and high of 95 %.

        ``data``: a folder of other labelled images; by default the run's own test split. Errors:
        see pneumo.shift.evaluation.evaluate.
        """
        check_classifier(self, "Run.evaluate takes a classifier")
        scores = evaluation.evaluate([self], data=None if data is None else Path(data))
        (entry,) = scores["members"]
        for note in (entry["ranking"], *scores["notes"]):
            if note:
                cli.note(note)
        return pd.DataFrame(entry["scores"]).T

    def predict(self, images: ImageLike | Iterable[ImageLike]) -> pd.DataFrame:
        """Returns the table of `predict`."""
        return predict(images, run=self)

    def heatmap(self, image: ImageLike) -> PIL.Image.Image:
        """Returns the radiograph beside its map of evidence for PNEUMONIA; extra heatmap."""
        cli.check_installed("a heat map", "captum", extra="heatmap")
        check_classifier(self, "a heat map needs a classifier")
        name = Path(image).name if isinstance(image, str | Path) else ""
        png, _ = Heatmaps(self).explain(_grey(image), name=name)
        return PIL.Image.open(io.BytesIO(png))

    def plot_history(self) -> Figure:
        """Returns the loss and the F1 of NORMAL of each split by epoch, if the run has them."""
        from matplotlib import pyplot

        epochs = self.history.set_axis([n + 1 for n in self.history.get("epoch", ())])
        shown = {title: epochs.filter(regex=f"/{name}$") for name, title in CURVES.items()}
        shown = {title: table for title, table in shown.items() if not table.empty}
        figure, axes = pyplot.subplots(1, max(len(shown), 1), figsize=(9, 3), squeeze=False)
        for axis, (title, table) in zip(axes[0], shown.items(), strict=False):
            splits = table.rename(columns=lambda name: name.partition("/")[0])
            splits.plot(ax=axis, title=title, xlabel="epoch")
        pyplot.close(figure)  # a notebook would show it twice
        return figure

    def _repr_html_(self) -> str:
        """Returns the scores of the test split at the best epoch, with intervals, as a table."""
        scores = pd.DataFrame((self.metrics.get("assessment") or {}).get("scores") or {}).T
        table = scores.loc[[name for name in SHOWN if name in scores.index]]
        caption = f"{self.metrics['model']}, {self.metrics['protocol']} protocol, test split"
        numbers = table.to_html(float_format="{:.3f}".format, border=0)
        return numbers.replace(">", f"><caption>{html.escape(caption)}</caption>", 1)


class Classifier(nn.Module):
    """The network of a run in evaluation mode, its logits averaged over the run's views.

    Its attribute ``classes`` holds the names of the logits.
    """

    def __init__(self, of: RunFolder) -> None:
        super().__init__()
        self.network, self.views, self.run = of.network(), of.views, of
        self.classes = CLASSES[self.network.num_classes]
        self.eval()

    def transform(self, image: ImageLike) -> Tensor:
        """Returns (1, S, S) float32 grey values 0-255 of a path, a PIL image or an array."""
        size, aspect = self.run.image_size, self.run.aspect
        prepared = preparing.resize(_grey(image), size=size, aspect=aspect)
        return torch.tensor(prepared)[None].float()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, S, S) of `transform` to (B, classes) logits."""
        return self.views.logits(self.network, images)


def load_model(name: str | Path) -> Classifier:
    """Returns the network of a run folder or of the package, pretrained:NAME, on the CPU.

    Errors: see pneumo.runs.run.Run.network.

    >>> model = load_model(pretrained.DEFAULT)
    >>> model(model.transform(np.zeros((300, 400), np.uint8))[None]).shape
    torch.Size([1, 2])
    """
    return Classifier(RunFolder.open(name))


def fit(*overrides: str, run_dir: str | Path) -> Run:
    """Trains as ``python -m pneumo.train OVERRIDES`` does; returns the finished run.

    A line for each epoch goes to standard error, which a notebook shows at once. A folder with an
    unfinished run of these settings is resumed, by the same call after Ctrl-C, too; a finished one
    stays as it is. ``overrides`` are as on the command line, such as "data=kermany".

    Raises:
        ValueError: a setting is wrong, the run folder holds something else, or the run failed.
        KeyboardInterrupt: the user stopped it.
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
        raise ValueError(hydra_cli.mistake_message(error, folder)) from None
    if code == train.INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise ValueError(f"the run in {folder} failed: {run_folder.read_status(folder)['error']}")
    return Run.open(folder)


def predict(
    images: ImageLike | Iterable[ImageLike],
    *,
    run: str | Path | RunFolder = pretrained.DEFAULT,
    threshold: float | None = None,
    coverage: float | None = None,
    ids: bool = False,
) -> pd.DataFrame:
    """Returns the predictions for radiographs: one row per image, with the columns of the command.

    Args:
        images: one or several of: PNG, JPEG or DICOM files, folders that hold some, PIL images,
            and arrays (H, W) in which 0 is black: uint8, uint16 (scaled as a 16-bit PNG, by the
            depth that holds 99 % of the pixels) or float from 0 to 1. The column path of an image
            in memory is its place among these, such as "image 0".
        run: a finished run or its folder, or pretrained:NAME.
        threshold: of PNEUMONIA, 0 to 1; by default the run's own operating point.
        coverage: adds a column prediction_set, which holds the label of this share of images that
            are like the run's validation images; in (0, 1).
        ids: adds the columns SOPInstanceUID, StudyInstanceUID and AccessionNumber of DICOM files.

    Raises:
        FileNotFoundError, ValueError: the run or a file of it is missing or broken, there is no
            image, or one in memory cannot be used. An unreadable file is a row with its error.
    """
    opened = Run.open(run) if isinstance(run, str | Path) else run
    check_classifier(opened, "pneumo.api.predict takes a classifier")
    sources = _sources(images)
    classifiers = Classifiers([opened], threshold=threshold, coverage=coverage, ids=ids)
    for note in classifiers.notes:
        cli.note(note)
    stream = reader.read_all(sources, shapes=classifiers.shapes, threads=os.cpu_count() or 1)
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


def _grey(image: ImageLike) -> np.ndarray:
    """Returns (H, W) uint8; ValueError: the image cannot be read."""
    if isinstance(image, str | Path):
        return reader.decode(str(image))[0]
    return reader.from_memory(image, name="image").grey


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
        cfg = hydra.compose("train", [*map(hydra_cli.quoted, overrides)], return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(run_dir)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg
