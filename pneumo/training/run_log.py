"""The log of a run: train.log and the screen."""

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger("pneumo")


class LogFile(logging.FileHandler):
    """train.log, which a full disk cuts short: the screen shows the same lines."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """Ignores a line that cannot be written; logging would print a traceback for each."""

    def close(self) -> None:
        """Closes the file; lines that are not written yet are lost on a full disk."""
        with contextlib.suppress(OSError):
            super().close()


@contextmanager
def log_to(path: Path, *, quiet: bool) -> Iterator[None]:
    """Sends log lines, and each of Python's warnings once, to the screen and to ``path``.

    ``quiet``, for a run of a sweep: only errors on the screen, which has the sweep's progress.
    """
    file = LogFile(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.ERROR if quiet else logging.INFO)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [screen, file]
    show, warnings.showwarning = warnings.showwarning, _warn_once()
    hook, threading.excepthook = threading.excepthook, _show_bug
    try:
        yield
    finally:
        threading.excepthook = hook
        warnings.showwarning = show
        log.handlers = []
        log.propagate = True
        file.close()


def _warn_once() -> Callable[..., None]:
    """Returns a function that logs each warning in one line, the first time it is raised."""
    shown = set()

    def show(
        message: Warning, category: type[Warning], filename: str, lineno: int, *_: Any
    ) -> None:
        text = f"{category.__name__}: {' '.join(str(message).split())}"
        if text not in shown:
            shown.add(text)
            log.warning("%s (%s:%d)", text, filename, lineno)

    return show


def _show_bug(problem: threading.ExceptHookArgs) -> None:
    """Shows what ended a thread, except a full disk, which the thread of TensorBoard raises."""
    if not isinstance(problem.exc_value, OSError):
        threading.__excepthook__(problem)
