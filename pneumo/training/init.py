"""Starts the training from the weights of another run (init=RUN)."""

from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from pneumo.inference.leakage import shared_with_train
from pneumo.runs.run import Run
from pneumo.runs.weights import weights_digest


def load_weights(network: nn.Module, place: str) -> None:
    """Fills a network with the best checkpoint of a run, with its mean and deviation.

    Args:
        network: of the same architecture and number of classes.
        place: a run folder or pretrained:NAME.

    Raises:
        FileNotFoundError, ValueError: there is no such run, or its network is another one.
    """
    run = Run.open(place)
    try:
        network.load_state_dict(run.network().state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"init must be a run of the same network and classes; {run.name} is "
            f"{run.metrics['model']} with {run.metrics.get('num_classes')} classes: {reason}. Set "
            "model= as in that run"
        ) from None


def check_new(place: str, root: Path, table: pd.DataFrame) -> None:
    """Raises ValueError if validation or test images share patients or bytes with init's training.

    Args:
        place: a run folder or pretrained:NAME.
        root: the folder that the paths of the table are relative to.
        table: split.
    """
    run = Run.open(place)
    shared, _ = shared_with_train(run, root, table[table["split"] != "train"])
    if shared:
        raise ValueError(
            f"init must not have been trained on the images that this run is scored on; {run.name} "
            f"was, on {shared}. Take other images, or leave init out"
        )


def facts(place: str, network: nn.Module) -> dict[str, Any]:
    """Returns the key init of metrics.json; ``network`` has the weights of the run."""
    run = Run.open(place)
    return {
        "run": run.name,
        "trained_on": run.metrics["data"]["kind"],
        "weights_sha256": weights_digest(network),
    }
