"""The command ``pneumo VERB ...``, the same as ``python -m pneumo.VERB ...``."""

import os
import sys
from importlib import import_module

from pneumo import __version__, cli

VERBS = {  # with their lines of `pneumo --help`, in the order of use
    "download": "downloads the public radiographs",
    "audit": "checks a data set for copies, unreadable files and shortcuts",
    "train": "trains a network, or a sweep of runs: KEY=VALUE settings",
    "evaluate": "prints scores, operating point and calibration of finished runs",
    "predict": "writes a probability for each image",
    "calibrate": "fits a threshold for your site to a few labelled images",
    "heatmap": "draws heat maps of the evidence for a class, and scores them",
    "export": "writes an ONNX file and a model card",
    "report": "writes tables, figures and one page on runs",
}
COMPLETION = ("-sc", "--shell-completion")  # Hydra's option


def main() -> int:
    """Runs the command; returns its exit code, 2 for an unknown verb."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(help_text())
        return 0
    if arguments[0] == "--version":
        sys.stdout.write(f"{cli.PROGRAM} {__version__}\n")
        return 0
    if arguments[0] in COMPLETION:
        return complete(arguments)
    if arguments[0] not in VERBS:
        cli.error(
            f"the verb must be one of {', '.join(VERBS)}; got {arguments[0]!r}."
            f"{cli.nearest(arguments[0], VERBS)}"
        )
        return cli.MISTAKE
    return run(arguments[0], arguments[1:])


def run(verb: str, arguments: list[str]) -> int:
    """Runs ``python -m pneumo.VERB``; returns its exit code."""
    sys.argv = [f"{cli.PROGRAM} {verb}", *arguments]  # Hydra reads them there
    return cli.start(verb)


def help_text() -> str:
    """Returns a line for each verb."""
    lines = "".join(f"  {verb:<10}{text}\n" for verb, text in VERBS.items())
    return (
        "Small networks that detect pneumonia in chest X-rays. Not a medical device.\n\n"
        f"{cli.PROGRAM} VERB ...\n{lines}\n{cli.PROGRAM} VERB --help describes a verb.\n"
    )


def complete(arguments: list[str]) -> int:
    """Prints completions: verbs here, the settings of train by Hydra; returns the exit code.

    For other verbs it prints nothing, and the shell completes names of files.
    """
    verb, space, rest = os.environ.get("COMP_LINE", "").partition(" ")[2].lstrip().partition(" ")
    if not arguments[1:] or not arguments[1].startswith("query="):  # the shell's own script
        sys.argv[0] = cli.PROGRAM
    elif not space:
        sys.stdout.write(" ".join(name for name in VERBS if name.startswith(verb)) + "\n")
        return 0
    elif verb != "train":
        return 0
    else:
        os.environ["COMP_LINE"] = f"{cli.PROGRAM} {rest}"
    return import_module("pneumo.train").main() or 0


if __name__ == "__main__":
    sys.exit(main())
