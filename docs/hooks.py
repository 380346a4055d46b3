"""The parts of the site that are generated when it is built: help of the commands, and conf/."""

import contextlib
import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

from pneumo import cli
from pneumo.__main__ import VERBS
from pneumo.arguments.train import CONF

COLUMNS = "80"  # of the help


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Returns a page with its markers replaced; called by mkdocs."""
    for marker, make in (("<!-- help -->", commands), ("<!-- settings -->", settings)):
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return markdown


def commands() -> str:
    """Returns a section for each verb, with its help."""
    return "\n".join(f"## {verb}\n\n```text\n{help_text(verb)}```\n" for verb in VERBS)


def help_text(verb: str) -> str:
    """Returns what ``pneumo VERB --help`` prints."""
    printed = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [cli.PROGRAM, verb]),
        mock.patch.dict(os.environ, COLUMNS=COLUMNS),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        import_module(f"pneumo.arguments.{verb}").parse(["--help"])
    return printed.getvalue()


def settings() -> str:
    """Returns train.yaml and a section for each group of conf/, with the text of its files."""
    groups = sorted(path for path in CONF.iterdir() if path.is_dir() and path.name != "base")
    sections = [f"### Every run\n\n{details(CONF / 'train.yaml')}"]
    for group in groups:
        files = sorted(group.glob("*.yaml"))
        sections.append(f"### {group.name}=\n\n" + "\n\n".join(map(details, files)))
    shared = [details(path) for path in sorted((CONF / "base").glob("*.yaml"))]
    return "\n\n".join([*sections, "### Shared by choices\n\n" + "\n\n".join(shared)])


def details(path: Path) -> str:
    """Returns a file of conf/ that unfolds, titled by name and first sentence."""
    lines = path.read_text().splitlines()
    comments = [line[2:] for line in lines if line.startswith("# ") and "@package" not in line]
    first = " ".join(comments).partition(". ")[0].rstrip(".").replace('"', "'")
    text = "\n".join(f"    {line}".rstrip() for line in lines)
    title = f"{path.stem}: {first}" if first else path.stem
    return f'??? quote "{title}"\n    ```yaml\n{text}\n    ```'
