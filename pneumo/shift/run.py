"""A run's own images are read again and compared with others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo.inference.ensemble import Member, Networks
from pneumo.shift import sample
from pneumo.shift.compare import compare


def against_run(
    member: Member,
    own: Path,
    root: Path,
    table: pd.DataFrame,
    *,
    checkpoint: str,
    trust: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns what differs between some images and those the run was validated on.

    Of a run without a validation split its test split is taken: both are images that it was not
    trained on.

    Args:
        member: a finished run of a network.
        own: folder of the run's images.
        root: that paths of ``table`` are relative to.
        table: path, group and label ("" where not known).
        checkpoint: best or last.
        trust: packages whose networks the run may ask for.

    Raises:
        ValueError: no image can be read, or the run cannot be loaded.
    """
    split = "test" if member.part("val").empty else "val"
    networks = Networks([member.run_dir], checkpoint=checkpoint, trust=trust)
    validation = sample.read(networks, own, member.part(split))
    other = sample.read(networks, root, table)
    found = compare(validation, other, reference={"val": "validation"}.get(split, split))
    return {"run": member.name, **found}
