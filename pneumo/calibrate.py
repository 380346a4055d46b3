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
from pneumo.data.kermany import check_unpacked
from pneumo.evaluation.operating_point import SENSITIVITY
from pneumo.inference import ensemble, local_calibration
from pneumo.inference.ensemble import Networks
from pneumo.inference.files import UnreadableError, score_files
from pneumo.inference.leakage import labelled, shared_with_train
from pneumo.labels import NORMAL, PNEUMONIA
from pneumo.runs import detection_run, pretrained, run_folder
from pneumo.runs.output import check_out

EXAMPLES = """\
examples:
  python -m pneumo.calibrate RUN --data my_radiographs
      a folder with NORMAL/ and PNEUMONIA/ in it; writes
      RUN/calibrations/my_radiographs.json
  python -m pneumo.predict RUN new_radiographs/ --calibration my_radiographs
      decides by it; with --coverage 0.9 its prediction sets are of it, too
  python -m pneumo.calibrate pretrained:compact --data mine --out mine.json
  python -m pneumo.calibrate RUN --data mine --sensitivity 0.98
  python -m pneumo.calibrate RUN --data mine --youden

The threshold is the highest one with a sensitivity of at least 0.95 on these
images (or --sensitivity, or --youden), the temperature the one with the least
cross-entropy. The table says what so many images buy: patients are drawn, both
are fitted to them and scored on the patients not drawn, 200 times; the range is
that of 95 % of draws. A draw counts where both of its parts have both labels;
where fewer than 200 do, it is said. The range is no confidence interval: where
no draw makes an error it has no width, though more images may find errors.
Nothing in the run is changed, and predict uses the file only where it is named.
The images must be new to the run.
exit codes: 0 done; 2 a mistake in the command or a refusal; 3 an image could
not be read; 130 stopped. Not a medical device.
"""
FOREIGN = "names, PatientID and identical files"  # where a name does not say the patient
WIDTH = 80  # columns of what is printed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = _parser().parse(arguments)
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
    local_calibration.counted(table)  # before any is scored
    shared, compared = shared_with_train(member, root, table)
    if shared and not allow_overlap:
        raise ValueError(
            f"--data must be new to the run; it shares {shared} with the train split of "
            f"{member.name}, on which a threshold would be optimistic. Leave them out, or, if "
            "these names are of other patients, give --allow-overlap"
        )
    networks = Networks([run_dir], checkpoint="best", trust=trust)
    probability = score_files(networks, root, table["path"].tolist())[0][0]
    scored = table.assign(p_pneumonia=probability)
    fixed = ensemble.mean_operating_point([member])
    found = local_calibration.describe(scored, sensitivity=sensitivity)
    own = None if isinstance(fixed, str) else fixed.threshold
    return {
        **found,
        "here": local_calibration.at_threshold(scored, found["threshold"]),
        "own_threshold": own,
        "own_here": None if own is None else local_calibration.at_threshold(scored, own),
        "data": data.resolve().name,
        "patients_by": FOREIGN if (table["subtype"] == "").any() else "names",
        "shared_with_train": shared,
        "compared": compared,
        "run": member.name,
        "weights_sha256": ensemble.weights_digest(networks.trained[0].network),
        "pneumo": version("pneumo"),
    }


def text(found: dict[str, Any]) -> str:
    """Returns what a terminal of 80 columns shows of it."""
    as_far = f", as far as {FOREIGN} tell" if found["patients_by"] == FOREIGN else ""
    lines = [
        *_wrapped(
            f"{found['images']:,} images of {found['patients']:,} patients{as_far}: "
            f"{found[NORMAL]:,} NORMAL, {found[PNEUMONIA]:,} PNEUMONIA"
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
    """The file to write; ValueError where it is there already, or cannot be written."""
    if given.out is not None:
        out = Path(given.out)
    else:
        name = pretrained.name_of(run_dir)
        if pretrained.is_shipped(run_dir) or (run_dir.is_dir() and not os.access(run_dir, os.W_OK)):
            raise ValueError(f"nothing can be written into {name}: name a file with --out")
        out = run_dir / local_calibration.FOLDER / f"{given.data.resolve().name}.json"
    if out.suffix != ".json":
        raise ValueError(f"--out must be a file that ends in .json; got {out}")
    if out.exists() and not given.replace:
        raise ValueError(
            f"--out must not be there yet, since predict may use it; {out} is. Name another, or "
            "give --replace"
        )
    folder = run_dir / local_calibration.FOLDER
    if out.resolve().parent != folder.resolve():
        check_out(out, run_dirs=[run_dir])
    elif (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise ValueError(
            f"{folder} must be a folder, for calibrations; it is none. Move it away, or name "
            "another place with --out"
        )
    return out


def _parser() -> cli.Parser:
    parser = cli.Parser(
        "calibrate",
        description="Threshold and temperature of a run from a few labelled images of your own.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "run", metavar="RUN", help="the folder of a finished run, or pretrained:compact"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="labelled: NORMAL/ and PNEUMONIA/"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: RUN/calibrations/NAME-OF-DIR.json"
    )
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--sensitivity",
        type=_sensitivity,
        default=SENSITIVITY,
        metavar="P",
        help="at least this on the images; default: %(default)s",
    )
    rule.add_argument("--youden", action="store_true", help="the greatest Youden index instead")
    parser.add_argument(
        "--allow-overlap", action="store_true", help="with the train split, which is optimistic"
    )
    parser.add_argument("--replace", action="store_true", help="a file that is there already")
    parser.add_trust()
    return parser


def _sensitivity(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1; got {text}")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
