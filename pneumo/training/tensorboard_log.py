"""What TensorBoard shows of a run besides its curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from pneumo.data.datamodule import XrayDataModule
from pneumo.labels import CLASS_NAMES, PNEUMONIA

# What the HParams page shows at first, which are five columns, by name
COMPARED = ("batch_size", "lr", "model", "protocol", "seed")
NUM_WRONG = 16  # pictures of images the network gets wrong
CURVES = (
    "f1_normal",
    "f1_pneumonia",
    "accuracy",
    "loss",
    "auroc",
    "average_precision",
    "precision_normal",
    "recall_normal",
    "precision_pneumonia",
    "recall_pneumonia",
)


def writer_of(trainer: pl.Trainer) -> SummaryWriter | None:
    """Returns the writer of the TensorBoard logger, or None where there is none."""
    loggers = (one for one in trainer.loggers if isinstance(one, TensorBoardLogger))
    return next((one.experiment for one in loggers), None)


def open_run(
    trainer: pl.Trainer, config: Mapping[str, Any], hyperparameters: Mapping[str, Any]
) -> None:
    """Adds the configuration as text and the layout with train and test of a score in one chart.

    Loggers other than TensorBoard's get the hyperparameters, those get them with the last scores.
    """
    for logger in trainer.loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(dict(hyperparameters))
    writer = writer_of(trainer)
    if writer is None:
        return
    text = yaml.safe_dump(dict(config), sort_keys=False)
    writer.add_text("configuration", "```yaml\n" + text + "```", 0)
    charts = {name: ["Multiline", [f"^{name}/(train|val|test)$"]] for name in CURVES}
    writer.add_custom_scalars({"Train, validation and test in one chart": charts})


def close_run(
    trainer: pl.Trainer,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    data: XrayDataModule,
) -> None:
    """Adds the final scores with the hyperparameters, curves, confusion matrix, wrong examples."""
    writer = writer_of(trainer)
    if writer is None:
        return
    epoch = metrics["best"]["epoch"]
    for part, rows in predictions.groupby("split"):
        positive = (rows["label"] == PNEUMONIA).to_numpy()
        probability = rows["p_pneumonia"].to_numpy()
        writer.add_pr_curve(f"pneumonia/{part}", positive, probability, epoch)
        writer.add_pr_curve(f"normal/{part}", ~positive, 1 - probability, epoch)
        confusion = np.array(metrics["best"][str(part)]["confusion"])
        writer.add_image(
            f"confusion/{part}", confusion_picture(confusion), epoch, dataformats="HWC"
        )
    test = predictions[predictions["split"] == "test"]
    writer.add_image("wrong/test", wrong_picture(test, data), epoch, dataformats="HWC")
    if metrics["data"]["note"]:
        writer.add_text("data", f"**{metrics['data']['note']}**", epoch)
    add_hparams(writer, metrics)
    writer.close()  # its thread too, which a sweep would gather


def add_hparams(writer: SummaryWriter, metrics: Mapping[str, Any]) -> None:
    """Adds the run to the HParams page, in its own folder, so that no score is shown as -1."""
    values = {
        f"{when}/{name}": metrics[when]["test"][name]
        for when in ("best", "last")
        for name in ("f1_normal", "f1_pneumonia", "accuracy", "auroc")
    }
    settings = {k: "none" if v is None else v for k, v in metrics["hyperparameters"].items()}
    settings["data"] = metrics["data"]["kind"]
    summaries = hparams(settings, values)  # type: ignore[no-untyped-call]
    plugin = summaries[0].value[0].metadata.plugin_data
    page = HParamsPluginData.FromString(plugin.content)
    for info in page.experiment.hparam_infos:
        info.differs = info.name in COMPARED
    plugin.content = page.SerializeToString()
    for summary in summaries:
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        writer.add_scalar(name, value, metrics["best"]["epoch"])


def confusion_picture(confusion: np.ndarray) -> np.ndarray:
    """(2, 2) counts, rows the true class, to (H, W, 3) uint8."""
    figure = Figure(figsize=(4.5, 4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    names = list(CLASS_NAMES)
    axes.set_xticks([0, 1], names)
    axes.set_yticks([0, 1], names, rotation=90, va="center")
    axes.set_xlabel("said by the network")
    axes.set_ylabel("true")
    for row, column in np.ndindex(2, 2):
        colour = "white" if share[row, column] > 0.5 else "black"
        text = f"{confusion[row, column]:,}\n{share[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=14)
    return _pixels(figure)


def wrong_picture(test: pd.DataFrame, data: XrayDataModule) -> np.ndarray:
    """The images of the test split with the most confident wrong decisions, to (H, W, 3) uint8.

    Args:
        test: columns label, p_pneumonia and path; its index gives the rows of the cache.
        data: has the images.
    """
    positive = test["label"] == PNEUMONIA
    error = (test["p_pneumonia"] - positive).abs()
    worst = test[error > 0.5].assign(error=error).nlargest(NUM_WRONG, "error")
    figure = Figure(figsize=(11, 12), dpi=80, layout="constrained")
    figure.suptitle(
        f"{(error > 0.5).sum()} of {len(test)} test images are wrong; the surest errors"
    )
    for place, (row, values) in enumerate(worst.iterrows()):
        axes = figure.add_subplot(4, 4, place + 1)
        axes.imshow(data.cache.images[int(str(row))], cmap="gray", vmin=0, vmax=255)
        name = values["path"].rpartition("/")[2]
        axes.set_title(
            f"{values['label']}, said {values['p_pneumonia']:.0%} PNEUMONIA\n{name}", fontsize=8
        )
        axes.axis("off")
    return _pixels(figure)


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return pixels[..., :3].copy()
