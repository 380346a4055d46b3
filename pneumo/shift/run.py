"""A run's own images and others, each read once, and how they differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pneumo.inference.networks import Networks
from pneumo.runs.run import Run
from pneumo.shift import sample
from pneumo.shift.compare import compare
from pneumo.shift.sample import Sample


class Samples(NamedTuple):
    """Images that a run was not trained on, its own and others, as its network gets them."""

    split: str  # that ``own`` are of: val, or test of a run without a validation split
    own: Sample
    other: Sample


def read(
    run: Run,
    own: Path,
    root: Path,
    table: pd.DataFrame,
    *,
    checkpoint: str,
    trust: Sequence[str] = (),
    all_own: bool = False,
    all_others: bool = False,
) -> Samples:
    """Returns some images and those the run was validated on, measured and scored.

    Of a run without a validation split its test split is taken: both are images that it was not
    trained on.

    Args:
        run: a finished run of a network.
        own: folder of the run's images.
        root: that paths of ``table`` are relative to.
        table: path, group and label ("" where not known).
        checkpoint: best or last.
        trust: packages whose networks the run may ask for.
        all_own: whether each of the run's images must be readable.
        all_others: whether each image of ``table`` must be.

    Raises:
        UnreadableError: an image cannot be read that must be.
        ValueError: no image can be read, or the run cannot be loaded.
    """
    split = "test" if run.of_split("val").empty else "val"
    networks = Networks([run], checkpoint=checkpoint, trust=trust)
    other = sample.read(networks, root, table, all_readable=all_others)
    return Samples(
        split, sample.read(networks, own, run.of_split(split), all_readable=all_own), other
    )


def against_run(run: Run, samples: Samples) -> dict[str, Any]:
    """Returns what differs between some images and those the run was validated on."""
    reference = {"val": "validation"}.get(samples.split, samples.split)
    return {"run": run.name, **compare(samples.own, samples.other, reference=reference)}
