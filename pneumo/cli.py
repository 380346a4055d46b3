"""What the commands share: how they start, their parser, exit codes, how they report errors."""

import argparse
import contextlib
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from importlib import import_module
from importlib.util import find_spec

from pneumo import atomic

MISTAKE, UNREADABLE, STOPPED = 2, 3, 130  # exit codes; 130 is Ctrl-C, as shells have it
PROGRAM = "pneumo"  # the command that pyproject.toml installs
MODULES = {"report": "pneumo.report.__main__"}  # of the commands that are no pneumo.COMMAND
INPUTS = {  # arguments of the commands that name what must exist
    "run": "RUN",
    "runs": "RUN",
    "roots": "DIR",
    "place": "DIR",
    "data": "--data",
    "csv": "--csv",
}
PACKAGED = "pretrained:"  # how the name of a network begins that comes with the package

started: float | None = None  # time.monotonic() when this process began as a command


class Parser(argparse.ArgumentParser):
    """A parser whose options may stand anywhere between its positional arguments.

    Args:
        command: the verb, such as predict.
        description: one sentence.
        epilog: examples and exit codes, printed as they are.
    """

    def __init__(self, command: str, *, description: str, epilog: str):
        super().__init__(
            prog=_program(command),
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_trust(self) -> None:
        """Adds --trust, for run folders whose network is of somebody's own package."""
        self.add_argument(
            "--trust",
            action="append",
            default=[],
            metavar="PACKAGE",
            help="whose networks a run folder may ask for; may be given again",
        )

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Returns the arguments; parse_args would refuse an option between two positional ones."""
        return self.parse_intermixed_args(arguments)


def _program(command: str) -> str:
    """How the command was called: pneumo predict, or python -m pneumo.predict."""
    typed = f"{PROGRAM} {command}"
    return typed if sys.argv[0] == typed else f"python -m pneumo.{command}"


def start(command: str) -> int:
    """Runs a command by ``sys.argv`` and returns its exit code.

    --help, a wrong argument and a missing file end it before it imports torch, which takes seconds.
    """
    global started
    started = time.monotonic()
    given = import_module(f"pneumo.arguments.{command}").parse(sys.argv[1:])
    if message := _missing(given):
        sys.stderr.write(f"error: {message}\n")
        return MISTAKE
    return import_module(MODULES.get(command, f"pneumo.{command}")).main() or 0


def _missing(given: argparse.Namespace | None) -> str | None:
    """Returns what to report of a named file or folder that does not exist."""
    for name, option in INPUTS.items():
        named = getattr(given, name, None) or []
        for place in named if isinstance(named, list) else [named]:
            if not os.path.exists(place) and not str(place).startswith(PACKAGED):  # noqa: PTH110
                return f"{option} must exist; there is no {place}"
    return None


def run(command: Callable[[], int], *, stopped: str = "stopped") -> int:
    """Returns the exit code of ``command``; an error of the user's becomes one line on stderr.

    Args:
        command: does the work, returns its exit code; ValueError or OSError for what the user can
            mend.
        stopped: what is said after Ctrl-C.
    """
    with contextlib.suppress(AttributeError, ValueError):  # replaced by an object of another kind
        # a terminal that cannot show a name must not lose the table
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return command()
    except BrokenPipeError:  # the reader of standard output has enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in atomic.FULL
        sys.stderr.write(f"error: {error}{'. Make room, or name another place' * full}\n")
        return MISTAKE
    except KeyboardInterrupt:
        sys.stderr.write(f"{stopped}\n")
        return STOPPED


def note(text: str) -> None:
    """Prints a note for the user on standard error."""
    sys.stderr.write(f"note: {text}\n")


def check_installed(purpose: str, *packages: str, extra: str) -> None:
    """Raises ValueError if a package of an extra is missing; imports none of them."""
    for name in packages:
        if find_spec(name) is None:
            raise ValueError(
                f"{purpose} needs {', '.join(packages)}; {name} is not installed. Install it with "
                f"python -m pip install 'pneumo[{extra}]'"
            )


def counted(number: int, noun: str) -> str:
    """Returns a number and its noun, in the plural but for 1: 1 file, 1,200 files."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def nearest(word: str, choices: Iterable[str]) -> str:
    """Returns " Did you mean …?" with the choice most like ``word``, or nothing.

    Also where only the last part of a dotted choice is like that of ``word``: lr is optimizer.lr.
    """

    def alike(choice: str) -> tuple[float, float]:
        whole_word = SequenceMatcher(None, word, choice).ratio()
        last = SequenceMatcher(None, word.rpartition(".")[2], choice.rpartition(".")[2]).ratio()
        group = 1 if "." not in word + choice and whole_word > 0.75 else 0
        return group + max(whole_word, last if last > 0.7 else 0), whole_word

    best = max(choices, key=alike, default="")
    return f" Did you mean {best}?" if best and alike(best)[0] >= 0.5 else ""


def short_names(names: Sequence[str], *, width: int) -> dict[str, str]:
    """Returns for each run's name at most ``width`` letters of what tells it from the others.

    >>> list(short_names(["runs/model=tiny,seed=0", "runs/model=large,seed=0"], width=18).values())
    ['tiny', 'large']
    >>> list(short_names(["runs/model=tiny,seed=0,data=kermany"], width=18).values())
    ['tiny,seed=0,data=…']
    """
    parts = {name: re.split("[/,]", name.rstrip("/")) for name in names}
    shared = set.intersection(*map(set, parts.values()))
    if len(parts) == 1:  # its folder's name
        shared = set(names[0].rstrip("/").split("/")[:-1])
    told = {name: ",".join(p for p in of if p not in shared) or name for name, of in parts.items()}
    if all(text.startswith("model=") for text in told.values()):
        told = {name: text.removeprefix("model=") for name, text in told.items()}
    cut = {n: t if len(t) <= width else f"{t[: width - 1]}…" for n, t in told.items()}
    times = Counter(cut.values())
    return {n: t if times[t] == 1 else f"…{told[n][1 - width :]}" for n, t in cut.items()}
