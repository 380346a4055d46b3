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
        """Returns the rule of "last" or of a score and a split such as "f1_normal/val".

        Raises:
            ValueError: it has another form.
        """
        if monitor == LAST:
            return cls(LAST, "none")
        name, slash, on = monitor.partition("/")
        if not (name and slash and on):
            raise ValueError(
                "callbacks.checkpoint.monitor must be last, or a score and a split, such as "
                f"f1_normal/val; got {monitor!r}"
            )
        return cls(name, on)

    def best(self, history: Sequence[Mapping[str, Any]]) -> int:
        """Returns the index in ``history`` of the chosen epoch.

        Of equal scores the one with the lower loss on the same split is better, of equal losses
        the earlier one. A score that is not a number is never better than one that is.

        Raises:
            ValueError: the history has no such score or split.
        """
        if self.monitor == LAST:
            return len(history) - 1
        return max(range(len(history)), key=lambda place: self._rank(history[place], place))

    def _rank(self, row: Mapping[str, Any], place: int) -> tuple[float, float, int]:
        scores = row.get(self.on)
        if not isinstance(scores, Mapping) or self.monitor not in scores:
            names = [f"{n}/{split}" for split, s in row.items() if isinstance(s, dict) for n in s]
            raise ValueError(
                "callbacks.checkpoint.monitor must be one of "
                f"{', '.join(n for n in names if not n.startswith('confusion'))}; got "
                f"{self.monitor}/{self.on}"
            )
        value, loss = float(scores[self.monitor]), float(scores["loss"])
        signed = value if direction(self.monitor) == "max" else -value
        return _or_worst(signed), _or_worst(-loss), -place


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value
