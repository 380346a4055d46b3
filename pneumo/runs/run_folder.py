"""The names of the files in a run folder, its settings, its status, and the runs a sweep plans."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict, cast

import yaml

from pneumo import untrusted

SCHEMA: Final = 1  # of metrics.json; raised when a key changes its meaning
CONFIG, OVERRIDES = ".hydra/config.yaml", ".hydra/overrides.yaml"
METRICS, STATUS = "metrics.json", "status.json"
SPLIT, PREDICTIONS, BOXES = "split.csv", "predictions.csv", "boxes.csv"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
PREVIOUS = "checkpoints/last-previous.ckpt"  # the last.ckpt before, until the run is done
MAPS = "heatmap.json"
STRESS = "stress.json"  # of pneumo.evaluate --stress
CALIBRATIONS = "calibrations"  # the folder of pneumo.calibrate
EXTERNAL = "external"  # the folder of pneumo.evaluate --name
SWEEP = "sweep.json"  # in a sweep's folder: its first arguments and the overrides of each run
STATES = ("running", "done", "stopped", "failed")  # in status.json
IDENTITY = ("model", "seed", "protocol", "fold")
MAP_NUMBERS = (
    *("images", "flat", "deletion", "random", "gap", "gap_low", "gap_high", "randomised"),
    "share_of_gaps_above_0",
)
MIN_SIDE, MIN_SCALE = 32, 0.1  # pixels of a view, unless its scale is at least this
LEVELS = 3  # of folders from multirun/ to a run: date, time, run
# Files that training writes into a run folder, besides TensorBoard events and the two folders
RUN_FILES = (
    *(METRICS, STATUS, SPLIT, "split.json", PREDICTIONS, BOXES, "history.csv", "train.log"),
    *("hparams.yaml", ".lock", "reference.npz", MAPS, STRESS),
)
RUN_FOLDERS = (".hydra", "checkpoints")
# Settings that may differ when a run is resumed: where and how fast it is trained, not what
MAY_CHANGE = (
    "callbacks.folder.",
    "callbacks.lines.",
    "callbacks.pictures.",
    "data.cache_dir",
    "data.csv",
    "data.num_workers",
    "data.root",
    "data.source.cache_dir",
    "data.source.csv",
    "data.source.root",
    "ensembles",
    "logger",
    "num_threads",
    "run_dir",
    "tags",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.profiler",
)


class Status(TypedDict, total=False):
    """status.json."""

    status: str  # new, running, done, stopped or failed
    error: str | None
    epoch: int  # finished epochs
    max_epochs: int
    time: str


def read_config(run_dir: Path) -> dict[str, Any]:
    """Returns the configuration of a run, its interpolations not resolved.

    Raises:
        FileNotFoundError: no run was started in the folder.
        ValueError: the file is broken.
    """
    try:
        return untrusted.read_yaml(Path(run_dir, CONFIG))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"a run folder holds {CONFIG}; {run_dir} does not. Name the folder that the run "
            "printed at its end, such as multirun/<date>/<time>/model=tiny,seed=0"
        ) from None


def read_status(run_dir: Path) -> Status:
    """Returns status.json; the status is "new" if the file is missing or broken.

    In all other states epoch and max_epochs are set, 0 if the file lacks them.
    """
    try:
        status = {"epoch": 0, "max_epochs": 0} | untrusted.read_json(Path(run_dir, STATUS))
    except (OSError, ValueError):
        return {"status": "new"}
    return cast(Status, status) if status.get("status") in STATES else {"status": "new"}


def find_runs(root: Path) -> list[Path]:
    """Returns the run folders that root is or holds, sorted, LEVELS deep.

    ``root`` is a run, a sweep, or a folder of runs, sweeps and such folders. Links, folders
    `report` and hidden folders are skipped.

    Raises:
        FileNotFoundError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"DIR must be a folder with runs; there is no {root}. Give the folder of a sweep or "
            "of one run, as under multirun/"
        )
    return _runs_in(root, levels=LEVELS)


def _runs_in(folder: Path, *, levels: int) -> list[Path]:
    if any((folder / mark).is_file() for mark in (STATUS, METRICS, CONFIG)):
        return [folder]
    inner = sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.is_symlink() and path.name[0] != "." and path.name != "report"
    )
    return [run for path in inner if levels for run in _runs_in(path, levels=levels - 1)]


def looks_like_run(path: Path) -> bool:
    """Returns whether a folder is a run, finished or not, possibly broken."""
    marks = (*RUN_FOLDERS, METRICS, STATUS)
    return path.is_dir() and any((path / mark).exists() for mark in marks)


def check_named_once(run_dirs: Sequence[Path]) -> None:
    """Raises ValueError if a run is named twice, by any path or as a copy, such as its package."""
    named: dict[bytes, Path] = {}  # by metrics.json
    for run_dir in run_dirs:
        content = bytes(run_dir.resolve())
        with contextlib.suppress(OSError):  # not finished: refused when it is read
            content = (run_dir / METRICS).read_bytes()
        if content in named:
            raise ValueError(
                f"each run may be named once; {run_dir} is {named[content]}, or a copy of it"
            )
        named[content] = run_dir


def overrides_of(run_dir: Path) -> list[str]:
    """Returns the overrides of a run's command, such as seed=1; [] if unknown."""
    try:
        text = untrusted.read_text(run_dir / OVERRIDES)
        return [str(override) for override in yaml.load(text, Loader=untrusted.YAML) or []]  # noqa: S506
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return []


def identity(run_dir: Path) -> dict[str, Any]:
    """Returns a run's model, seed, protocol and fold; None for unknown values.

    From its configuration, or else from its overrides and its folder's name.
    """
    try:
        config = read_config(run_dir)
        protocol = config["protocol"]
        values = (config["model"]["name"], config["seed"], protocol["name"], protocol["fold"])
        return dict(zip(IDENTITY, values, strict=True))
    except (OSError, ValueError, KeyError, TypeError):
        overrides = [*run_dir.name.split(","), *overrides_of(run_dir)]
        return identity_by(dict.fromkeys(IDENTITY), overrides)


def identity_by(default: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Returns ``default`` changed by ``overrides`` such as seed=1 or protocol.fold=2."""
    changed = dict(default)
    for text in overrides:
        key, equals, value = text.partition("=")
        key = key.removeprefix("protocol.")
        if equals and key in IDENTITY:
            changed[key] = int(value) if value.removeprefix("-").isdecimal() else value
    return changed


def not_started(sweep: Path) -> list[dict[str, Any]]:
    """Returns the identities of the planned runs of a sweep that have no folder yet."""
    try:
        planned = untrusted.read_json(sweep / SWEEP)["planned"] or []
        runs = [set(run) for run in planned if isinstance(run, list)]  # of others, nothing is known
    except (OSError, ValueError, KeyError, TypeError):
        return []
    started = sorted(path.parent for path in sweep.glob(f"*/{STATUS}"))
    overrides = [set(overrides_of(run_dir)) for run_dir in started]
    default = identity(started[0]) if started else dict.fromkeys(IDENTITY)
    missing = (run for run in runs if not any(run <= each for each in overrides))
    return [identity_by(default, run) for run in missing]


def read_maps(run_dir: Path, *, checkpoint: str | None = None) -> list[dict[str, Any]]:
    """Returns the scores in heatmap.json, of one checkpoint or all; [] if missing or broken.

    Each has method, class, checkpoint, and mean with all of MAP_NUMBERS, None if unknown.
    """
    try:
        content = untrusted.read_json(run_dir / MAPS)
        rows = content["scores"] if content["schema"] == SCHEMA else []
        _ = [(row["method"], row["class"], row["mean"][n]) for row in rows for n in MAP_NUMBERS]
        return [row for row in rows if checkpoint in (None, row["checkpoint"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def wrong_scales(scales: Sequence[float], *, image_size: int) -> str | None:
    """Returns the rule that the setting views.scales breaks, and its value; None if it is valid.

    ``image_size``: pixels.
    """
    if len(set(scales)) < max(1, len(scales)):
        return f"must be different; got {scales}"
    smallest = min(scales)
    too_small = smallest < MIN_SCALE and round(smallest * image_size) < MIN_SIDE
    if too_small or not 0 < smallest <= max(scales) <= 1:
        return (
            f"must be numbers above 0, at most 1, that leave {MIN_SIDE} pixels or a tenth of an "
            f"image's side; got {scales} of {image_size} pixels"
        )
    return None


def unwritable(run_dir: Path | None, error: OSError) -> str:
    """Returns the message for ``error`` of a full disk or a lack of permission."""
    place = error.filename or run_dir or "the folder is unknown"
    return (
        f"the run folder must be writable; {place}: {error.strerror}. Make room, or choose another "
        "with hydra.run.dir=DIR, of a sweep with hydra.sweep.dir=DIR"
    )


def remove_empty(folder: Path, *, levels: int) -> None:
    """Removes an unused folder if it is empty, and so ``levels`` - 1 folders around it.

    Those must be below the working directory; others are the user's own.
    """
    around = folder.resolve().parents[: levels - 1]
    for place in (folder, *(p for p in around if Path.cwd() in p.parents)):
        try:
            place.rmdir()
        except OSError:
            return


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a configuration as one mapping, with keys such as optimizer.lr; without nulls."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            settings |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            settings[f"{prefix}{name}"] = value
    return settings
