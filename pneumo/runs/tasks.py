"""The two tasks of a run, classification and detection, and the refusals of the other one."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pneumo.runs.run import Run

CLASSIFICATION, DETECTION = "classification", "detection"
NAMES = {CLASSIFICATION: "classifiers", DETECTION: "detectors (task=detection)"}


def task_of(settings: Mapping[str, Any]) -> str:
    """Returns the task of a configuration, or of metrics.json, which names detection only."""
    return DETECTION if settings.get("task") == DETECTION else CLASSIFICATION


def common_task(runs: Sequence["Run"]) -> str:
    """Returns the task of all of the runs; ValueError if they have different ones."""
    by_task = {run.task: run.name for run in reversed(runs)}
    if len(by_task) > 1:
        raise ValueError(
            f"runs must be of one task; {by_task[DETECTION]} is a detector and "
            f"{by_task[CLASSIFICATION]} is not. Name them separately"
        )
    return next(iter(by_task))


def check_classifier(run: "Run", rule: str) -> None:
    """Raises ValueError if the run is a detector, with the commands that take one."""
    if run.task == DETECTION:
        name = shlex.quote(run.name)
        raise ValueError(
            f"{rule}; {run.name} is a detector. Its boxes: python -m pneumo.predict {name} IMAGE "
            f"--overlays DIR; its scores: python -m pneumo.evaluate {name}"
        )


def check_options(task: str, used: Mapping[str, Mapping[str, bool]], *, instead: str) -> None:
    """Raises ValueError for an option of the other task.

    Args:
        task: of the runs.
        used: for each task, the options that only it has, and whether they are used.
        instead: the way out, in the message.
    """
    for other, options in used.items():
        for option, is_used in options.items():
            if is_used and other != task:
                raise ValueError(f"{option} needs {NAMES[other]}. Leave it out; {instead}")
