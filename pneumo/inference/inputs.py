"""The RUN and FILE arguments of predict become run folders and the names of radiographs."""

import codecs
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pneumo import cli
from pneumo.data import reader
from pneumo.runs import pretrained
from pneumo.runs.run_folder import looks_like_run


def split_paths(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the RUN arguments, which come first, and the FILE arguments after them.

    There is no RUN if the first is an image, existing or not, a folder that has one, or - for
    standard input. ValueError: a run is named after an image, so that another one would predict.
    """
    number = int(bool(paths) and not _is_image(paths[0]))
    while number and number < len(paths) and _is_run(paths[number]):
        number += 1
    if late := next(filter(_is_run, paths[number:]), None):
        raise ValueError(f"the runs come first, then the images; {late} is a run. Name it first")
    return list(paths[:number]), list(paths[number:])


def _is_run(path: str) -> bool:
    return path.startswith(pretrained.PREFIX) or looks_like_run(Path(path))


def _is_image(path: str) -> bool:
    if _is_run(path):
        return False
    if Path(path).is_dir():
        return bool(reader.find([path])[0])
    is_named = path == reader.STANDARD_INPUT or Path(path).suffix.lower() in reader.SUFFIXES
    return is_named or Path(path).exists()


def names(paths: Sequence[str], list_path: str | None = None) -> list[str]:
    """Returns the radiographs in files and folders, and in a list: a file with one path per line.

    Standard input is -. FileNotFoundError: there is no such list. ValueError: no image is named, or
    standard input twice.
    """
    if [*paths, list_path].count(reader.STANDARD_INPUT) > 1:
        raise ValueError("standard input is one image (-) or one list (--list -); got it twice")
    radiographs = find_noted(paths)
    if list_path is not None:
        radiographs += _listed(list_path)
    if not radiographs:
        raise ValueError(
            "there must be something to predict: name images, folders that hold some, - for an "
            "image on standard input, or --list FILE. The runs come first; got no image"
        )
    return radiographs


def find_noted(paths: Sequence[str]) -> list[str]:
    """Returns the radiographs in files and folders; a note reports how many files are none."""
    radiographs, others = reader.find(paths)
    if others:
        cli.note(
            f"left out {cli.counted(others, 'file')} in these folders: no image "
            f"({', '.join(reader.SUFFIXES)}), or a linked folder"
        )
    return radiographs


def _listed(path: str) -> list[str]:
    if path == reader.STANDARD_INPUT:
        data = sys.stdin.buffer.read()
    elif Path(path).exists() and not Path(path).is_dir():  # a pipe, too: --list <(find radiographs)
        data = Path(path).read_bytes()
    else:
        raise FileNotFoundError(f"--list must be a file with one path per line; there is no {path}")
    text = os.fsdecode(data.removeprefix(codecs.BOM_UTF8))
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
