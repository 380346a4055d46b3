"""The run folder, the only thing that passes between commands: writing it and reading it."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pneumo import atomic, untrusted

if TYPE_CHECKING:  # half a second that a wrong setting need not wait for
    import pandas as pd

SCHEMA = 1  # of metrics.json; raised when a key changes its meaning
DETECTION = "detection"  # a detector's task; a classifier has none, or another
CONFIG = ".hydra/config.yaml"
MOST_SAID = 1000  # characters of an error, so that status.json stays in one block of the disk
STATES = ("running", "done", "stopped", "failed")  # in status.json
SWEEP = "sweep.json"  # in a sweep's folder: the arguments it began with, and the runs they ask for
IDENTITY = ("model", "seed", "protocol", "fold")
MAPS = "heatmap.json"
MAP_NUMBERS = (
    *("images", "flat", "deletion", "random", "gap", "gap_low", "gap_high", "randomised"),
    "share_of_gaps_above_0",
)
COUNTED = {"epoch": 0, "max_epochs": 0}  # of status.json
MAX_DIGITS = 19  # of a whole number in an override
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
PREVIOUS = "checkpoints/last-previous.ckpt"  # the last.ckpt before, until the run is done
# What the training leaves in a run folder, besides its events and the two folders
RUN_FILES = (
    *("metrics.json", "status.json", "split.csv", "split.json", "predictions.csv", "boxes.csv"),
    *(
        "history.csv",
        "train.log",
        "hparams.yaml",
        ".lock",
        "reference.npz",
        "reference-last.npz",
        MAPS,
    ),
)
RUN_FOLDERS = (".hydra", "checkpoints")

# What may differ when a run is resumed: where and how fast it is trained, not what
MAY_CHANGE = (
    "callbacks",
    "data.cache_dir",
    "data.num_workers",
    "data.root",
    "data.source.cache_dir",
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


class TakenError(ValueError):
    """Another process trains in the run folder."""


@contextlib.contextmanager
def claim(run_dir: Path) -> Iterator[None]:
    """Holds ``run_dir`` for this process; a killed one lets go of it by itself.

    Raises:
        TakenError: another process trains there.
        ValueError: the folder holds files of others that would be overwritten, or it cannot be
            written.
    """
    from filelock import FileLock, Timeout  # a seventh of the time that --help takes

    lock = FileLock(run_dir / ".lock")
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        _check_own(run_dir)
        lock.acquire(timeout=0)
    except Timeout:
        raise TakenError(
            f"a run folder belongs to one process; another one is training in {run_dir}. Wait for "
            "it, or choose another folder with hydra.run.dir=DIR"
        ) from None
    except OSError as error:
        raise ValueError(unwritable(run_dir, error)) from None
    try:
        _clear_left(run_dir)
        yield
    finally:
        lock.release()


def unwritable(run_dir: Path | None, error: OSError) -> str:
    """Returns what to tell of ``error``, a full disk's or a lack of permission."""
    place = error.filename or run_dir or "no folder is known"
    return (
        f"the run folder must be writable; {place}: {error.strerror}. Make room, or choose another "
        "with hydra.run.dir=DIR, of a sweep with hydra.sweep.dir=DIR"
    )


def _check_own(run_dir: Path) -> None:
    """Raises ValueError where the files that a run would write are not its own."""
    for name in (*RUN_FILES, *RUN_FOLDERS, CONFIG):
        if (run_dir / name).is_symlink():
            raise ValueError(
                f"the files of a run must lie in its folder; {run_dir / name} is a link, and what "
                "it names would be changed. Put a copy in its place"
            )
    if (run_dir / CONFIG).exists():
        return
    # a sweep leaves status.json of a run that was not begun
    names = {*RUN_FILES, LAST, PREVIOUS, BEST} - {"status.json"}
    if read_status(run_dir)["status"] not in STATES:
        names.add("status.json")
    others = sorted(n for n in names if (run_dir / n).exists() and (run_dir / n).stat().st_size)
    if others:
        raise ValueError(
            f"a run folder must be new or hold a run; {run_dir} holds {', '.join(others)}, which "
            f"would be overwritten, and no {CONFIG}. Choose another with hydra.run.dir=DIR"
        )


def _clear_left(run_dir: Path) -> None:
    """Deletes what a process that was killed had half written."""
    for folder in (run_dir, *(run_dir / name for name in RUN_FOLDERS)):
        atomic.clear(folder)


def remove_empty(folder: Path, *, levels: int) -> None:
    """Removes a folder that was made and not used, and folders around it, as far as they are empty.

    Of those around it only what lies below the working directory: others are the user's own.
    """
    around = folder.resolve().parents[: levels - 1]
    with contextlib.suppress(OSError):
        for one in (folder, *(p for p in around if Path.cwd() in p.parents)):
            one.rmdir()


def write_config(run_dir: Path, config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Writes the composed configuration; refuses to change that of a run that has begun.

    Raises:
        ValueError: the folder holds a run whose configuration differs in more than MAY_CHANGE.
    """
    path = run_dir / CONFIG
    if path.exists():
        before, after = flat(read_config(run_dir)), flat(config)
        keys = sorted(k for k in before | after if before.get(k) != after.get(k))
        changed = [key for key in keys if not key.startswith(MAY_CHANGE)]
        if changed:
            raise ValueError(
                f"a run resumes with the settings it began with; in {run_dir} these differ: "
                + "; ".join(f"{k} was {before.get(k)}, now {after.get(k)}" for k in changed)
                + ". Start it in a new folder, or take the change back"
            )
    path.parent.mkdir(exist_ok=True)
    write_text(path, yaml.safe_dump(dict(config), sort_keys=False))
    write_text(path.with_name("overrides.yaml"), yaml.safe_dump(list(overrides)))


def read_config(run_dir: Path) -> dict[str, Any]:
    """Returns the configuration a run began with, its interpolations not resolved.

    Raises:
        FileNotFoundError: no run has begun in the folder.
        ValueError: the file is broken.
    """
    try:
        return untrusted.read_yaml(Path(run_dir, CONFIG))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"a run folder holds {CONFIG}; {run_dir} does not. Name the folder that the run "
            "printed at its end, such as multirun/<date>/<time>/model=tiny,seed=0"
        ) from None


def identity(run_dir: Path) -> dict[str, Any]:
    """Returns a run's model, seed, protocol and fold, None for what is not known.

    By its configuration; of a run that has none, by its overrides and its folder's name.
    """
    try:
        config = read_config(run_dir)
        return _checked_identity(
            {
                "model": config["model"]["name"],
                "seed": config["seed"],
                "protocol": config["protocol"]["name"],
                "fold": config["protocol"]["fold"],
            }
        )
    except (OSError, ValueError, KeyError, TypeError):
        pass
    named = [*run_dir.name.split(","), *overrides_of(run_dir)]
    return identity_by(dict.fromkeys(IDENTITY), named)


def _checked_identity(told: dict[str, Any]) -> dict[str, Any]:
    """Returns ``told``; TypeError where a value is no text, no number and not null."""
    if not all(value is None or isinstance(value, str | int) for value in told.values()):
        raise TypeError(f"not what tells a run: {told}")
    return told


def identity_by(default: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Returns ``default`` with what ``overrides`` such as seed=1 or protocol.fold=2 change."""
    told = dict(default)
    for text in overrides:
        key, equals, value = text.partition("=")
        key = key.removeprefix("protocol.")
        if equals and key in IDENTITY:
            whole = value.removeprefix("-").isdecimal() and len(value) < MAX_DIGITS
            told[key] = int(value) if whole else value
    return told


def not_begun(sweep: Path) -> list[dict[str, Any]]:
    """Returns the identities of the runs that a sweep's folder asks for and has no folder of."""
    try:
        planned = untrusted.read_json(sweep / SWEEP)["planned"] or []
        planned = [_checked_identity({name: one[name] for name in IDENTITY}) for one in planned]
        # where protocols are swept the folds are the protocols' own
        names = IDENTITY if any(one["fold"] is not None for one in planned) else IDENTITY[:-1]
        left = [
            {**dict.fromkeys(IDENTITY), **{name: one[name] for name in names}} for one in planned
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    begun = [_asked(path.parent) for path in sweep.glob("*/status.json")]
    # a run that was refused has no configuration: what its folder's name does not tell is not known
    for found in sorted(begun, key=lambda one: list(one.values()).count(None)):
        alike = (w for w in left if all(found[name] in (None, w[name]) for name in names))
        if (one := next(alike, None)) is not None:
            left.remove(one)
    return left


def _asked(run_dir: Path) -> dict[str, Any]:
    """A run's identity as its sweep asked for it: a model by its choice, not by its name."""
    return identity_by(identity(run_dir), overrides_of(run_dir))


def check_named_once(run_dirs: Sequence[Path]) -> None:
    """Raises ValueError where one run folder is named twice, by whatever path."""
    known: set[Path] = set()
    for run_dir in run_dirs:
        if run_dir.resolve() in known:
            raise ValueError(f"each run may be named once; got {run_dir} twice")
        known.add(run_dir.resolve())


def of_detector(settings: Mapping[str, Any]) -> bool:
    """Whether a configuration, or metrics.json, is of a detector."""
    return settings.get("task") == DETECTION


def overrides_of(run_dir: Path) -> list[str]:
    """Returns what the command of a run set, such as seed=1; [] where that is not known."""
    try:
        text = untrusted.read_text((run_dir / CONFIG).with_name("overrides.yaml"))
    except (OSError, ValueError):
        return []
    return [line.strip("-'\" ") for line in text.splitlines()]


def write_status(
    run_dir: Path, status: str, *, epoch: int = 0, max_epochs: int = 0, error: str | None = None
) -> None:
    """Writes status.json: running, done, stopped or failed; epoch counts the finished ones."""
    value = {
        "status": status,
        "error": error,
        "epoch": epoch,
        "max_epochs": max_epochs,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(run_dir / "status.json", value)


def end_status(
    run_dir: Path, status: str, *, epoch: int, max_epochs: int, error: str | None
) -> None:
    """Writes status.json of a run that has ended, if need be over the one there: no error is lost.

    A full disk has no room for a second file, but keeps that of the first.
    """
    try:
        write_status(run_dir, status, epoch=epoch, max_epochs=max_epochs, error=error)
    except OSError:
        path = run_dir / "status.json"
        with contextlib.suppress(OSError, ValueError):
            told = {"status": status, "error": error and error[:MOST_SAID]}
            text = json.dumps({**untrusted.read_json(path), **told})
            with path.open("r+", encoding="utf-8") as file:
                file.write(text.ljust(path.stat().st_size))


def read_status(run_dir: Path) -> dict[str, Any]:
    """Returns status.json; the status is "new" where there is none that can be read.

    Any other has epoch and max_epochs, 0 where the file does not tell.
    """
    try:
        status = untrusted.read_json(Path(run_dir, "status.json"))
    except (OSError, ValueError):
        return {"status": "new"}
    whole = all(isinstance(status.get(key, empty), type(empty)) for key, empty in COUNTED.items())
    return (
        COUNTED | status if whole and isinstance(status.get("status"), str) else {"status": "new"}
    )


def write_maps(run_dir: Path, found: Mapping[str, Any]) -> None:
    """Adds what heat maps of one method, class and checkpoint are worth to heatmap.json."""
    key = [found[name] for name in ("method", "class", "checkpoint")]
    kept = [
        row
        for row in _read_maps(run_dir)
        if [row["method"], row["class"], row["checkpoint"]] != key
    ]
    write_json(run_dir / MAPS, {"schema": SCHEMA, "scores": [*kept, found]})


def read_maps(run_dir: Path, *, checkpoint: str) -> list[dict[str, Any]]:
    """Returns the scores in heatmap.json of one checkpoint; [] where there are none to read.

    Each has method, class, and mean, which has all of MAP_NUMBERS, None where not known.
    """
    return [row for row in _read_maps(run_dir) if row["checkpoint"] == checkpoint]


def _read_maps(run_dir: Path) -> list[dict[str, Any]]:
    try:
        found = untrusted.read_json(run_dir / MAPS)
        rows = found["scores"] if found["schema"] == SCHEMA else []
        return [row for row in rows if _is_map(row)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _is_map(row: Any) -> bool:
    named = all(isinstance(row[key], str) for key in ("method", "class", "checkpoint"))
    numbers = [row["mean"][key] for key in MAP_NUMBERS]
    return named and all(one is None or isinstance(one, int | float) for one in numbers)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` whole or not at all; numbers that are not finite become null."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Returns ``value`` as JSON; numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False) + "\n"


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Writes ``table`` as CSV, whole or not at all."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` whole or not at all."""
    with atomic.replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a configuration as one mapping, with keys such as optimizer.lr.

    Without what is null: an older version may have had no such setting.
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value
    return found
