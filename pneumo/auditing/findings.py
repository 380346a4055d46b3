"""The findings as sentences: first what a score on this set can show, then the others."""

from collections.abc import Mapping
from typing import Any

from pneumo.auditing.shortcuts import BASELINES
from pneumo.cli import counted
from pneumo.data.sets import class_of
from pneumo.report.wording import decimal, interval

WHERE = {"paper": "on a random split by patient", "official": "on the set's own test split"}
SVM = "a support vector machine on 32\N{MULTIPLICATION SIGN}32 thumbnails"
HEADER = "a classifier of only a file's size, mode and JPEG quality, without pixels,"
REFUSED = ", which train, evaluate and calibrate refuse"  # of the same bytes under both labels
GENERATED = "These images are generated: a score on them shows nothing about pneumonia."


def sentences(numbers: Mapping[str, Any]) -> list[str]:
    """Returns the sentences of an audit; the first states what a score on this set can show.

    ``numbers``: the content of audit.json.
    """
    return [*_worth(numbers), *_copies(numbers), *_files(numbers)]


def _worth(numbers: Mapping[str, Any]) -> list[str]:
    protocols = numbers["protocols"]
    scored = {name: of["baselines"] for name, of in protocols.items() if "baselines" in of}
    first = [GENERATED] * class_of(numbers["data"]["kind"]).generated
    if not scored:
        why = protocols["paper"]["why_not"]
        return [*first, f"No baseline could be scored: {why}."]
    (name, baselines), *others = scored.items()
    return [*first, _headline(baselines, where=WHERE[name]), *(_official(of) for _, of in others)]


def _headline(baselines: Mapping[str, Any], *, where: str) -> str:
    name, best = max(
        ((name, score) for name, score in baselines.items() if not score["all_alike"]),
        key=lambda pair: pair[1]["auroc"],
    )
    auroc = decimal(best["auroc"])
    if best["low"] <= 0.5:
        return (
            f"This audit finds no shortcut, which does not show that there is none: {where} no "
            f"baseline is better than chance (the best, {BASELINES[name][0]}: AUROC {auroc}, "
            f"{interval(best['low'], best['high'])})."
        )
    header, thumbnail = baselines["header"], decimal(baselines["thumbnail"]["auroc"])
    seen = f"reaches {decimal(header['auroc'])} there"
    if header["all_alike"]:
        seen = "learns nothing, since these are the same for all files of the train split"
    reached = f"{HEADER} {seen}, and {SVM} has {thumbnail}"
    reached += f", the number of bytes with the header {auroc}" * (name == "bytes")
    return (
        f"A network's AUROC near or below {auroc} {where} does not show that it detects "
        f"pneumonia: {reached}."
    )


def _official(baselines: Mapping[str, Any]) -> str:
    named = {"thumbnail": "thumbnails", "header": "the header", "size": "width and height"}
    reached = ", ".join(
        f"{words} {decimal(baselines[name]['auroc'])}"
        for name, words in named.items()
        if not baselines[name]["all_alike"]
    )
    return f"AUROC {WHERE['official']}: {reached}."


def _copies(numbers: Mapping[str, Any]) -> list[str]:
    same, near = numbers["identical"], numbers["near_identical"]
    if not same["sets"] and not near["pairs"]:
        return ["No two images are identical or nearly identical."]
    return [
        f"{counted(same['sets'], 'set')} of byte-identical images "
        f"({counted(same['files'], 'file')}), "
        f"{_across(same['across'], same['sets'], refused=REFUSED)}.",
        f"Nearly identical are {counted(near['pairs'], 'more pair')} of files, "
        f"{_across(near['across'], near['pairs'])}; {near['as_copies']:,} of these pairs correlate "
        "as closely as copies do.",
    ]


def _across(across: Mapping[str, int], number: int, refused: str = "") -> str:
    share = "all" if across["patients"] == number > 1 else f"{across['patients']:,}"
    parts = [f"{share} of them across patients"]
    parts += [f"{across['labels']:,} across labels{refused}"] * bool(across["labels"])
    parts += [f"{across['own_split']:,} across train and test"] * bool(across["own_split"])
    return ", ".join(parts)


def _files(numbers: Mapping[str, Any]) -> list[str]:
    images, same = (sum(row[key] for row in numbers["nested"]) for key in ("images", "identical"))
    unread, left = len(numbers["unreadable"]), len(numbers["left_out"])
    sentences = {
        f"{counted(images, 'more image')} below the folder, {same:,} of them copies of the set's "
        "own; a recursive scan would count them too.": images,
        f"{counted(unread, 'file')} cannot be read.": unread,
        f"Not used in its folders: {counted(left, 'name')}.": left,
    }
    return [sentence for sentence, holds in sentences.items() if holds]
