"""The sentences: first what a score on this set is worth, then what else was found."""

from collections.abc import Mapping
from typing import Any

from pneumo.auditing.shortcuts import BASELINES
from pneumo.cli import counted
from pneumo.data.sets import class_of
from pneumo.report.wording import DASH, decimal

WHERE = {"paper": "on a random split by patient", "official": "on the set's own test split"}
SVM = "a support vector machine on 32\N{MULTIPLICATION SIGN}32 thumbnails"
HEADER = "a classifier that never sees a pixel, only a file's size, mode and JPEG quality,"
REFUSED = ", which train, evaluate and calibrate refuse"  # of the same bytes under both labels
GENERATED = "These images are drawn by a program: a score on them says nothing about pneumonia."


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Returns the sentences of an audit; the first says what a score on this set is worth."""
    return [*_worth(found), *_copies(found), *_files(found)]


def _worth(found: Mapping[str, Any]) -> list[str]:
    protocols = found["protocols"]
    scored = [name for name, one in protocols.items() if "baselines" in one]
    first = [GENERATED] * (class_of(found["data"]["kind"]).generated)
    if not scored:
        why = protocols["paper"]["why_not"]
        return [*first, f"What a score on this set is worth cannot be told: {why}."]
    main = protocols[scored[0]]["baselines"]
    first.append(_headline(main, where=WHERE[scored[0]], found=found))
    if "official" in scored[1:]:
        first.append(_official(protocols["official"]["baselines"]))
    return first


def _headline(baselines: Mapping[str, Any], *, where: str, found: Mapping[str, Any]) -> str:
    name, best = max(
        ((name, one) for name, one in baselines.items() if not one["all_alike"]),
        key=lambda pair: pair[1]["auroc"],
    )
    if best["low"] <= 0.5:
        ends = f"{decimal(best['low'])} to {decimal(best['high'])}"
        return (
            f"This audit says little about what a score on this set is worth: {where} no baseline "
            f"can be told from chance (the best, {BASELINES[name][0]}: AUROC "
            f"{decimal(best['auroc'])}, {ends})."
        )
    header, thumbnail = baselines["header"], baselines["thumbnail"]
    if header["all_alike"]:
        told = f"{SVM} reaches {decimal(thumbnail['auroc'])} there"
    else:
        told = (
            f"{HEADER} reaches {decimal(header['auroc'])} there, and {SVM} "
            f"{decimal(thumbnail['auroc'])}"
        )
    if name == "bytes":
        told += f", and the number of bytes with the header {decimal(best['auroc'])}"
    if header["all_alike"]:
        told += f", while the file header says nothing here, since {_agree(found)}"
    return (
        f"A network's AUROC near or below {decimal(best['auroc'])} {where} shows nothing about "
        f"pneumonia: {told}."
    )


def _agree(found: Mapping[str, Any]) -> str:
    if found["files_alike"]:
        return (
            f"all {counted(found['data']['images'], 'file')} agree in size, mode and JPEG quality"
        )
    return "all files of the train split agree in size, mode and JPEG quality"


def _official(official: Mapping[str, Any]) -> str:
    told = f"{_capital(WHERE['official'])} the thumbnails reach "
    told += decimal(official["thumbnail"]["auroc"])
    names = {"header": "the header", "size": "width and height"}
    told += "".join(
        f", {words} {decimal(official[name]['auroc'])}"
        for name, words in names.items()
        if not official[name]["all_alike"]
    )
    return f"{told}."


def _copies(found: Mapping[str, Any]) -> list[str]:
    same, near = found["identical"], found["near_identical"]
    if not same["sets"] and not near["pairs"]:
        return ["No two images are identical or nearly identical."]
    of_sets = f"{counted(same['sets'], 'set')} of byte-identical images"
    of_files = f"({counted(same['files'], 'file')}), "
    of_files += _across(same["across"], same["sets"], refused=REFUSED)
    of_pairs = f"Nearly identical are {counted(near['pairs'], 'more pair')} of files"
    alike = f"{near['as_copies']:,} of these pairs correlate as closely as copies do"
    return [
        f"{of_sets} {of_files}.",
        f"{of_pairs}, {_across(near['across'], near['pairs'])}; {alike}.",
    ]


def _across(across: Mapping[str, int], number: int, refused: str = "") -> str:
    share = "all" if across["patients"] == number > 1 else f"{across['patients']:,}"
    told = [f"{share} of them across patients"]
    told += [f"{across['labels']:,} across labels{refused}"] * bool(across["labels"])
    told += [f"{across['own_split']:,} across train and test"] * bool(across["own_split"])
    return ", ".join(told)


def _files(found: Mapping[str, Any]) -> list[str]:
    nested = found["nested"]
    images = sum(one["images"] for one in nested["copies"])
    told = []
    if images:
        known = sum(one["identical"] for one in nested["copies"])
        told.append(
            f"{counted(images, 'more image')} below the folder, {known:,} of them copies of the "
            "set's own; a recursive scan would count them too."
        )
    if nested["system_files"]:
        told.append(f"{counted(nested['system_files'], 'file')} of a Mac's system, no images.")
    if found["unreadable"]:
        told.append(f"{counted(len(found['unreadable']), 'file')} cannot be read.")
    if found["left_out"]:
        told.append(f"Not used in its folders: {counted(len(found['left_out']), 'name')}.")
    return told


def cell(one: Mapping[str, Any]) -> tuple[str, str]:
    """An AUROC and its interval as words; of files that are all alike, that they are."""
    if one["all_alike"]:
        return decimal(one["auroc"]), "all alike"
    low, high = one["low"], one["high"]
    return decimal(one["auroc"]), DASH if low != low else f"{decimal(low)} to {decimal(high)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
