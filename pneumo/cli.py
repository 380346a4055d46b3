"""Shared by the commands: start, parser, exit codes, error messages, names of runs."""

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
from typing import Any, NoReturn, TextIO

from pneumo import atomic
from pneumo.choices import CHECKPOINTS

MISTAKE, UNREADABLE, STOPPED = 2, 3, 130  # exit codes; 130 is Ctrl-C, as shells have it
PROGRAM = "pneumo"  # the command that pyproject.toml installs
MODULES = {"report": "pneumo.report.__main__"}  # of commands other than pneumo.COMMAND
INPUTS = {  # arguments that name a file or folder that must exist
    "run": "RUN",
    "runs": "RUN",
    "roots": "DIR",
    "place": "DIR",
    "data": "--data",
    "csv": "--csv",
}
PACKAGED = "pretrained:"  # prefix of the networks that come with the package

started: float | None = None  # time.monotonic() when this process began as a command


class Parser(argparse.ArgumentParser):
    """A parser whose options may stand anywhere between its positional arguments.

    ``command`` is the verb, such as predict, ``epilog`` examples and exit codes, printed as is.
    """

    def __init__(self, command: str, *, description: str, epilog: str):
        typed = f"{PROGRAM} {command}"
        super().__init__(
            prog=typed if sys.argv[0] == typed else f"python -m pneumo.{command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_run(self) -> None:
        """Adds RUN."""
        place = "the folder of a finished run, or pretrained:compact-robust"
        self.add_argument("run", metavar="RUN", help=place)

    def add_network(self, *, checkpoint: bool = False) -> None:
        """Adds --trust, for run folders whose network is of another package, and --checkpoint."""
        add = self.add_argument_group("network").add_argument
        if checkpoint:
            default: Any = {"default": "best", "help": "default: %(default)s"}
            add("--checkpoint", choices=CHECKPOINTS, **default)
        trusted = "whose classes a run folder may name; may be repeated"
        add("--trust", action="append", default=[], metavar="PACKAGE", help=trusted)

    def error(self, message: str) -> NoReturn:
        """Prints the usage and the mistake, and ends with 2."""
        self.print_usage(sys.stderr)
        error(message, word=f"{self.prog}: error")
        raise SystemExit(MISTAKE)

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Returns the arguments; exits with 2 if one is wrong."""
        return self.parse_intermixed_args(arguments)


def share(ends: str) -> Callable[[str], float]:
    """Returns `check_share` for add_argument's type."""

    def read(text: str) -> float:
        try:
            return check_share(text, ends)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def check_share(value: str | float, ends: str, *, name: str = "") -> float:
    """Returns a number from 0 to 1; ValueError for others and, by ``ends``, for 0 or 1.

    ``ends``: "[]"; 0 does not pass with "(" instead, 1 not with ")". ``name``: in the message.
    """
    with contextlib.suppress(ValueError):
        number = float(value)
        left_out = {0.0: ends[0] == "(", 1.0: ends[1] == ")"}
        if 0 <= number <= 1 and not left_out.get(number):
            return number
    raise ValueError(f"{name} must be a number in {ends[0]}0, 1{ends[1]}; got {value}".lstrip())


def start(command: str) -> int:
    """Runs a command by ``sys.argv`` and returns its exit code.

    --help, a wrong argument and a missing file end it before it imports torch, which takes seconds.
    """
    global started
    started = time.monotonic()
    args = import_module(f"pneumo.arguments.{command}").parse(sys.argv[1:])
    if message := _missing(args):
        error(message)
        return MISTAKE
    return import_module(MODULES.get(command, f"pneumo.{command}")).main() or 0


def _missing(args: argparse.Namespace | None) -> str | None:
    """Returns a message for the first file or folder that does not exist."""
    for name, option in INPUTS.items():
        places = getattr(args, name, None) or []
        for place in places if isinstance(places, list) else [places]:
            if not os.path.exists(place) and not str(place).startswith(PACKAGED):  # noqa: PTH110
                return f"{option} must exist; there is no {place}"
    return None


def command(
    name: str, *, stopped: str = "stopped"
) -> Callable[[Callable[[argparse.Namespace], int]], Callable[..., int]]:
    """Returns a decorator: a function of parsed arguments becomes a command, see `run`.

    The command takes a list of words, by default those of the command line.
    """

    def decorate(function: Callable[[argparse.Namespace], int]) -> Callable[..., int]:
        def main(words: Sequence[str] | None = None) -> int:
            args = import_module(f"pneumo.arguments.{name}").parse(words)
            return run(lambda: function(args), stopped=stopped)

        return main

    return decorate


def run(command: Callable[[], int], *, stopped: str = "stopped") -> int:
    """Returns the exit code of ``command``; ValueError and OSError become one line on stderr.

    ``stopped`` is the message after Ctrl-C.
    """
    with contextlib.suppress(AttributeError, ValueError):  # replaced by an object of another kind
        # a terminal that cannot show a name must still show the table
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return command()
    except BrokenPipeError:  # the reader of standard output has ended, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as mistake:
        full = isinstance(mistake, OSError) and mistake.errno in atomic.FULL
        error(f"{mistake}{'. Make room, or name another place' * full}")
        return getattr(mistake, "exit_code", MISTAKE)
    except KeyboardInterrupt:
        sys.stderr.write(f"{stopped}\n")
        return STOPPED


def write(text: str, *, file: TextIO, style: str = "") -> None:
    """Writes text; in a style of rich only on a terminal, and without NO_COLOR."""
    if not style or not file.isatty() or os.environ.get("NO_COLOR"):
        file.write(text)
        return
    from rich.console import Console  # a tenth of a second that most calls need not wait for
    from rich.text import Text

    Console(file=file).print(Text(text, style), end="", soft_wrap=True)


def note(text: str) -> None:
    """Prints a note for the user on standard error."""
    write(f"note: {text}\n", file=sys.stderr, style="yellow")


def error(text: str, *, word: str = "error") -> None:
    """Prints an error on standard error."""
    write(f"{word}: {text}\n", file=sys.stderr, style="red")


def check_installed(purpose: str, *packages: str, extra: str) -> None:
    """Raises ValueError if a package of an extra is missing; imports none of them."""
    for name in packages:
        if find_spec(name) is None:
            raise ValueError(
                f"{purpose} needs {', '.join(packages)}; {name} is not installed. Install it with "
                f"python -m pip install 'pneumo[{extra}]'"
            )


def counted(number: int, noun: str) -> str:
    """Returns a number and its noun, in the plural except for 1: 1 file, 1,200 files."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def nearest(word: str, choices: Iterable[str]) -> str:
    """Returns " Did you mean …?" with the choice most like ``word``, or nothing.

    A dotted choice also matches by its last part: lr is optimizer.lr.
    """

    def alike(choice: str) -> tuple[float, float]:
        whole_word = SequenceMatcher(None, word, choice).ratio()
        last = SequenceMatcher(None, word.rpartition(".")[2], choice.rpartition(".")[2]).ratio()
        group = 1 if "." not in word + choice and whole_word > 0.75 else 0
        return group + max(whole_word, last if last > 0.7 else 0), whole_word

    best = max(choices, key=alike, default="")
    return f" Did you mean {best}?" if best and alike(best)[0] >= 0.5 else ""


def short_names(names: Sequence[str], *, width: int) -> dict[str, str]:
    """Returns for each run's name about ``width`` letters that distinguish it from the others.

    It is longer only if neither its first nor its last letters do.

    >>> list(short_names(["runs/model=tiny,seed=0", "runs/model=large,seed=0"], width=18).values())
    ['tiny', 'large']
    >>> list(short_names(["runs/model=tiny,seed=0,data=kermany"], width=18).values())
    ['tiny,seed=0,data=…']
    """
    parts = {name: re.split("[/,]", name.rstrip("/")) for name in names}
    folders = [name for name in names if not name.startswith(PACKAGED)]
    shared = set.intersection(*(set(parts[name]) for name in folders or names))
    if len(folders or names) == 1:  # its folder's name
        shared = set((folders or names)[0].rstrip("/").split("/")[:-1])
    texts = {name: ",".join(p for p in of if p not in shared) or name for name, of in parts.items()}
    if all(text.startswith("model=") for name, text in texts.items() if name in folders):
        texts = {name: text.removeprefix("model=") for name, text in texts.items()}
    fitting = {n: t if len(t) <= width else t.removeprefix(PACKAGED) for n, t in texts.items()}
    short = {n: t if len(t) <= width else f"{t[: width - 1]}…" for n, t in fitting.items()}
    for longer in ({n: f"…{t[1 - width :]}" for n, t in fitting.items()}, texts):
        times = Counter(short.values())
        short = {n: t if times[t] == 1 else longer[n] for n, t in short.items()}
    return short
