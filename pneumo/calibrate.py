"""Fits a run's threshold and temperature to a few labelled images of a new site, in a file."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from pneumo import atomic, cli
from pneumo.labels import NORMAL, PNEUMONIA
from pneumo.runs import run_folder
from pneumo.runs.output import check_out
from pneumo.runs.run import Run
from pneumo.runs.tasks import check_classifier

POINT = {name: name for name in ("sensitivity", "specificity")}


@cli.command("calibrate", stopped="stopped; nothing was written")
def main(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    run = Run.open(args.run)
    check_classifier(run, "a threshold and a temperature need a classifier")
    out = _out(run, args.data, args.out, replace=args.replace)
    from pneumo.inference.local_calibration import calibrate

    content = calibrate(
        run,
        args.data,
        sensitivity=None if args.youden else args.sensitivity,
        allow_overlap=args.allow_overlap,
        force=args.force,
        trust=args.trust,
    )
    out.parent.mkdir(exist_ok=True)
    atomic.write_json(out, content)
    sys.stdout.write(text(content) + f"{out}\n")
    return 0


def text(content: dict[str, Any]) -> str:
    """Returns a calibration for a terminal of 80 columns."""
    from pneumo.evaluation.operating_point import at_bound
    from pneumo.inference.leakage import LOST, OWN
    from pneumo.inference.local_calibration import DRAWS, FOREIGN, SHOWN
    from pneumo.report import terminal

    as_far = f", as far as {FOREIGN} show" if content["patients_by"] == FOREIGN else ""
    copies = f"; copies left out: {content['copies']:,}" if content["copies"] else ""
    at = {f"at {content['threshold']:.4f}": content["here"]}
    at[f"at the run's {content['own_threshold']:.4f}"] = content["own_here"]
    lines = [f"! {content['ranking']}."] if content["ranking"] else []
    lines += [
        f"{content['images']:,} images of {content['patients']:,} patients{as_far}: "
        f"{content[NORMAL]:,} NORMAL, {content[PNEUMONIA]:,} PNEUMONIA{copies}",
        f"threshold {content['threshold']:.4f} ({content['rule']} on these images), "
        f"temperature {content['temperature']:.3f}{at_bound(content['temperature'])}",
        *terminal.score_table(POINT, at, first=22, others=22),
    ]
    lines += ["", "By number of images (fitted to them, scored on other patients):"]
    lines.append("images " + "".join(f"{name:18}" for name in SHOWN).rstrip())
    for row in content["curve"]:
        values = (row[name] for name in SHOWN if name in row)
        cells = (f"{v['median']:.2f} {v['low']:.2f}-{v['high']:.2f}" for v in values)
        lines.append(f"{row['images']:>6,} {''.join(f'{c:18}' for c in cells) or 'too few'}")
    if fewer := [row for row in content["curve"] if row["draws"] < DRAWS]:
        counts = (f"{row['draws']} with {cli.counted(row['images'], 'image')}" for row in fewer)
        rule = f"draws with both labels in both parts, of {DRAWS}"
        lines.append(f"{rule}: {', '.join(counts)}")
    if content["shared_with_train"]:
        lines.append(f"! shares {content['shared_with_train']}")
    compared = content["compared"].split("; ")
    lines += [f"! {part}" for part in compared if LOST in part or OWN in part]
    if content["warning"]:
        lines.append(f"! {content['warning']}")
    return terminal.wrapped(line.rstrip() for line in lines)


def _out(run: Run, data: Path, out: Path | None, *, replace: bool) -> Path:
    """Returns the file to write; ValueError if it exists, or cannot be written.

    By default it lies in the run's folder, or in the working directory if that is read-only.
    """
    folder = run.run_dir / run_folder.CALIBRATIONS
    is_locked = run.is_shipped or not os.access(run.run_dir, os.W_OK)
    out = out or (Path() if is_locked else folder) / f"{data.resolve().name}.json"
    if out.suffix != ".json":
        raise ValueError(f"--out must be a file that ends in .json; got {out}")
    if out.exists() and not replace:
        raise ValueError(
            f"--out must not exist yet, since predict may use it; {out} does. Name another, or "
            "give --replace"
        )
    if out.resolve().parent != folder.resolve():
        check_out(out, run_dirs=[run.run_dir])
    return out


if __name__ == "__main__":
    raise SystemExit(cli.start("calibrate"))
