"""The rule that chooses the epoch of a run from its history of scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumo.training.config import LAST, direction


@dataclass(frozen=True)
class Selection:
    """Chooses an epoch, for best.ckpt, the screen and metrics.json alike.

    Args:
        monitor: a score of an epoch, such as f1_normal or loss; or "last", the last epoch.
        on: the split it is taken from, such as val; "none" with "last".
    """

    monitor: str
    on: str

    @classmethod
    def parse(cls, monitor: str) -> "Selection":
        """Returns the rule of "last" or of a score and a split such as "f1_normal/val"."""
        name, _, on = monitor.partition("/")
        return cls(name, on or "none")

    def best(self, history: Sequence[Mapping[str, Any]]) -> int:
        """Returns the index in ``history`` of the chosen epoch.

        Of equal scores the one with the lower loss on the same split is better, of equal losses
        the earlier one. A score that is not a number is never better than one that is.

        Raises:
            ValueError: an epoch has no such score or split.
        """
        if self.monitor == LAST:
            return len(history) - 1
        sign = 1 if direction(self.monitor) == "max" else -1

        def rank(place: int) -> tuple[float, ...]:
            scores = history[place].get(self.on, {})
            if self.monitor not in scores:
                raise ValueError(f"epoch {place + 1} has no score {self.monitor}/{self.on}")
            values = sign * scores[self.monitor], -scores["loss"]
            return (*(-math.inf if math.isnan(value) else value for value in values), -place)

        return max(range(len(history)), key=rank)
