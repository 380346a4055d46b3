"""Trained networks that come with the package: run folders, which ``pretrained:NAME`` names.

``python -m pneumo.export RUN --to run --out pneumo/pretrained/NAME`` makes one. They are only read.
"""

import gzip
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from pneumo import atomic, untrusted
from pneumo.runs import output, run_folder
from pneumo.runs.weights import PREFIX as NETWORK
from pneumo.runs.weights import read_weights

PREFIX = "pretrained:"
DEFAULT = "pretrained:compact"
FOLDER = Path(__file__).parents[1] / "pretrained"
CARD = "model-card.md"
OVERRIDES = ".hydra/overrides.yaml"
COPIED = ("metrics.json", "status.json", "predictions.csv", "reference.npz")
PACKED = "split.csv"  # of 5,856 images a tenth of its size, as split.csv.gz
# As conf/ has them, not as they were on the machine that trained
PLACES = {
    "root": "${oc.env:PNEUMO_DATA,data/chest_xray}",
    "cache_dir": "${oc.env:PNEUMO_CACHE,'~/.cache/pneumo'}",
}


def names() -> list[str]:
    """Returns what is there, such as pretrained:compact."""
    return sorted(PREFIX + path.parent.name for path in FOLDER.glob("*/metrics.json"))


def is_name(text: str | Path) -> bool:
    """Returns whether a RUN is meant as one of the package's."""
    return str(text).startswith(PREFIX)


def find(run: str | Path) -> Path:
    """Returns the folder of a RUN: of ``pretrained:NAME`` the package's, else the path as it is.

    Raises:
        ValueError: there is no such network in the package.

    >>> find("pretrained:compact").name
    'compact'
    >>> find("multirun/mine").as_posix()
    'multirun/mine'
    """
    if not is_name(run):
        return Path(run)
    if str(run) not in names():
        raise ValueError(
            f"a network of the package must be one of {', '.join(names()) or 'none'}; got {run}"
        )
    return FOLDER / str(run).removeprefix(PREFIX)


def is_shipped(run_dir: Path) -> bool:
    """Returns whether a run folder is one of the package's, into which nothing is written."""
    return run_dir.parent == FOLDER


def name_of(run_dir: Path) -> str:
    """Returns what a run is called in messages: its folder, or pretrained:NAME."""
    return PREFIX + run_dir.name if is_shipped(run_dir) else str(run_dir)


def pack(run_dir: Path, out: Path, *, card: str) -> int:
    """Writes what a finished run needs to be used, without optimizer and logs; returns the bytes.

    The best checkpoint's weights as they are (float32), the configuration without the paths of
    this machine, metrics.json, predictions of validation and test split, the split, the reference
    of in-distribution images, what its heat maps are worth where that was scored, and the card.

    Args:
        run_dir: a finished run.
        out: a folder that is new, empty, or of an earlier call; it is written whole or not at all.
        card: text of model-card.md.

    Raises:
        FileNotFoundError: the run lacks a file.
        ValueError: ``out`` holds something else, or a file of the run is broken.
    """
    written = {CARD, ".hydra", "checkpoints", f"{PACKED}.gz", *COPIED, run_folder.MAPS}

    def foreign(names: list[str]) -> list[str]:
        others = set(names) - written
        return [*others, *([run_folder.LAST] if (out / run_folder.LAST).exists() else [])]

    output.check_folder(out, earlier="an earlier package", foreign=foreign)
    weights = read_weights(run_dir / run_folder.BEST)
    scored = [run_folder.MAPS] if (run_dir / run_folder.MAPS).exists() else []
    files = {
        name: untrusted.read_bytes(run_dir / name, limit=untrusted.MAX_TABLE)
        for name in (*COPIED, *scored)
    }
    files[f"{PACKED}.gz"] = packed_split(run_dir)
    config = without_places(run_folder.read_config(run_dir))
    files[run_folder.CONFIG] = yaml.safe_dump(config, sort_keys=False).encode()
    files[OVERRIDES] = yaml.safe_dump(overrides_to_tell(run_dir)).encode()
    files[run_folder.BEST] = _checkpoint(weights)
    files[CARD] = card.encode()
    with atomic.replacing_folder(out) as new:
        for name, data in files.items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_bytes(data)
    return sum(map(len, files.values()))


def overrides_to_tell(run_dir: Path) -> list[str]:
    """Returns what the command of a run set, but for the paths of the machine that trained."""
    paths = ("run_dir=", "data.csv=", *(f"data.{key}=" for key in PLACES))
    return [one for one in run_folder.overrides_of(run_dir) if not one.startswith(paths)]


def packed_split(run_dir: Path) -> bytes:
    """Returns split.csv of a run folder, packed by gzip; the same bytes for the same split."""
    table = untrusted.read_bytes_or_gzip(run_dir / PACKED, limit=untrusted.MAX_TABLE)
    return gzip.compress(table, mtime=0)


def _checkpoint(weights: Mapping[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {NETWORK + name: value for name, value in weights.items()}}, file)
    return file.getvalue()


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration without paths of the machine that trained."""
    data = config["data"] | {key: PLACES[key] for key in PLACES if key in config["data"]}
    return {**config, "run_dir": "${hydra:runtime.output_dir}", "data": data}
