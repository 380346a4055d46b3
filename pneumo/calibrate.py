"""A few labelled images of one's own fix a run's threshold and temperature, in a file beside it."""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need nothing of what follows
    raise SystemExit(cli.start("calibrate"))

from pneumo.arguments.calibrate import parse
from pneumo.choices import SENSITIVITY
from pneumo.data.listing import check_unpacked
from pneumo.inference import ensemble, local_calibration
from pneumo.inference.ensemble import Networks
from pneumo.inference.files import UnreadableError, score_files
from pneumo.inference.leakage import labelled, shared_with_train
from pneumo.labels import NORMAL, PNEUMONIA
from pneumo.runs import detection_run, pretrained, run_folder
from pneumo.runs.output import check_out

FOREIGN = "names, PatientID and identical images"  # where a name does not say the patient
WIDTH = 80  # columns of what is printed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = parse(arguments)
    return cli.run(lambda: _command(given), stopped="stopped; nothing was written")


def _command(given: argparse.Namespace) -> int:
    run_dir = pretrained.find(given.run)
    out = _place(given, run_dir)
    sensitivity = None if given.youden else given.sensitivity
    try:
        found = calibrate(
            run_dir,
            given.data,
            sensitivity=sensitivity,
            allow_overlap=given.allow_overlap,
            trust=given.trust,
        )
    except UnreadableError as error:
        sys.stderr.write(f"error: {error}\n")
        return cli.UNREADABLE
    out.parent.mkdir(exist_ok=True)
    run_folder.write_json(out, found)
    sys.stdout.write(text(found) + f"{out}\n")
    return 0


def calibrate(
    run_dir: Path,
    data: Path,
    *,
    sensitivity: float | None = SENSITIVITY,
    allow_overlap: bool = False,
    trust: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns what the file holds: threshold, temperature, and what so many images buy.

    Args:
        run_dir: a finished run.
        data: a folder with NORMAL and PNEUMONIA in it, or one like the set.
        sensitivity: of the threshold, at least, on these images; None: the greatest Youden index.
        allow_overlap: with the run's train split; it is said in the file.
        trust: packages whose networks the run folder may ask for, see pneumo.runs.checkpoint.

    Raises:
        FileNotFoundError, ValueError: the run is broken or has no network; the folder has too few
            images of a label, or shares some with the run's train split.
        UnreadableError: an image cannot be read.
    """
    detection_run.refuse(run_dir, "a threshold and a temperature are of a classifier")
    check_unpacked(data, name="--data")
    member = ensemble.read(run_dir)
    key = str(member.metrics["data"].get("patient_key"))
    root, table = labelled(data, patient_key=key, or_unlabelled=False)
    table = table.assign(group=table["patient"])
    local_calibration.check_patients(table)  # before any image is scored
    shared, compared = shared_with_train(member, root, table)
    if shared and not allow_overlap:
        raise ValueError(
            f"--data must be new to the run; it shares {shared} with the train split of "
            f"{member.name}, on which a threshold would be optimistic. Leave them out, or, if "
            "these names are of other patients, give --allow-overlap"
        )
    networks = Networks([run_dir], checkpoint="best", trust=trust)
    files = score_files(networks, root, table["path"].tolist())
    table = table.assign(p_pneumonia=files.probability[0])
    scored = local_calibration.without_copies(table, files.content)
    fixed = ensemble.mean_operating_point([member])
    found = local_calibration.describe(scored, sensitivity=sensitivity)
    own = None if isinstance(fixed, str) else fixed.threshold
    return {
        **found,
        "here": local_calibration.at_threshold(scored, found["threshold"]),
        "own_threshold": own,
        "own_here": None if own is None else local_calibration.at_threshold(scored, own),
        "data": data.resolve().name,
        "copies": len(table) - len(scored),
        "patients_by": FOREIGN if (table["known_by"] != "name").any() else "names",
        "shared_with_train": shared,
        "compared": compared,
        "run": member.name,
        "weights_sha256": ensemble.weights_digest(networks.trained[0].network),
        "pneumo": version("pneumo"),
    }


def text(found: dict[str, Any]) -> str:
    """Returns what a terminal of 80 columns shows of it."""
    as_far = f", as far as {FOREIGN} tell" if found["patients_by"] == FOREIGN else ""
    copies = f"; copies left out: {found['copies']:,}" if found["copies"] else ""
    lines = [
        *_wrapped(
            f"{found['images']:,} images of {found['patients']:,} patients{as_far}: "
            f"{found[NORMAL]:,} NORMAL, {found[PNEUMONIA]:,} PNEUMONIA{copies}"
        ),
        f"threshold {found['threshold']:.4f} ({found['rule']} on these images), "
        f"temperature {found['temperature']:.3f}",
        f"{'':22}{'sensitivity':22}specificity",
        _row(f"at {found['threshold']:.4f}", found["here"]),
    ]
    if found["own_here"] is not None:
        lines.append(_row(f"at the run's {found['own_threshold']:.4f}", found["own_here"]))
    lines += ["", "What so many images buy (fitted to them, scored on other patients):"]
    names = local_calibration.SHOWN
    lines.append("images " + "".join(f"{name:18}" for name in names).rstrip())
    for row in found["curve"]:
        cells = (_range(row[name]) for name in names if name in row)
        lines.append(
            f"{row['images']:>6,} " + ("".join(f"{cell:18}" for cell in cells) or "too few")
        )
    lines += _fewer_draws(found["curve"])
    if found["shared_with_train"]:
        lines.append(f"! shares {found['shared_with_train']} with the train split")
    if found["warning"]:
        lines += _wrapped(f"! {found['warning']}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _fewer_draws(curve: Sequence[dict[str, Any]]) -> list[str]:
    """Lines on the rows of which some draws do not count; none where all do."""
    draws = local_calibration.DRAWS
    fewer = [
        f"{row['draws']} with {cli.counted(row['images'], 'image')}"
        for row in curve
        if row["draws"] < draws
    ]
    if not fewer:
        return []
    return _wrapped(
        f"of {draws} draws those count that leave both labels in both parts: {', '.join(fewer)}"
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ")


def _row(name: str, point: dict[str, dict[str, float]]) -> str:
    shown = (
        f"{one['value']:.3f} {one['low']:.3f}-{one['high']:.3f}"
        for one in (point["sensitivity"], point["specificity"])
    )
    return f"{name:22}" + "".join(f"{one:22}" for one in shown)


def _range(one: dict[str, float]) -> str:
    return f"{one['median']:.2f} {one['low']:.2f}-{one['high']:.2f}"


def _place(given: argparse.Namespace, run_dir: Path) -> Path:
    """The file to write; ValueError where it is there already, or cannot be written.

    By default it lies in the run's folder, or here where nothing can be written into that.
    """
    folder = run_dir / local_calibration.FOLDER
    is_locked = run_dir.is_dir() and not os.access(run_dir, os.W_OK)
    default = Path() if is_locked or pretrained.is_shipped(run_dir) else folder
    out: Path = given.out or default / f"{given.data.resolve().name}.json"
    if out.suffix != ".json":
        raise ValueError(f"--out must be a file that ends in .json; got {out}")
    if out.exists() and not given.replace:
        raise ValueError(
            f"--out must not be there yet, since predict may use it; {out} is. Name another, or "
            "give --replace"
        )
    if out.resolve().parent != folder.resolve():
        check_out(out, run_dirs=[run_dir])
    elif (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise ValueError(
            f"{folder} must be a folder, for calibrations; it is none. Move it away, or name "
            "another place with --out"
        )
    return out
