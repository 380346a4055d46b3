"""Writes a run folder: the only code that does, each file whole or not at all."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pneumo import atomic, untrusted
from pneumo.runs import metrics, run_folder
from pneumo.runs.metrics import External, Stress
from pneumo.runs.run_folder import CONFIG

if TYPE_CHECKING:  # half a second, which a wrong setting need not wait for
    import numpy as np
    import pandas as pd


class TakenError(ValueError):
    """Another process trains in the run folder."""


@dataclass(frozen=True)
class RunWriter:
    """Writes the files of one run folder."""

    run_dir: Path

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Holds the folder for this process; the system releases it when the process is killed.

        Raises:
            TakenError: another process trains there.
            ValueError: the folder holds foreign files that would be overwritten, or it cannot be
                written.
        """
        from filelock import FileLock, Timeout  # a seventh of the time that --help takes

        lock = FileLock(self.run_dir / ".lock")
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self._check_own()
            lock.acquire(timeout=0)
        except Timeout:
            raise TakenError(
                "a run folder belongs to one process; another one is training in "
                f"{self.run_dir}. Wait for it, or choose another folder with hydra.run.dir=DIR"
            ) from None
        except OSError as error:
            raise ValueError(run_folder.unwritable(self.run_dir, error)) from None
        try:
            for folder in (self.run_dir, *map(self.run_dir.joinpath, run_folder.RUN_FOLDERS)):
                atomic.clear(folder, older_than_s=0)  # partial files of a killed process
            yield
        finally:
            lock.release()

    def _check_own(self) -> None:
        """Raises ValueError if a file that would be overwritten is not of a run."""
        if (self.run_dir / CONFIG).exists():
            return
        names = {*run_folder.RUN_FILES, run_folder.LAST, run_folder.BEST}
        if run_folder.read_status(self.run_dir)["status"] != "new":
            names.remove(run_folder.STATUS)  # a sweep leaves one of a run that was not started
        paths = {name: self.run_dir / name for name in sorted(names)}
        others = [name for name, path in paths.items() if path.exists() and path.stat().st_size]
        if others:
            raise ValueError(
                f"a run folder must be new or hold a run; {self.run_dir} holds "
                f"{', '.join(others)}, which would be overwritten, and no {CONFIG}. Choose another "
                "with hydra.run.dir=DIR"
            )

    def write_config(self, config: Mapping[str, Any], overrides: Sequence[str]) -> None:
        """Writes the composed configuration, and adds the overrides of the command.

        A finished run keeps its configuration, which names its training images.

        Raises:
            ValueError: the folder holds a run whose settings differ in more than MAY_CHANGE.
        """
        path = self.run_dir / CONFIG
        if path.exists():
            before = run_folder.flat(run_folder.read_config(self.run_dir))
            after = run_folder.flat(config)
            keys = sorted(k for k in before | after if before.get(k) != after.get(k))
            changed = [key for key in keys if not key.startswith(run_folder.MAY_CHANGE)]
            if changed:
                raise ValueError(
                    f"a run resumes with its first settings; in {self.run_dir} these differ: "
                    + "; ".join(f"{k} was {before.get(k)}, now {after.get(k)}" for k in changed)
                    + ". Start it in a new folder, or undo the change"
                )
        is_done = run_folder.read_status(self.run_dir)["status"] == "done"
        later = run_folder.MAY_CHANGE if is_done else ()
        self.write_overrides([text for text in overrides if not text.startswith(later)])
        if is_done:
            return
        atomic.write_text(path, yaml.safe_dump(dict(config), sort_keys=False))

    def write_overrides(self, overrides: Sequence[str]) -> None:
        """Adds the overrides of the command, by which a sweep finds its runs, to earlier ones."""
        path = self.run_dir / run_folder.OVERRIDES
        path.parent.mkdir(parents=True, exist_ok=True)
        unique = dict.fromkeys([*run_folder.overrides_of(self.run_dir), *overrides])
        atomic.write_text(path, yaml.safe_dump([*unique]))

    def write_status(
        self, state: str, *, epoch: int = 0, max_epochs: int = 0, error: str | None = None
    ) -> None:
        """Writes status.json: one of STATES, the number of finished epochs, and of all."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        status = {"status": state, "error": error, "epoch": epoch, "max_epochs": max_epochs}
        atomic.write_json(self.run_dir / run_folder.STATUS, {**status, "time": time})

    def write_split(self, table: "pd.DataFrame") -> str:
        """Writes split.csv, and split.json with digests; returns the digest of the split.

        ``table`` is that of pneumo.data.split.split, with the column digest; for a detector with
        boxes. ValueError: the run was started with another split, or with other images, labels or
        boxes under the same names.
        """
        from pneumo.data import split

        now = {
            "split_sha256": split.digest(table),
            "images_sha256": split.digest(table, "digest"),
            "labels_sha256": split.labels_digest(table),
        }
        path = self.run_dir / "split.json"
        before = untrusted.read_json(path) if path.exists() else now
        changes = {
            "split_sha256": "images were added or removed, or are split differently",
            "images_sha256": "files have changed under the same names",
            "labels_sha256": "labels or boxes have changed",
        }
        for key, change in changes.items():
            if before.get(key) != now[key]:
                raise ValueError(
                    f"a run resumes with its first images; since {self.run_dir} was started, "
                    f"{change}. Name the folder of the first ones with data.root=DIR, or start a "
                    "new run"
                )
        self.write_table(run_folder.SPLIT, table[split.COLUMNS])
        atomic.write_json(path, now)
        return now["split_sha256"]

    def write_table(self, name: str, table: "pd.DataFrame") -> None:
        """Writes a table as the CSV file ``name``."""
        text = table.to_csv(index=False, lineterminator="\n")
        atomic.write_text(self.run_dir / name, text)

    def write_arrays(self, name: str, arrays: Mapping[str, "np.ndarray | str | float"]) -> None:
        """Writes arrays as the NumPy archive ``name``."""
        import numpy as np

        with atomic.replacing(self.run_dir / name) as part, part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def write_maps(self, scores: Mapping[str, Any]) -> None:
        """Adds the scores of heat maps of one method, class and checkpoint to heatmap.json."""
        names = ("method", "class", "checkpoint")
        rows = run_folder.read_maps(self.run_dir)
        others = [row for row in rows if any(row[name] != scores[name] for name in names)]
        content = {"schema": run_folder.SCHEMA, "scores": [*others, scores]}
        atomic.write_json(self.run_dir / run_folder.MAPS, content)

    def write_stress(self, stress: Stress) -> None:
        """Writes stress.json over an earlier one."""
        atomic.write_json(self.run_dir / run_folder.STRESS, stress)

    def check_external(self, name: str, images_sha256: str) -> None:
        """Raises ValueError if external/NAME.json is of other images, or cannot be written."""
        path = self.run_dir / run_folder.EXTERNAL / f"{name}.json"
        if not os.access(path.parent if path.parent.exists() else self.run_dir, os.W_OK):
            raise ValueError(f"--name must name a file that can be written; {path} cannot")
        before = metrics.read_external(path) if path.exists() else None
        if before and before["images_sha256"] != images_sha256:
            raise ValueError(
                f"--name must be new for other images; {path} has the scores of "
                f"{before['images']:,} images of {before['data']}. Give another name, or delete "
                "that file"
            )

    def write_external(self, result: External) -> Path:
        """Writes external/NAME.json and returns its path; errors as `check_external`."""
        self.check_external(result["name"], result["images_sha256"])
        path = self.run_dir / run_folder.EXTERNAL / f"{result['name']}.json"
        path.parent.mkdir(exist_ok=True)
        atomic.write_json(path, dict(result))
        return path

    def finish(self, scores: Mapping[str, Any], *, epochs: int, max_epochs: int) -> None:
        """Writes metrics.json and the status "done" of a run whose other files are written."""
        atomic.write_json(self.run_dir / run_folder.METRICS, scores)
        (self.run_dir / run_folder.PREVIOUS).unlink(missing_ok=True)
        self.write_status("done", epoch=epochs, max_epochs=max_epochs)
