"""Checkpoints in a run folder: written atomically, and the newest intact one found again."""

import io
import logging
import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from pneumo import atomic
from pneumo.runs import run_folder
from pneumo.runs.network import read_checkpoint

log = logging.getLogger("pneumo")

REQUEUED = "hpc_ckpt_*.ckpt"  # Lightning writes them mid-epoch when SLURM queues a job again


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and renames it once all of it is on the disk.

    Lightning's own writes to TMPDIR and moves the file, which between two disks is a copy: a full
    disk or a kill leaves a truncated file in place of the last intact one. The last.ckpt before is
    kept as last-previous.ckpt.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes ``checkpoint`` to ``path``, whose folder is made.

        Raises:
            OSError: there is no room; nothing has changed.
        """
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as part:
            with part.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            if path.name == Path(run_folder.LAST).name and path.exists():
                path.replace(path.with_name(Path(run_folder.PREVIOUS).name))


def resume_from(run_dir: Path) -> Path | None:
    """Returns the checkpoint that a run resumes from; None for a run that starts at epoch 1.

    That is last.ckpt; if it is missing or broken, the newest other intact one, with a warning. Only
    checkpoints of complete epochs count, so that a resumed run ends as an uninterrupted one.

    Raises:
        ValueError: the run has trained for several epochs and no checkpoint is intact, or best.ckpt
            is lost.
    """
    for left in run_dir.glob(REQUEUED):
        left.unlink()
    names = (run_folder.LAST, run_folder.PREVIOUS, run_folder.BEST)
    contents = {name: read(run_dir / name) for name in names}
    intact = {name: content for name, content in contents.items() if not isinstance(content, str)}
    if not intact:
        _check_new(run_dir, [f"{n} is {c}" for n, c in contents.items() if c != "missing"])
        return None
    epochs = {name: len(content["history"]) for name, content in intact.items()}
    newest = max(epochs, key=lambda name: epochs[name])
    start = run_folder.LAST if run_folder.LAST in intact else newest
    if start == run_folder.LAST:
        log.info("Resuming from %s", run_dir / start)
    else:
        log.warning(
            "%s is %s: resuming from %s, after epoch %d",
            *(run_dir / run_folder.LAST, contents[run_folder.LAST], start, epochs[start]),
        )
    if run_folder.BEST not in intact:
        raise ValueError(
            f"a run resumes with its best epoch so far; {run_dir / run_folder.BEST} is "
            f"{contents[run_folder.BEST]}. Restore it from a copy, or delete the folder to start "
            "again"
        )
    return run_dir / start


def read(path: Path) -> dict[str, Any] | str:
    """Returns a run's checkpoint, on the CPU; or the problem: "missing", "broken (reason)"."""
    try:
        content = read_checkpoint(path)
    except FileNotFoundError:
        return "missing"
    except ValueError as error:
        return f"broken ({error})"
    history = content.get("history") if isinstance(content, dict) else None
    if not isinstance(history, list) or not history or "state_dict" not in content:
        return "broken (it is not a checkpoint of a run)"
    return dict(content)


def _check_new(run_dir: Path, broken: list[str]) -> None:
    """Raises ValueError if a run without an intact checkpoint has trained for several epochs.

    Its first epoch may have ended without a checkpoint: status.json is written before.
    """
    epoch = run_folder.read_status(run_dir).get("epoch")
    epochs = epoch if isinstance(epoch, int) else 0
    problem = "; ".join(broken) or "there is none"
    if epochs > 1:
        raise ValueError(
            f"a run that has trained for {epochs} epochs resumes from one of its checkpoints; in "
            f"{run_dir}: {problem}. Restore {run_folder.LAST} and {run_folder.BEST} from a copy, "
            "or delete the folder to start again"
        )
    if epochs or broken:
        log.warning("No intact checkpoint (%s): starting at epoch 1 again", problem)
