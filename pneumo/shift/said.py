"""What a comparison of two sets of images means, in sentences, and as lines for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pneumo.report.wording import decimal, interval, p_value
from pneumo.shift.compare import ALL, SPACES
from pneumo.shift.sample import MEASURES

MOST_NAMED = 5  # measures of a class in a sentence
MOST_LINES = 8  # measures on a terminal; the page and the JSON have all
NAMES = {"file": "the file", "picture": "the picture", "network": "the network's features"}
MEANS = {  # by whether these images have labels
    True: "The operating point, the calibration and the scores that the run has of its own images "
    "need not hold here: go by the scores of these images.",
    False: "The operating point, the calibration and the scores that the run has of its own images "
    "need not hold here; only labels of some of these images can tell. Another share of "
    "PNEUMONIA alone would make them differ, too.",
}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Returns what a comparison (see pneumo.shift.compare) says; the first is the answer."""
    if found["differ"] is None:
        row = found["spaces"][0]
        why = row["why_not"] + (f", of {row['group']}" if row["group"] != ALL else "")
        return [
            f"Whether these images are exchangeable with the run's {found['reference']} images is "
            f"not known: {why}.",
            *_distance(found),
        ]
    labelled = found["groups"][0]["group"] != ALL
    if not found["differ"]:
        return [_nothing_found(found), *_untested(found), *_distance(found)]
    groups = [group["group"] for group in found["groups"]]
    how = [one for group in groups for one in _how(found, group)]
    return [_differ(found), *how, *_untested(found), MEANS[labelled], *_distance(found)]


def _differ(found: Mapping[str, Any]) -> str:
    first = f"These images are not exchangeable with the run's {found['reference']} images"
    told = [row for row in found["spaces"] if row["differs"]]
    if not told:
        return f"{first}: single measures differ by more than chance."
    best = max(told, key=lambda row: row["auroc"])
    only = {row["space"] for row in told} == {"file"}
    only = only and not any(row["differs"] for row in _measures(found, "picture", "network"))
    return (
        f"{first}: by {best['what']} a classifier tells {_of(best['group'])} of both apart (AUROC "
        f"{decimal(best['auroc'])}; by chance up to {decimal(best['chance'])}; p "
        f"{p_value(best['p_holm'])})."
    ) + (" Only the files differ; in the pictures no difference was found." if only else "")


def _nothing_found(found: Mapping[str, Any]) -> str:
    tested = [row for row in found["spaces"] if "auroc" in row]
    reached = max((row["needed"] for row in tested), default=1.0)
    sizes = ", ".join(
        f"{one['here']:,} patients against {one['validation']:,}"
        + (f" of {one['group']}" if one["group"] != ALL else "")
        for one in found["groups"]
    )
    return (
        f"No difference from the run's {found['reference']} images was found ({sizes}). A "
        f"classifier would have had to tell them apart with an AUROC above {decimal(reached)} or "
        "so; what is less, or does not show in these measures, may be there."
    )


def _how(found: Mapping[str, Any], group: str) -> list[str]:
    rows = [row for row in found["measures"] if row["group"] == group and row["differs"]]
    spaces = [row for row in found["spaces"] if row["group"] == group and row["differs"]]
    name = _of(group)
    if not (rows or spaces):
        untested = all(row["differs"] is None for row in found["spaces"] if row["group"] == group)
        return [] if untested else [f"Of {name} no difference was found."]
    if not rows:
        where = ", ".join(SPACES[row["space"]] for row in spaces)
        return [f"{name[:1].upper()}{name[1:]} differ in {where}, in no single measure clearly."]
    rows = sorted(rows, key=lambda row: -abs(row["larger_here"] - 0.5))
    more = len(rows) - MOST_NAMED
    listed = ", ".join(_change(row) for row in rows[:MOST_NAMED])
    return [f"Here {name} have: {listed}{f', and {more} more' if more > 0 else ''}."]


def _change(row: Mapping[str, Any]) -> str:
    digits = MEASURES[str(row["measure"])].digits
    before, now = (decimal(row[key][1], digits=digits) for key in ("validation", "here"))
    more = "higher" if row["larger_here"] > 0.5 else "lower"
    return f"{row['title']} {more} (median {now}, the run's {before})"


def _of(group: str) -> str:
    return "images" if group == ALL else f"{group} images"


def _measures(found: Mapping[str, Any], *seen_in: str) -> list[Mapping[str, Any]]:
    return [row for row in found["measures"] if row["seen_in"] in seen_in]


def _untested(found: Mapping[str, Any]) -> list[str]:
    why = {
        row["group"]: row["why_not"]
        for row in found["spaces"]
        if "patients of both" in row.get("why_not", "")
    }
    return [f"{group} was not tested: {reason}." for group, reason in why.items()]


def _distance(found: Mapping[str, Any]) -> list[str]:
    one = found["distance"]
    if "why_not" in one:
        return [f"No distance was measured: {one['why_not']}."]
    share, low, high = (100 * one["share"][key] for key in ("value", "low", "high"))
    ends = interval(low, high, digits=1)
    usual, most = (decimal(100 * share, digits=1) for share in one["ordinary"])
    images = f"{found['validation']['images']:,} {found['reference']} images"
    return [
        f"{one['beyond']:,} of {found['here']['images']:,} images ({decimal(share, digits=1)} %, "
        f"{ends} %) lie farther out than 99 % of the run's own, by layout ({one['layout']:,}) or "
        f"the network's features ({one['features']:,}); with {images} to compare with, {usual} % "
        f"would be ordinary, and up to {most} % by chance."
    ]


def lines(found: Mapping[str, Any]) -> list[str]:
    """Returns the comparison for a terminal of 80 columns."""
    if "why_not" in found:
        return [f"! not compared with the run's own images: {found['why_not']}"]
    ours, here = found["validation"], found["here"]
    first, *others = sentences(found)
    out = [
        f"Against the run's {ours['images']:,} {found['reference']} images of {ours['patients']:,} "
        f"patients ({here['images']:,} of {here['patients']:,} here):",
        f"! {first}" if found["differ"] else first,
        *others,
        "",
        f"{'told apart by':26}{'images':12}{'AUROC':8}{'by chance':11}p, Holm",
        *(_space_line(row) for row in found["spaces"]),
    ]
    rows = [row for row in found["measures"] if row["differs"]]
    rows.sort(key=lambda row: -abs(row["larger_here"] - 0.5))
    if rows:
        out.append(f"{'measure':26}{'images':12}{'here':9}{'run':9}{'larger':8}p, Holm")
        out += [_measure_line(row) for row in rows[:MOST_LINES]]
        out.append("(medians; larger: share of pairs in which the image here has more of it)")
    out += _paths("could not be read:", [f"{u['path']}: {u['why']}" for u in found["unreadable"]])
    farthest = [
        f"{one['path']} ({decimal(one['distance'], digits=2)})" for one in found["farthest"]
    ]
    return [*out, *_paths("farthest (distance; 1 is the limit):", farthest[:3])]


def _space_line(row: Mapping[str, Any]) -> str:
    start = f"{NAMES[str(row['space'])]:26}{row['group']:12}"
    if "why_not" in row:
        return start + ("all alike" if row["why_not"] == "all alike" else "too few patients")
    numbers = f"{decimal(row['auroc']):8}{decimal(row['chance']):11}{p_value(row['p_holm'])}"
    return start + numbers + (" differ" if row["differs"] else "")


def _measure_line(row: Mapping[str, Any]) -> str:
    digits = MEASURES[row["measure"]].digits
    here, before = (decimal(row[key][1], digits=digits) for key in ("here", "validation"))
    share = decimal(row["larger_here"], digits=2)
    return f"{row['title']:26}{row['group']:12}{here:9}{before:9}{share:8}{p_value(row['p_holm'])}"


def _paths(title: str, names: Sequence[str] | Iterable[str]) -> list[str]:
    names = list(names)
    more = [f"  and {len(names) - 5:,} more"] if len(names) > 5 else []
    return [title, *(f"  {name}" for name in names[:5]), *more] if names else []
