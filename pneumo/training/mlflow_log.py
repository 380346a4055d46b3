"""Lightning's logger for MLflow, on a database beside the run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from pytorch_lightning.loggers import MLFlowLogger

DATABASE = "mlflow.db"


def make(
    *,
    run_dir: str,
    experiment_name: str,
    tags: Sequence[str] = (),
    tracking_uri: str | None = None,
    **settings: Any,
) -> MLFlowLogger:
    """Returns the logger; the runs of a sweep share a database and an experiment.

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
