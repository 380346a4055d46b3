"""The meaning of a comparison of two sets of images, in sentences, and as lines for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pneumo.report.table import Table
from pneumo.report.wording import decimal, interval, p_value
from pneumo.shift.compare import ALL, SPACES
from pneumo.shift.sample import MEASURES

MOST_NAMED = 5  # measures of a class in a sentence
MOST_LINES = 8  # measures on a terminal; the page and the JSON have all
MOST_PATHS = 5  # files on a terminal
SPACE_COLUMNS = {"group": "images", "auroc": "AUROC", "chance": "by chance", "p": "p, Holm"}
MEASURE_COLUMNS = {"group": "images", "here": "here", "validation": "run", "larger": "larger"}
MEASURE_COLUMNS |= {"p": "p, Holm"}
NAMES = {"file": "the file", "picture": "the picture", "network": "the network's features"}
NEED_NOT_HOLD = (
    "The run's operating point, calibration and scores on its own images may not hold here"
)
MEANS = {  # by whether these images have labels
    True: f"{NEED_NOT_HOLD}: use the scores of these images.",
    False: f"{NEED_NOT_HOLD}; only labels of some of these images can show it. Another share of "
    "PNEUMONIA alone also makes images differ.",
}
THAN_OURS = "differ from the training hospital's"
Row = Mapping[str, Any]


def sentences(shift: Row) -> list[str]:
    """Returns the sentences of a comparison (see pneumo.shift.compare); the first is the answer."""
    if shift["differ"] is None:
        row = shift["spaces"][0]
        why = row["why_not"] + (f", of {row['group']}" if row["group"] != ALL else "")
        return [
            f"Whether these images differ from the run's {shift['reference']} images is not known: "
            f"{why}.",
            _distance(shift),
        ]
    few = (row for row in shift["spaces"] if "patients of both" in row.get("why_not", ""))
    untested = dict.fromkeys(f"{row['group']} was not tested: {row['why_not']}." for row in few)
    if not shift["differ"]:
        return [_no_difference(shift), *untested, _distance(shift)]
    groups = [group["group"] for group in shift["groups"]]
    changes = [change for group in groups for change in _changes(shift, group)]
    return [_difference(shift), *changes, *untested, MEANS[ALL not in groups], _distance(shift)]


def _difference(shift: Row) -> str:
    differing = [row for row in shift["spaces"] if row["differs"]]
    if not differing:
        return f"These images {THAN_OURS}: single measures differ by more than chance."
    best = max(differing, key=lambda row: float(row["auroc"]))
    only_files = {row["space"] for row in differing} == {"file"} and not any(
        row["differs"] for row in shift["measures"] if row["seen_in"] != "file"
    )
    return (
        f"{_of(best['group'])} {THAN_OURS}: a classifier can tell them apart by "
        f"{SPACES[best['space']]}, AUROC {decimal(best['auroc'], digits=2)} (chance: up to "
        f"{decimal(best['chance'], digits=2)}; p {p_value(best['p_holm'])})."
    ) + " Only the files differ; in the pictures no difference was found." * only_files


def _no_difference(shift: Row) -> str:
    reached = max((row["needed"] for row in shift["spaces"] if "auroc" in row), default=1.0)
    sizes = ", ".join(
        f"{group['here']:,} patients against {group['validation']:,}"
        + (f" of {group['group']}" if group["group"] != ALL else "")
        for group in shift["groups"]
    )
    return (
        f"No difference from the training hospital's images was found ({sizes}). Only differences "
        f"by which a classifier reaches an AUROC above about {decimal(reached, digits=2)} would "
        "show; others may exist."
    )


def _changes(shift: Row, group: str) -> list[str]:
    spaces = [row for row in shift["spaces"] if row["group"] == group]
    differing = [row for row in spaces if row["differs"]]
    of_group = (row for row in shift["measures"] if row["group"] == group)
    changed, name = _by_size(row for row in of_group if row["differs"]), _of(group)
    if changed:
        more = [f"and {len(changed) - MOST_NAMED} more"] * (len(changed) > MOST_NAMED)
        listed = ", ".join([*map(_change, changed[:MOST_NAMED]), *more])
        return [f"{name} have {listed}."]
    if differing:
        where = ", ".join(SPACES[row["space"]] for row in differing)
        return [f"{name} differ in {where}, but clearly in no single measure."]
    untested = all(row["differs"] is None for row in spaces)
    return [] if untested else [f"{name} do not differ measurably."]


def _change(row: Row) -> str:
    digits = MEASURES[str(row["measure"])].digits
    before, now = (decimal(row[key][1], digits=digits) for key in ("validation", "here"))
    way = "higher" if row["larger_here"] > 0.5 else "lower"
    return f"{way} {row['title']} (median {now} instead of {before})"


def _by_size(rows: Any) -> list[Row]:
    return sorted(rows, key=lambda row: -abs(row["larger_here"] - 0.5))


def _of(group: str) -> str:
    return "These images" if group == ALL else f"{group} images"


def _distance(shift: Row) -> str:
    distance = shift["distance"]
    if "why_not" in distance:
        return f"No distance was measured: {distance['why_not']}."
    share, low, high = (100 * distance["share"][key] for key in ("value", "low", "high"))
    ends = interval(low, high, digits=1)
    usual, most = (decimal(100 * ordinary, digits=1) for ordinary in distance["ordinary"])
    images = f"{shift['validation']['images']:,} {shift['reference']} images"
    return (
        f"{distance['beyond']:,} of {shift['here']['images']:,} images "
        f"({decimal(share, digits=1)} %, {ends} %) are unlike 99 % of the run's own, by layout "
        f"({distance['layout']:,}) or the network's features ({distance['features']:,}). Beside "
        f"{images}, {usual} % is ordinary and {most} % possible by chance."
    )


def lines(shift: Row) -> list[str]:
    """Returns the comparison for a terminal of 80 columns."""
    if "why_not" in shift:
        return [f"! not compared with the run's own images: {shift['why_not']}"]
    ours, here = shift["validation"], shift["here"]
    first, *others = sentences(shift)
    out = [
        f"Against the run's {ours['images']:,} {shift['reference']} images of {ours['patients']:,} "
        f"patients ({here['images']:,} of {here['patients']:,} here):",
        f"! {first}" if shift["differ"] else first,
        *others,
        "",
        *_table("separated by", SPACE_COLUMNS, map(_space, shift["spaces"])),
    ]
    if rows := _by_size(row for row in shift["measures"] if row["differs"]):
        out += _table("measure", MEASURE_COLUMNS, map(_measure, rows[:MOST_LINES]))
        out.append("(medians; larger: share of pairs in which the image here has the larger value)")
    out += _paths("could not be read:", [f"{u['path']}: {u['why']}" for u in shift["unreadable"]])
    farthest = [f"{r['path']} ({decimal(r['distance'], digits=2)})" for r in shift["farthest"][:3]]
    return [*out, *_paths("farthest (distance; 1 is the limit):", farthest)]


def _table(name: str, columns: Mapping[str, str], rows: Iterable[Any]) -> list[str]:
    return Table({"name": name, **columns}, list(rows)).text(first=26, others=11)


def _space(row: Row) -> Row:
    cells = dict.fromkeys(SPACE_COLUMNS, "") | {"name": NAMES[row["space"]], "group": row["group"]}
    if "why_not" in row:
        why = row["why_not"]
        return cells | {"auroc": why if why == "all alike" else "too few patients"}
    cells |= {name: decimal(row[name]) for name in ("auroc", "chance")}
    return cells | {"p": (p_value(row["p_holm"]), "differ" * bool(row["differs"]))}


def _measure(row: Row) -> Row:
    digits = MEASURES[row["measure"]].digits
    cells = {"name": row["title"], "group": row["group"], "p": p_value(row["p_holm"])}
    cells |= {name: decimal(row[name][1], digits=digits) for name in ("here", "validation")}
    return cells | {"larger": decimal(row["larger_here"], digits=2)}


def _paths(title: str, names: Sequence[str]) -> list[str]:
    more = [f"  and {len(names) - MOST_PATHS:,} more"] * (len(names) > MOST_PATHS)
    return [title, *(f"  {name}" for name in names[:MOST_PATHS]), *more] if names else []
