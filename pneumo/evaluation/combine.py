"""A majority vote of several networks, beside their mean and their weighted mean."""

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.metrics import Array

VOTE = (
    "majority vote: each run votes at 0.5, a tie is PNEUMONIA; the share of votes is no "
    "probability, its AUROC ranks by that share, equal shares counting half"
)


def vote_share(probability: ArrayLike, *, threshold: float = 0.5) -> Array:
    """Returns (N,) float64 in [0, 1]: the share of M members that call each image PNEUMONIA.

    A share of 0.5 or more is the majority's PNEUMONIA; a tie is that too, since a missed pneumonia
    is the worse error.

    Args:
        probability: (M, N) of PNEUMONIA, one row for each member.
        threshold: a member calls PNEUMONIA at this probability or above.

    >>> vote_share([[0.9, 0.2], [0.6, 0.4], [0.1, 0.7]]).round(2).tolist()
    [0.67, 0.33]
    """
    return np.asarray((np.asarray(probability, dtype=np.float64) >= threshold).mean(0))
