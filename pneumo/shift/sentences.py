"""The meaning of a comparison of two sets of images, in sentences."""

from collections.abc import Iterable, Mapping
from typing import Any

from pneumo.report.wording import decimal, interval, p_value
from pneumo.shift.compare import ALL, SPACES
from pneumo.shift.sample import MEASURES, OF_IMAGES

MOST_NAMED = 5  # measures of a class in a sentence
MEANS = (
    "The run's operating point, calibration and scores on its own images may not hold here; only "
    "scores on labelled images of this site show it."
)
BY_SHARE = "Another share of PNEUMONIA alone also makes images without labels differ."
Row = Mapping[str, Any]


def sentences(shift: Row) -> list[str]:
    """Returns the sentences of a comparison (see pneumo.shift.compare); the first is the answer."""
    groups = [group["group"] for group in shift["groups"]]
    few = [row for row in shift["spaces"] if "patients of both" in row.get("why_not", "")]
    untested = dict.fromkeys(f"{row['group']} was not tested: {row['why_not']}." for row in few)
    if shift["differ"] is None:
        first = (
            f"Whether these images differ from the run's {shift['reference']} images is unknown."
        )
        return [first, *untested, _distance(shift)]
    if not shift["differ"]:
        return [_no_difference(shift), *untested, _distance(shift)]
    means = [MEANS, *([BY_SHARE] if ALL in groups else [])]
    changes = [_changes(shift, group) for group in groups]
    return [_difference(shift), *filter(None, changes), *untested, *means, _distance(shift)]


def by_size(rows: Iterable[Row]) -> list[Row]:
    """Returns the measures that differ, the most different first."""
    differing = (row for row in rows if row["differs"])
    return sorted(differing, key=lambda row: -abs(float(row["larger_here"]) - 0.5))


def _difference(shift: Row) -> str:
    differing = [row for row in shift["spaces"] if row["differs"]]
    start = "{} differ from the training hospital's: "
    if not differing:
        return f"{start.format(_of(ALL))}single measures differ by more than chance."
    best = max(differing, key=lambda row: float(row["auroc"]))
    seen_in = {row["space"] for row in differing} | {
        r["seen_in"] for r in by_size(shift["measures"])
    }
    auroc, chance = (decimal(best[key], digits=2) for key in ("auroc", "chance"))
    return (
        f"{start.format(_of(best['group']))}a classifier separates them by "
        f"{SPACES[best['space']]}, AUROC {auroc} (chance: up to {chance}; p "
        f"{p_value(best['p_holm'])})."
    ) + " Only differences of the files were detected." * (seen_in == {"file"})


def _no_difference(shift: Row) -> str:
    reached = max((row["needed"] for row in shift["spaces"] if "auroc" in row), default=1.0)
    sizes = ", ".join(
        f"{group['here']:,} patients against {group['validation']:,} of {group['group']}"
        for group in shift["groups"]
    )
    return (
        f"No difference from the training hospital's images was detected ({sizes}). A classifier "
        f"must reach an AUROC above about {decimal(reached, digits=2)} to show one; others may "
        "exist."
    )


def _changes(shift: Row, group: str) -> str:
    """The measures of a group that differ; "" if none does."""
    changed = by_size(row for row in shift["measures"] if row["group"] == group)
    listed = []
    for row in changed[:MOST_NAMED]:
        digits = MEASURES[row["measure"]].digits
        before, now = (decimal(row[key][1], digits=digits) for key in ("validation", "here"))
        way = "higher" if row["larger_here"] > 0.5 else "lower"
        kind = "" if row["about"] == OF_IMAGES else "median "
        listed.append(f"{way} {row['title']} ({kind}{now} instead of {before})")
    listed += [f"and {len(changed) - MOST_NAMED} more"] * (len(changed) > MOST_NAMED)
    return f"{_of(group)} have {', '.join(listed)}." if listed else ""


def _of(group: str) -> str:
    return "These images" if group == ALL else f"{group} images"


def _distance(shift: Row) -> str:
    distance = shift["distance"]
    if "why_not" in distance:
        return f"No distance was measured: {distance['why_not']}."
    share, low, high = (100 * distance["share"][key] for key in ("value", "low", "high"))
    usual, most = (decimal(100 * ordinary, digits=1) for ordinary in distance["ordinary"])
    return (
        f"{distance['beyond']:,} of {shift['here']['images']:,} images "
        f"({decimal(share, digits=1)} %, {interval(low, high, digits=1)} %) are unlike 99 % of the "
        f"run's own, by layout ({distance['layout']:,}) or the network's features "
        f"({distance['features']:,}). Beside {shift['validation']['images']:,} "
        f"{shift['reference']} images, {usual} % is expected, and up to {most} % by chance."
    )
