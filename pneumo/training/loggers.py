"""TensorBoard: the configuration, one chart for each score, the hyperparameters; MLflow."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from filelock import FileLock
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from pneumo.training import sweep
from pneumo.training.config import FOLLOWED, Config

# Settings that distinguish runs, in this order on the HParams page, after those a sweep varies
DISTINCT = ("model", "seed", "protocol", "fold", "lr", "batch_size")
DATABASE = "mlflow.db"
MOST_HPARAMS = 5  # of a run without a sweep; more push the scores out of sight
# On the HParams page, the honest first: as many as fit 1,400 px without scrolling
HPARAM_SCORES = ("challenge", "f1_normal", "auroc", "accuracy", "f1_pneumonia")


def writer_of(trainer: pl.Trainer) -> SummaryWriter | None:
    """Returns the writer of the TensorBoard logger; None without one."""
    loggers = (logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger))
    return next((logger.experiment for logger in loggers), None)


def open_run(trainer: pl.Trainer, config: Config, hyperparameters: Mapping[str, Any]) -> None:
    """Adds the configuration as text and the layout with train and test of a score in one chart.

    Other loggers get the hyperparameters; TensorBoard gets them with the last scores.
    """
    for logger in trainer.loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(dict(hyperparameters))
    writer = writer_of(trainer)
    if writer is None:
        return
    text = yaml.safe_dump(config.plain(), sort_keys=False)
    writer.add_text("configuration", "```yaml\n" + text + "```", 0)
    names = FOLLOWED[config.task]
    charts = {name: ["Multiline", [f"^{name}/(train|val|test)$"]] for name in names}
    writer.add_custom_scalars({"Train, validation and test in one chart": charts})


def close_run(trainer: pl.Trainer, metrics: Mapping[str, Any]) -> None:
    """Adds the data set's note, and the final scores with the hyperparameters.

    Other loggers than TensorBoard get the final scores if no epoch had them.
    """
    best, epochs = metrics["best"], metrics["history"]
    final = {
        f"{name}/{split}": score
        for split in ("val", "test")
        if split in best and split not in epochs[-1]
        for name, score in best[split].items()
        if isinstance(score, float)
    }
    for logger in trainer.loggers:
        if final and not isinstance(logger, TensorBoardLogger):
            logger.log_metrics(final, step=best["epoch"] + 1)
            logger.save()
    writer = writer_of(trainer)
    if writer is None:
        return
    if metrics["data"]["note"]:
        writer.add_text("data", f"**{metrics['data']['note']}**", metrics["best"]["epoch"] + 1)
    add_hparams(writer, metrics, sweep.fixed_and_varied(Path(writer.log_dir).parent)[1])
    writer.close()  # its thread too, which a sweep would gather


def write_baseline(config: Config, metrics: Mapping[str, Any], run_dir: Path) -> None:
    """Writes a baseline's scores as lines from the first epoch to the last of a network's run."""
    targets = [logger.target_.rpartition(".")[2] for logger in (config.logger or {}).values()]
    if TensorBoardLogger.__name__ not in targets:
        return
    writer = SummaryWriter(str(run_dir))
    for split in metrics["data"]["splits"]:
        scores = metrics["best"]["train_eval" if split == "train" else split]
        for name in scores.keys() - {"confusion"}:
            for epoch in sorted({1, config.trainer.max_epochs}):
                writer.add_scalar(f"{name}/{split}", scores[name], epoch)
    # the columns of the networks: the page has those of one run
    selection = {"on": config.protocol.select_on}
    add_hparams(
        writer, {**metrics, "selection": selection}, sweep.fixed_and_varied(run_dir.parent)[1]
    )
    writer.close()


def add_hparams(
    writer: SummaryWriter, metrics: Mapping[str, Any], varied: Collection[str] = ()
) -> None:
    """Adds the run to the HParams page, with all of its scores: others are shown as -1.

    honest_test: of an epoch that was not chosen on the test split, so the last one if the best was;
    optimistic_test: of the epoch that was chosen on the test split.
    """
    on_test = (metrics["selection"] or {}).get("on") == "test"
    epochs = {"honest_test": metrics["last" if on_test else "best"]}
    epochs |= {"optimistic_test": metrics["best"]} if on_test else {}
    values = {
        f"{title}/{name}": (epoch["test"][name], epoch["epoch"] + 1)
        for title, epoch in epochs.items()
        for name in HPARAM_SCORES
        if name in epoch["test"]
    }
    settings = hparam_settings(metrics, varied)
    scores = {name: score for name, (score, _) in values.items()}
    summaries = hparams(settings, scores)  # type: ignore[no-untyped-call]
    plugin = summaries[0].value[0].metadata.plugin_data
    page = HParamsPluginData.FromString(plugin.content)
    for info in page.experiment.hparam_infos:
        info.differs = True  # others are hidden at first
    plugin.content = page.SerializeToString()
    for summary in summaries:
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for name, (score, epoch) in values.items():
        writer.add_scalar(name, score, epoch)


def hparam_settings(metrics: Mapping[str, Any], varied: Collection[str] = ()) -> dict[str, Any]:
    """Returns the settings of a run on the HParams page, in their order.

    In a sweep, those that it varies; without one, the first MOST_HPARAMS of all.

    Args:
        metrics: metrics.json.
        varied: the sweep's settings by their names on the command line, such as optimizer.lr.
    """
    values = {"data": metrics["data"]["kind"], "model": metrics["model"]}
    values |= metrics["hyperparameters"]
    last = {name.rpartition(".")[2] for name in varied}
    names = sorted(values, key=lambda n: DISTINCT.index(n) if n in DISTINCT else len(DISTINCT))
    changed = [name for name in names if name in last or name in varied]
    shown = changed or names[:MOST_HPARAMS]
    return {name: "none" if values[name] is None else values[name] for name in shown}


def mlflow(
    *,
    run_dir: str,
    experiment_name: str,
    tags: Sequence[str] = (),
    tracking_uri: str | None = None,
    **settings: Any,
) -> MLFlowLogger:
    """Returns a logger for MLflow; the runs of a sweep share a database and an experiment.

    A lock keeps runs that start at once from creating them twice.

    Args:
        run_dir: the run folder.
        experiment_name: is created if it does not exist.
        tags: names of the run; MLflow gets them as one tag, joined by commas.
        tracking_uri: of a server; None for the file mlflow.db in the run folder's parent.
        **settings: of MLFlowLogger.
    """
    sweep_dir = Path(run_dir).absolute().parent
    with FileLock(sweep_dir / f".{DATABASE}.lock"):
        logger = MLFlowLogger(
            experiment_name,
            tracking_uri=tracking_uri or f"sqlite:///{sweep_dir / DATABASE}",
            tags={"tags": ", ".join(tags)},
            **settings,
        )
        client = logger._mlflow_client  # logger.experiment would also start a run
        if client.get_experiment_by_name(experiment_name) is None:
            client.create_experiment(experiment_name)
    return logger
