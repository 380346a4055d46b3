"""Keeps finished runs without their checkpoints: `python -m benchmarks.keep RUN...`.

What report and evaluate read, small enough for the repository: probabilities of 5 digits, the
split packed, the configuration without the paths of the machine that trained.
"""

import argparse
from pathlib import Path

import pandas as pd
import yaml

from pneumo import atomic
from pneumo.runs import run_folder
from pneumo.runs.pretrained import PACKED, packed_split, without_places
from pneumo.runs.run import Run

KEPT = Path("docs/runs")
DIGITS = 5


def main() -> None:
    """Writes the folders and prints how large each is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keep")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=KEPT, metavar="DIR")
    given = parser.parse_args()
    for run_dir in given.runs:
        num_bytes = keep(run_dir, given.out / run_dir.resolve().name)
        print(f"{num_bytes:>9,} bytes  {given.out / run_dir.resolve().name}")  # noqa: T201


def keep(run_dir: Path, out: Path) -> int:
    """Writes what is kept of a finished run to a new folder; returns its bytes.

    Raises:
        FileNotFoundError, ValueError: the run is not finished or broken, or lacks an epoch.
        FileExistsError: there is such a folder.
    """
    run = Run.open(run_dir)
    metrics = run.metrics
    _ = run.scored  # checked
    epochs = [row["epoch"] for row in metrics.get("history") or []]
    if epochs != list(range(len(epochs))):
        raise ValueError(f"the history of {run_dir} must be of all epochs; it has {epochs}")
    predictions = pd.read_csv(run_dir / "predictions.csv", keep_default_na=False)
    config = without_places(run.config)
    files = {
        "metrics.json": (run_dir / "metrics.json").read_bytes(),
        "status.json": (run_dir / "status.json").read_bytes(),
        "predictions.csv": predictions.to_csv(index=False, float_format=f"%.{DIGITS}f").encode(),
        PACKED: packed_split(run_dir),
        run_folder.CONFIG: yaml.safe_dump(config, sort_keys=False).encode(),
    }
    if (run_dir / run_folder.STRESS).exists():
        files[run_folder.STRESS] = (run_dir / run_folder.STRESS).read_bytes()
    files |= {
        f"{run_folder.EXTERNAL}/{name}.json": atomic.json_text(result).encode()
        for name, result in run.external.items()
    }
    (out / run_folder.CONFIG).parent.mkdir(parents=True)
    for name, data in files.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(data)
    return sum(map(len, files.values()))


if __name__ == "__main__":
    main()
