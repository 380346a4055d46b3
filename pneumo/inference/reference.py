"""The reference of a run's own images, by which images out of distribution are flagged."""

import random

import numpy as np
import pandas as pd
import torch

from pneumo import cli
from pneumo.inference import ood
from pneumo.inference.networks import Networks, read_shown
from pneumo.models.base import Network
from pneumo.models.unet_encoder import without_tf32
from pneumo.models.views import Views
from pneumo.runs.run import Run
from pneumo.runs.weights import weights_digest
from pneumo.runs.writer import RunWriter

MAX_IMAGES = 500  # of a reference; more change the limit little
BATCH_SIZE = 32  # images at once through the network


def file_name(checkpoint: str) -> str:
    """Returns the name of the file in the run folder."""
    return "reference.npz" if checkpoint == "best" else f"reference-{checkpoint}.npz"


def sampled_paths(predictions: pd.DataFrame) -> list[str]:
    """Returns the images of the reference, sorted: up to MAX_IMAGES of validation and test."""
    paths = sorted(predictions["path"])
    return sorted(random.Random(0).sample(paths, min(MAX_IMAGES, len(paths))))  # noqa: S311  (fixed)


@torch.inference_mode()
def fit(network: Network, prepared: np.ndarray, *, views: Views) -> ood.Reference | None:
    """Returns the reference of (N, S, S) uint8 prepared images; None if they are too few."""
    if len(prepared) < ood.MIN_IMAGES:
        return None
    images = torch.from_numpy(prepared)[:, None].to(network.mean.device)
    with without_tf32():
        parts = [
            views.features_and_logits(network, part.float())[0]
            for part in torch.split(images, BATCH_SIZE)
        ]
    layout = ood.fit_detector(ood.layout(prepared))
    features = ood.fit_detector(torch.cat(parts).cpu().numpy())
    return ood.Reference(layout, features, weights_digest(network))


def stored(run: Run, network: Network, *, checkpoint: str) -> ood.Reference | None:
    """Returns the reference in the run folder if it fits the network, or None."""
    path = run.run_dir / file_name(checkpoint)
    return ood.load(path, weights_sha256=weights_digest(network))


def of_first_run(networks: Networks, *, threads: int) -> ood.Reference | None:
    """Returns the reference of the first run's images.

    Training leaves it in the run folder; if it is missing or of other weights, it is computed from
    the run's own images, if they are still there, and written again. None with a note otherwise.
    """
    run, network, shape = networks.runs[0], networks.networks[0], networks.shapes[0]
    if reference := stored(run, network, checkpoint=networks.checkpoint):
        return reference
    root = run.images()
    if root is None:
        cli.note(
            f"ood checks files only: {run.name} has no fitting reference.npz, and its images moved"
        )
        return None
    names = [str(root / path) for path in sampled_paths(run.scored)]
    stream = read_shown(names, "the run's own images", shapes=[shape], threads=threads)
    prepared = [radiograph.prepared[shape] for radiograph in stream if not radiograph.error]
    reference = fit(network, np.stack(prepared), views=run.views) if prepared else None
    if reference is None:
        cli.note(f"ood checks files only: {run.name} has too few images of its own")
        return None
    name = file_name(networks.checkpoint)
    try:
        RunWriter(run.run_dir).write_arrays(name, ood.arrays(reference))
    except OSError as error:
        cli.note(
            f"{run.run_dir / name} could not be written ({error.strerror}): computed each time"
        )
    return reference
