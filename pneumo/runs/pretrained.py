"""Trained networks of the package: run folders named ``pretrained:NAME``, which are only read.

``python -m pneumo.export RUN --to run --out pneumo/pretrained/NAME`` makes one.
"""

import gzip
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pneumo import atomic, untrusted
from pneumo.runs import output, run_folder
from pneumo.runs.run_folder import EXTERNAL

PREFIX = "pretrained:"
DEFAULT = "pretrained:compact-robust"
FOLDER = Path(__file__).parents[1] / "pretrained"
CARD = "model-card.md"
COPIED = (*(run_folder.METRICS, run_folder.STATUS, run_folder.PREDICTIONS), "reference.npz")
PACKED = f"{run_folder.SPLIT}.gz"  # a tenth of the size for 5,856 images
# As in conf/, instead of the paths of the machine that trained
PLACES = {
    "root": "${oc.env:PNEUMO_DATA,data/chest_xray}",
    "cache_dir": "${oc.env:PNEUMO_CACHE,'~/.cache/pneumo'}",
    "csv": None,
}
QUOTES = "'\""
NIH_ROOT = "${oc.env:PNEUMO_NIH,data/nih}"


def names() -> list[str]:
    """Returns the networks of the package, such as pretrained:compact-robust."""
    return sorted(PREFIX + path.parent.name for path in FOLDER.glob("*/metrics.json"))


def find(run: str | Path) -> Path:
    """Returns the folder of a RUN: that of ``pretrained:NAME``, or the path itself.

    Raises:
        ValueError: the package has no such network.

    >>> find("pretrained:compact-robust").name
    'compact-robust'
    >>> find("multirun/mine").as_posix()
    'multirun/mine'
    """
    if not str(run).startswith(PREFIX):
        return Path(run)
    if str(run) not in names():
        raise ValueError(
            f"a network of the package must be one of {', '.join(names()) or 'none'}; got {run}"
        )
    return FOLDER / str(run).removeprefix(PREFIX)


def pack(run_dir: Path, out: Path, *, card: str) -> int:
    """Writes the part of a finished run that its use needs; returns the bytes.

    The best checkpoint's weights (float32), the configuration without the paths of this machine,
    metrics.json, predictions of validation and test split, the split, the reference of
    in-distribution images, the scores of its heat maps and on external images if known, and the
    card.

    Args:
        run_dir: a finished run.
        out: a folder that is new, empty, or of an earlier call; it is written whole or not at all.
        card: text of model-card.md.

    Raises:
        FileNotFoundError: the run lacks a file.
        ValueError: ``out`` holds something else, or a file of the run is broken.
    """
    expected = {CARD, ".hydra", "checkpoints", PACKED, *COPIED, run_folder.MAPS, EXTERNAL}
    if (out / run_folder.LAST).exists():  # a run, not a package
        expected.remove("checkpoints")
    earlier = "an earlier package"
    output.check_folder(out, earlier=earlier, foreign=lambda names: set(names) - expected)
    maps = [run_folder.MAPS] if (run_dir / run_folder.MAPS).exists() else []
    external = [f"{EXTERNAL}/{path.name}" for path in (run_dir / EXTERNAL).glob("*.json")]
    files = {
        name: untrusted.read_bytes(run_dir / name, limit=untrusted.MAX_TABLE)
        for name in (*COPIED, *maps, *external)
    }
    files[PACKED] = packed_split(run_dir)
    config = without_places(run_folder.read_config(run_dir))
    files[run_folder.CONFIG] = yaml.safe_dump(config, sort_keys=False).encode()
    files[run_folder.OVERRIDES] = yaml.safe_dump(public_overrides(run_dir)).encode()
    files[run_folder.BEST] = _checkpoint(run_dir)
    files[CARD] = card.encode()
    with atomic.replacing_folder(out) as new:
        for name, data in files.items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_bytes(data)
    return sum(map(len, files.values()))


def public_overrides(run_dir: Path) -> list[str]:
    """Returns the overrides of a run's command without places of the machine that trained."""
    of_data = (f"{section}.{key}=" for section in ("data", "data.source") for key in PLACES)
    places = ("run_dir=", "logger.", *of_data)
    return [
        f"init={Path(text[5:].strip(QUOTES)).name}" if text.startswith("init=") else text
        for text in run_folder.overrides_of(run_dir)
        if not text.lstrip("+").startswith(places)
    ]


def packed_split(run_dir: Path) -> bytes:
    """Returns split.csv of a run folder in gzip; the same bytes for the same split."""
    place = run_dir / (PACKED if (run_dir / PACKED).exists() else run_folder.SPLIT)
    return gzip.compress(untrusted.read_bytes(place, limit=untrusted.MAX_TABLE), mtime=0)


def _checkpoint(run_dir: Path) -> bytes:
    import torch

    from pneumo.runs import network

    state = network.read_weights(run_dir / run_folder.BEST)
    file = io.BytesIO()
    torch.save({"state_dict": {network.PREFIX + name: v for name, v in state.items()}}, file)
    return file.getvalue()


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration without places of the machine that trained."""

    def public(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: public(name, inner) for name, inner in value.items()}
        return value if str(value).startswith("${") else PLACES.get(key, value)

    init = config.get("init") if str(config.get("init")).startswith(PREFIX) else None
    here = {"run_dir": "${hydra:runtime.output_dir}", "init": init, "logger": None}
    data = public("data", config["data"])
    if ".nih." in str(data.get("source")):
        data["root"] = NIH_ROOT
    return {**config, **here, "data": data}
