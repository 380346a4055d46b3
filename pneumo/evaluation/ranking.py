"""Whether labelled images show that a network ranks them better than chance."""

from math import ceil, isnan

from numpy.typing import ArrayLike

from pneumo.evaluation.intervals import auroc_interval
from pneumo.evaluation.metrics import checked
from pneumo.evaluation.scores import auroc

CHANCE = 0.5  # the AUROC of any order that does not know the labels
MOST = 100_000  # images; an AUROC that needs more to be shown is of no use


def not_shown(label: ArrayLike, score: ArrayLike, *, patient: ArrayLike) -> str | None:
    """Returns why no threshold is shown to help, or None if the AUROC's interval lies above 0.5.

    Arguments: see intervals.score_intervals.
    """
    value, (low, high) = auroc(label, score), auroc_interval(label, score, patient=patient)
    if isnan(value) or low > CHANCE:
        return None
    shown = f"(AUROC {value:.2f}, {low:.2f} to {high:.2f})"
    if high < CHANCE:
        return (
            f"ranks these images worse than chance {shown}: the labels look swapped, NORMAL for "
            "PNEUMONIA; no threshold helps"
        )
    text = f"not shown to rank these images better than chance {shown}, so no threshold is shown "
    text += "to help"
    if number := images_needed(label, score, patient=patient):
        text += f". About {number:,} such images would show an AUROC of {value:.2f} to be above 0.5"
    return text


def images_needed(label: ArrayLike, score: ArrayLike, *, patient: ArrayLike) -> int | None:
    """Returns of how many images an interval around this AUROC would lie above 0.5.

    They have the same share of PNEUMONIA and as many images per patient: the number is above N if
    the interval of these N images reaches 0.5. It is near that of Hanley and McNeil, Radiology 143
    (1982) 29. None if it is above MOST, or the AUROC is not above 0.5. Arguments: `not_shown`.
    """
    label, score = checked(label, score)
    few, many = 1 / label.size, MOST / label.size
    if not auroc_interval(label, score, patient=patient, times=many).low > CHANCE:
        return None
    while (many - few) * label.size > 1:
        middle = (few + many) / 2
        shown = auroc_interval(label, score, patient=patient, times=middle).low > CHANCE
        few, many = (few, middle) if shown else (middle, many)
    return ceil(many * label.size)
