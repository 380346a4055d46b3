"""The comparison of a run's own images with others, each read once."""

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
    """Images on which a run was not trained, its own and others, as its network gets them."""

    split: str  # of ``own``: val, or test for a run without a validation split
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

    A run without a validation split gives its test split, on which it was not trained either.

    Args:
        run: a finished run of a network.
        own: folder of the run's images.
        root: that paths of ``table`` are relative to.
        table: path, group and label ("" where not known).
        checkpoint: best or last.
        trust: packages whose networks the run may use.
        all_own: whether each of the run's images must be readable.
        all_others: whether each image of ``table`` must be.

    Raises:
        UnreadableError: a required image cannot be read.
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
