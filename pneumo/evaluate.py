"""Finished runs are scored on their test split, or on another labelled folder."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from pneumo import cli
from pneumo.data import image, reader
from pneumo.data.kermany import check_unpacked
from pneumo.evaluation.assessment import PREVALENCES, assess
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.operating_point import OperatingPoint, fit_on_validation, fit_weights
from pneumo.inference import detection_evaluation, ensemble
from pneumo.inference.ensemble import Member, Networks
from pneumo.inference.leakage import labelled, shared_with_train
from pneumo.labels import CLASS_NAMES
from pneumo.runs import pretrained, run_folder
from pneumo.runs.checkpoint import CHECKPOINTS
from pneumo.runs.output import check_out, opened

EXAMPLES = """\
examples:
  python -m pneumo.evaluate RUN
      its own test split; from predictions.csv, so that no image is needed
  python -m pneumo.evaluate RUN --data other_hospital --prevalence 0.03
      a folder with NORMAL/ and PNEUMONIA/ in it, or one like the set
  python -m pneumo.evaluate pretrained:compact --data my_radiographs
      the network that comes with the package
  python -m pneumo.evaluate RUN1 RUN2 RUN3 --out scores.json
      also their mean, and a mean with weights fitted on validation data
  python -m pneumo.evaluate DETECTOR1 DETECTOR2
      runs of task=detection: the challenge's score, and their fused boxes

Intervals are of 95 %, over patients. The operating point, the
temperature and the weights are fixed on validation data only; a run with
protocol=paper has none, and it is said. --out replaces a file that exists,
whole or not at all.
exit codes: 0 done; 2 a mistake in the command or a refusal; 3 an image could
not be read; 130 stopped. Not a medical device.
"""
BATCH_SIZE = 32  # images
THREADS = 2  # that decode ahead
SHOWN = (0.05, 0.1, 0.2, 0.5)  # of the net benefit's thresholds, on a terminal
WIDTH = 80  # columns of what is printed


class UnreadableError(ValueError):
    """An image of the part to score cannot be read, so that there is no score of the whole."""


@dataclass(frozen=True)
class Part:
    """The images to score: what, where, and how it was made sure that they are new to the runs."""

    what: str
    table: pd.DataFrame  # path, label, subtype, source, group
    root: Path | None  # of the images; None where predictions.csv is enough
    notes: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = _parser().parse(arguments)
    return cli.run(lambda: _command(given))


def _command(given: argparse.Namespace) -> int:
    run_dirs = [pretrained.find(run) for run in given.runs]
    if given.out:
        check_out(given.out, run_dirs=run_dirs)
    if detection_evaluation.are_detectors(run_dirs):
        return _detectors(given, run_dirs)
    try:
        found = evaluate(
            run_dirs,
            data=given.data,
            checkpoint=given.checkpoint,
            prevalences=given.prevalence,
            allow_overlap=given.allow_overlap,
            trust=given.trust,
        )
    except UnreadableError as error:
        sys.stderr.write(f"error: {error}\n")
        return cli.UNREADABLE
    _tell(found, text(found), given.out)
    return 0


def _detectors(given: argparse.Namespace, run_dirs: Sequence[Path]) -> int:
    of_classifiers = {
        "--data": given.data is not None,
        "--checkpoint": given.checkpoint != "best",
        "--prevalence": given.prevalence is not PREVALENCES,
        "--allow-overlap": given.allow_overlap,
    }
    for option, is_given in of_classifiers.items():
        if is_given:
            raise ValueError(
                f"{option} is of classifiers; a detector is scored by its boxes.csv, of its own "
                f"test split and best checkpoint. Leave {option} out"
            )
    found = detection_evaluation.evaluate(run_dirs)
    _tell(found, _wrapped(detection_evaluation.text(found)), given.out)
    return 0


def _tell(found: dict[str, Any], said: str, out: Path | None) -> None:
    if out:
        with opened(out, standard=sys.stdout) as file:
            file.write(run_folder.json_text(found))
    sys.stdout.write(said)


def evaluate(
    run_dirs: Sequence[Path],
    *,
    data: Path | None = None,
    checkpoint: str = "best",
    prevalences: Sequence[float] = PREVALENCES,
    allow_overlap: bool = False,
    trust: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns what ``--out`` writes: each run, their mean, their weighted mean, all scored alike.

    Raises:
        FileNotFoundError, ValueError: a run is broken; a folder has no labelled images, or shares
            some with a train split; the runs have no test images in common.
        UnreadableError: an image cannot be read.
    """
    if len({run_dir.resolve() for run_dir in run_dirs}) < len(run_dirs):
        raise ValueError("each run may be named once; got one of them twice")
    known = [ensemble.read(run_dir) for run_dir in run_dirs]
    if data is None:
        part = own_part(known, allow_overlap=allow_overlap)
    else:
        part = other_part(known, data, allow_overlap=allow_overlap)
    if checkpoint != "best":
        known = [_rescored(k, checkpoint=checkpoint, test=data is None, trust=trust) for k in known]
    table, probability = _probabilities(part, known, checkpoint=checkpoint, trust=trust)
    names = list(CLASS_NAMES)
    found: dict[str, Any] = {
        "schema": 1,
        "scored_on": {
            "what": part.what,
            "images": len(table),
            "patients": int(table["group"].nunique()),
            **{name: int((table["label"] == name).sum()) for name in names},
        },
        "notes": [*part.notes, *_warnings(known, own=data is None, checkpoint=checkpoint)],
        "checkpoint": None if all(k.metrics.get("baseline") for k in known) else checkpoint,
    }
    return found | _entries(known, table, probability, prevalences)


def own_part(known: Sequence[Member], *, allow_overlap: bool) -> Part:
    """Returns the test split of the runs, or of several those images that all of them tested on.

    Raises:
        ValueError: the runs are of different data, or too few images were tested on by all.
    """
    first = known[0]
    tests = [one.part("test") for one in known]
    if len(known) == 1:
        return Part(f"the test split of {first.name}", tests[0], None)
    kinds = {(one.metrics["data"].get("kind"), _generated(one)) for one in known}
    if len(kinds) > 1:
        raise ValueError("several runs must be of the same data; name one set with --data DIR")
    if len({one.metrics["data"]["split_sha256"] for one in known}) == 1:
        return Part(f"the test split of all {len(known)} runs", tests[0], None)
    common = set.intersection(*(set(test["path"]) for test in tests))
    trained = set().union(*(one.split.loc[one.split["split"] == "train", "group"] for one in known))
    rows = tests[0][tests[0]["path"].isin(common) & ~tests[0]["group"].isin(trained)]
    if rows["label"].nunique() == 2:
        share = f"{len(rows):,} of {len(tests[0]):,} test images are left"
        note = f"the runs have different splits: {share}, on which no run was trained"
        return Part("the test images that all runs share", _sorted(rows), None, (note,))
    if not allow_overlap:
        raise ValueError(
            "an ensemble must be scored on images that no run was trained on; these runs have "
            f"different splits, and {len(rows):,} such images are left. Take runs of one split, or "
            "--data DIR (--allow-overlap scores on the first run's test split: optimistic)"
        )
    note = "LEAK: other runs were trained on some of these images; the scores are optimistic"
    return Part(f"the test split of {first.name}", tests[0], _own_root(first), (note,))


def other_part(known: Sequence[Member], data: Path, *, allow_overlap: bool) -> Part:
    """Returns the images of a labelled folder.

    Raises:
        FileNotFoundError, ValueError: see leakage.labelled; or it shares patients or images
            with a run's train split, and ``allow_overlap`` is not set.
    """
    check_unpacked(data, name="--data")
    notes = []
    keys = [str(one.metrics["data"].get("patient_key", "person")) for one in known]
    tables = {key: labelled(data, patient_key=key) for key in dict.fromkeys(keys)}
    for one, key in zip(known, keys, strict=True):
        root, table = tables[key]
        shared, compared = shared_with_train(one, root, table)
        if shared and not allow_overlap:
            raise ValueError(
                f"--data must be new to the run; it shares {shared} with the train split of "
                f"{one.name}. For the run's own test split leave --data out; to score all the "
                "same, with an optimistic result, give --allow-overlap"
            )
        leak = (
            f"LEAK: shares {shared} with the train split; the scores are optimistic; "
            if shared
            else ""
        )
        notes.append(f"{one.name}: {leak}compared {compared}")
    root, table = tables[keys[0]]
    return Part(str(data), table.assign(group=table["patient"]), root, tuple(notes))


def _generated(one: Member) -> str:
    """The name of generated images; the real set's folder may be called anything."""
    data = one.metrics["data"]
    return str(data.get("root_name")) if data.get("kind") == "phantom" else ""


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("path", ignore_index=True)


def _own_root(one: Member) -> Path:
    root = ensemble.own_images(one)
    if root is None:
        raise FileNotFoundError(
            f"the images of {one.name} must be read, and are not where it found them. Set "
            "PNEUMO_DATA (or, for generated ones, PNEUMO_CACHE) as it was for the training"
        )
    return root


def _rescored(one: Member, *, checkpoint: str, test: bool, trust: Sequence[str]) -> Member:
    """Returns the run with probabilities of another checkpoint than that of predictions.csv."""
    parts = ("val", "test") if test else ("val",)
    rows = _sorted(one.predictions[one.predictions["split"].isin(parts)])
    if rows.empty:
        return replace(one, predictions=rows)
    networks = Networks([one.run_dir], checkpoint=checkpoint, trust=trust)
    probability, _ = _score(networks, _own_root(one), rows["path"].tolist())
    return replace(one, predictions=rows.assign(p_pneumonia=probability[0]))


def _probabilities(
    part: Part, known: Sequence[Member], *, checkpoint: str, trust: Sequence[str]
) -> tuple[pd.DataFrame, Array]:
    """Returns the table with each file's pixels, and (M, N) probabilities of PNEUMONIA."""
    paths = part.table["path"].tolist()
    if part.root is not None:
        run_dirs = [one.run_dir for one in known]
        networks = Networks(run_dirs, checkpoint=checkpoint, trust=trust)
        probability, pixels = _score(networks, part.root, paths)
        return part.table.assign(pixels=pixels), probability
    columns = [one.part("test").set_index("path")["p_pneumonia"][paths] for one in known]
    root = ensemble.own_images(known[0])
    sizes = {} if root is None else {"pixels": [image.num_pixels(root / path) for path in paths]}
    return part.table.assign(**sizes), np.stack([each.to_numpy() for each in columns])


def _score(networks: Networks, root: Path, paths: Sequence[str]) -> tuple[Array, list[float]]:
    """Returns (M, N) probabilities and each file's number of pixels."""
    stream = reader.read_all(
        [str(root / path) for path in paths], shapes=networks.shapes, threads=THREADS
    )
    parts, pixels = [], []
    with tqdm(
        total=len(paths), desc="scoring", unit="image", disable=not sys.stderr.isatty()
    ) as bar:
        for batch in ensemble.batches(stream, batch_size=BATCH_SIZE):
            for radiograph in batch:
                if radiograph.error:
                    raise UnreadableError(
                        f"{radiograph.name}: {radiograph.error}. Scores are of all images or none; "
                        "repair it or take it out"
                    )
                pixels.append(float(radiograph.size[0] * radiograph.size[1]))
            parts.append(networks.score(batch).pneumonia)
            bar.update(len(batch))
    return np.concatenate(parts, axis=1), pixels


def _warnings(known: Sequence[Member], *, own: bool, checkpoint: str) -> list[str]:
    notes = [str(n) for n in dict.fromkeys(o.metrics["data"].get("note") for o in known) if n]
    chosen_on_test = [
        one.name for one in known if (one.metrics.get("selection") or {}).get("on") == "test"
    ]
    if own and checkpoint == "best" and chosen_on_test:
        notes.append(
            f"the epoch of {', '.join(chosen_on_test)} was chosen on the test split, which "
            "is optimistic; --checkpoint last was not chosen"
        )
    return notes


def _entries(
    known: Sequence[Member], table: pd.DataFrame, probability: Array, prevalences: Sequence[float]
) -> dict[str, Any]:
    """Returns members, and of several their ensemble and weighted mean."""

    def entry(p: Array, fixed: OperatingPoint | str) -> dict[str, Any]:
        return assess(table, p, fixed=fixed, prevalences=prevalences)

    found: dict[str, Any] = {
        "members": [
            {"run": one.name, **entry(probability[number], ensemble.mean_operating_point([one]))}
            for number, one in enumerate(known)
        ]
    }
    if len(known) == 1:
        return found
    found["ensemble"] = entry(probability.mean(0), ensemble.mean_operating_point(known))
    val = ensemble.common_val(known)
    if isinstance(val, str):
        return found | {"weighted": {"why_not": val}}
    weights = fit_weights(*val)
    weighted = entry(weights @ probability, fit_on_validation(val[0], weights @ val[1]))
    return found | {"weighted": {"weights": weights.tolist(), **weighted}}


def text(found: dict[str, Any]) -> str:
    """Returns the result for a terminal of 80 columns; all of it is in the JSON."""
    on = found["scored_on"]
    lines = [
        f"Scored on {on['what']}:",
        f"{on['images']:,} images of {on['patients']:,} patients, {on['NORMAL']:,} NORMAL, "
        f"{on['PNEUMONIA']:,} PNEUMONIA"
        + (f"; the {found['checkpoint']} checkpoint" if found["checkpoint"] else ""),
        *(f"! {note}" for note in found["notes"]),
        "",
        f"{'':19}{'AUROC':20}{'F1 NORMAL':20}accuracy",
    ]
    entries = {one["run"]: one for one in found["members"]}
    if "ensemble" in found:
        entries["mean of the runs"] = found["ensemble"]
        if "scores" in found["weighted"]:
            entries["weighted mean"] = found["weighted"]
    for name, one in entries.items():
        shown = (_number(one["scores"][k]) for k in ("auroc", "f1_normal", "accuracy"))
        lines.append(f"{_short(name, 18):19}" + "".join(f"{one:20}" for one in shown).rstrip())
    if "why_not" in found.get("weighted", {}):
        lines.append(f"no weights could be fitted: {found['weighted']['why_not']}")
    if "weights" in found.get("weighted", {}):
        lines.append("weights " + " ".join(f"{w:.3f}" for w in found["weighted"]["weights"]))
    name = "mean of the runs" if "ensemble" in found else found["members"][0]["run"]
    blocks: tuple[Callable[[dict[str, Any]], list[str]], ...] = (
        *(_point_lines, _calibration_lines, _subgroup_lines, _benefit_lines),
    )
    if entries[name]["interval"]["warning"]:
        lines.append(f"! {entries[name]['interval']['warning']}")
    lines += ["", f"Of {name}:", *(line for block in blocks for line in block(entries[name]))]
    return _wrapped(lines)


def _point_lines(one: dict[str, Any]) -> list[str]:
    point = one["operating_point"]
    if point["fixed_on"] is None:
        said = f"no operating point: {point['why_not']}. At 0.5, which nothing speaks for:"
    else:
        said = (
            f"operating point {point['threshold']:.4f}, sensitivity at least "
            f"{point['val_sensitivity_at_least']} on {point['val_images']:,} validation images:"
        )
    values = [f"  {k:12}{_number(point[k])}" for k in ("sensitivity", "specificity", "ppv", "npv")]
    stated = [
        f"  at a prevalence of {row['prevalence']:.0%}: PPV {_decimal(row['ppv'])}, "
        f"NPV {_decimal(row['npv'])}"
        for row in point["at_prevalence"]
    ]
    return [said, *values, f"  (prevalence here {point['own_prevalence']:.0%})", *stated]


def _calibration_lines(one: dict[str, Any]) -> list[str]:
    found = one["calibration"]
    before = f"ECE {_decimal(found['before']['ece'])}, Brier {_decimal(found['before']['brier'])}"
    what = "calibration of PNEUMONIA's probability"
    if found["after"] is None:
        return [f"{what}: {before}; no temperature: {found['why_not']}"]
    after = f"ECE {_decimal(found['after']['ece'])}, Brier {_decimal(found['after']['brier'])}"
    return [f"{what}: {before}; with temperature {found['temperature']:.3f} {after}"]


def _subgroup_lines(one: dict[str, Any]) -> list[str]:
    lines = [f"{'subgroup':19}{'AUROC':20}{'sensitivity':20}specificity"]
    for row in one["subgroups"]:
        name = _short(f"{row['by']} {row['group']}", 18)
        if "why_not" in row:
            lines.append(f"{name:19}{row['why_not']}")
            continue
        shown = (f"{_number(row[k]):20}" for k in ("auroc", "sensitivity", "specificity"))
        lines.append(f"{name:19}" + "".join(shown).rstrip())
    return lines


def _benefit_lines(one: dict[str, Any]) -> list[str]:
    found = one["net_benefit"]
    curves = [(f"{found['own_prevalence']:.0%} here", found["at"])]
    curves += [
        (f"{100 * stated['prevalence']:.3g}%", stated["at"]) for stated in found["at_prevalence"]
    ]
    lines = [
        f"net benefit of the {found['probability']} probability (treating everyone),",
        "by prevalence:",
        f"  {'if treated at':14}" + "".join(f"{at:<16.2f}" for at in SHOWN).rstrip(),
    ]
    for name, rows in curves:
        cells = (
            f"{_decimal(row['network'])} ({_decimal(row['treat_all'])})"
            for row in rows
            if row["threshold"] in SHOWN
        )
        lines.append(f"  {name:14}" + "".join(f"{cell:16}" for cell in cells).rstrip())
    return lines


def _number(found: dict[str, float]) -> str:
    value, low, high = (found[key] for key in ("value", "low", "high"))
    return f"{_decimal(value)} {_decimal(low)}-{_decimal(high)}"


def _decimal(value: float) -> str:
    return "?" if np.isnan(value) else f"{value:.3f}"


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else "…" + name[1 - width :]


def _wrapped(lines: Sequence[str]) -> str:
    return "\n".join(wrapped for line in lines for wrapped in _wrap(line)) + "\n"


def _wrap(line: str) -> list[str]:
    """Breaks a long line at a space; continuation lines are indented."""
    return textwrap.wrap(
        line,
        WIDTH,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    ) or [""]


def _prevalence(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1; got {text}")
    return value


def _parser() -> cli.Parser:
    parser = cli.Parser(
        "evaluate",
        description="Scores of finished runs on images they were not trained on.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a finished run's folder, or pretrained:compact"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="other labelled images")
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default="best", help="default: best")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="everything as JSON")
    parser.add_argument(
        "--prevalence",
        nargs="+",
        type=_prevalence,
        default=PREVALENCES,
        metavar="P",
        help=f"of PPV, NPV and net benefit; default: {' '.join(map(str, PREVALENCES))}",
    )
    parser.add_argument(
        "--allow-overlap", action="store_true", help="score on what a run was trained on"
    )
    parser.add_trust()
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
