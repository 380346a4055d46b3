"""The folder of a report over any set of run folders: tables, pictures, one page. No torch."""

import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from tqdm import tqdm

from pneumo import atomic, untrusted
from pneumo.evaluation import published
from pneumo.evaluation.detection import MAP_SENTENCE
from pneumo.evaluation.scores import SCORES
from pneumo.report import detection, figures, overview
from pneumo.report.comparisons import compare
from pneumo.report.drawing import MOST_SHOWN, Picture, draw, inline_svg
from pneumo.report.ensembles import add_ensembles
from pneumo.report.findings import caveats, commits, findings
from pneumo.report.groups import Group, group_trials
from pneumo.report.reading import read_run
from pneumo.report.scores import run_rows, summary_rows
from pneumo.report.table import titled, to_csv
from pneumo.report.tables import claim_table, tables
from pneumo.report.templates import render_markdown, render_page, render_text
from pneumo.report.trials import Problem, Trial
from pneumo.report.wording import DASH, MINUS, PLUS_MINUS
from pneumo.runs import output
from pneumo.runs.run import Run
from pneumo.runs.run_folder import find_runs, not_started

PAGE = "report.html"
SUMMARY = "summary.csv"
TABLES = ("runs.csv", SUMMARY, "comparisons.csv", "summary.md", "summary.tex")
AUDIT = "audit.html"
SPECIAL = re.compile(r"([&%$#_{}])")
SYMBOLS = {MINUS: "$-$", PLUS_MINUS: r"$\pm$", DASH: "--", "~": r"\textasciitilde{}"}
SYMBOLS |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}


def write_report(
    roots: Sequence[Path], *, out: Path | None = None, audit: Path | None = None
) -> Path:
    """Writes the report of all runs at and below the folders roots, and returns its folder.

    The folder, by default `report` in the first root, appears whole or not at all, and replaces an
    earlier report. Runs that are not finished or not comparable are named in it. Its page links to
    ``audit``.

    Raises:
        FileNotFoundError: a root is missing, or none of them holds a run.
        ValueError: out holds files that no report wrote, or audit is of another data set.
    """
    folder = (out or roots[0] / "report").resolve()
    pictures = (*figures.PICTURES, *detection.PICTURES, *overview.PICTURES)
    drawn = [f"-{name}.{kind}" for name in pictures for kind in ("png", "svg", "pdf")]
    ends = (PAGE, *TABLES, detection.FILE, *drawn)

    def foreign(names: list[str]) -> list[str]:  # all of them without a page
        others = [name for name in names if not name.endswith(ends)]
        return others or names * (PAGE not in names)

    output.check_folder(folder, earlier="an earlier report", foreign=foreign)
    paths, problems = _find(roots)
    bar = tqdm(paths.items(), desc="reading runs", unit=" runs", disable=None)
    runs = [read_run(path, name=name) for path, name in bar]
    groups, duplicates = group_trials([run for run in runs if isinstance(run, Trial)])
    problems = [*problems, *(run for run in runs if isinstance(run, Problem)), *duplicates]
    detectors = detection.group_detectors([run for run in runs if isinstance(run, Run)])
    add_ensembles(groups)
    kinds = {group.kind for group in groups}
    link = audit_link(audit, report=folder, kinds=kinds) if audit else None
    options = {"--out": out, "--audit": audit}
    words = [*map(str, roots), *(str(w) for pair in options.items() if pair[1] for w in pair)]
    command = shlex.join(["python", "-m", "pneumo.report", *words])
    of: dict[str, Any] = {"detectors": detectors, "problems": problems, "audit": link}
    files = _files(values_of(groups, command=command, **of))
    with atomic.replacing_folder(folder) as new:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (new / name).write_bytes(data)
    return folder


def _files(values: Mapping[str, Any]) -> dict[str, str | bytes]:
    """The content of each file by its name."""
    groups, detectors = values["groups"], values["detectors"]
    rows = {
        "runs.csv": run_rows(groups, values["problems"]),
        SUMMARY: summary_rows(groups),
        "comparisons.csv": values["differences"].drop(columns=["kind", "first", "second"]),
    }
    if detectors:
        rows[detection.FILE] = pd.DataFrame([r for group in detectors for r in group.csv_rows()])
    files: dict[str, str | bytes] = {name: to_csv(each) for name, each in rows.items()}
    for slug, pictures in values["pictures"].items():
        for name, (_, kinds) in pictures.items():
            files |= {f"{slug}-{name}.{kind}": data for kind, data in kinds.items()}
    return files | {
        "summary.md": render_markdown("summary.md.j2", **values),
        "summary.tex": "\n".join([*render_text("summary.tex.j2", **values), ""]),
        PAGE: render_page("report.html.j2", **values),
    }


def _drawn(subjects: Sequence[Any], pictures: Mapping[str, Picture]) -> dict[str, dict[str, Any]]:
    """Each subject's pictures that have something to show: by its slug, with their files."""
    return {
        subject.slug: {
            name: (picture, kinds)
            for name, picture in pictures.items()
            if (kinds := draw(picture.draw, subject)) is not None
        }
        for subject in subjects
    }


def _find(roots: Sequence[Path]) -> tuple[dict[Path, str], list[Problem]]:
    """Run folders with the names to show for them, each once, and problems.

    Problems are roots without runs, and runs that a sweep plans and has not started.
    """
    resolved = [root.resolve() for root in roots]
    top = Path(os.path.commonpath(resolved))
    top = top.parent if top in resolved else top
    paths: dict[Path, str] = {}
    problems = []
    for root in resolved:
        runs = find_runs(root)
        paths |= {run: run.relative_to(top).as_posix() for run in runs}
        if not runs:
            name = root.relative_to(top).as_posix()
            problems.append(Problem(name, "empty", "holds no run folder"))
        for sweep in sorted({root, *(run.parent for run in runs if run != root)}):
            for plan in not_started(sweep):
                fold = "" if plan["fold"] is None else f",protocol.fold={plan['fold']}"
                run = sweep.relative_to(top) / f"model={plan['model']},seed={plan['seed']}{fold}"
                why = "the sweep plans it; resume with sweep=DIR and the arguments that added it"
                problems.append(Problem(run.as_posix(), "not started", why, **plan))
    if not paths:
        raise FileNotFoundError(
            "DIR must hold a run folder, one with status.json, metrics.json or "
            f".hydra/config.yaml; got {', '.join(map(str, roots))}. "
            "Make runs with `python -m pneumo.train`"
        )
    return paths, problems


def audit_link(folder: Path, *, report: Path, kinds: Collection[str]) -> dict[str, str]:
    """Returns name, finding and href of the audit in a folder, seen from the folder ``report``.

    Raises:
        ValueError: the folder holds no audit, a broken one, or one of a data set not in ``kinds``.
    """
    try:
        audit = untrusted.read_json(folder / "audit.json")
        data, finding = audit["data"], str(audit["findings"][0])
        name, kind = str(data["name"]), data["kind"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise ValueError(
            f"--audit must be a folder that python -m pneumo.audit DIR wrote, with {AUDIT} and a "
            f"valid audit.json; got {folder}"
        ) from None
    if kind not in kinds:
        raise ValueError(
            f"--audit must be of the runs' data set ({', '.join(sorted(kinds))}); {folder} is of "
            f"{kind}. Audit theirs with python -m pneumo.audit DIR"
        )
    way = Path(os.path.relpath(folder.resolve() / AUDIT, report.resolve())).as_posix()
    return {"name": name, "finding": finding, "href": quote(way)}


def values_of(
    groups: Sequence[Group],
    *,
    detectors: Sequence[detection.DetectionGroup] = (),
    problems: Sequence[Problem] = (),
    **more: Any,
) -> Mapping[str, Any]:
    """Returns the values of all templates; ``more``: audit and command."""
    differences, tested = compare(groups), overview.overviews(groups)
    sentences = [group.finding for group in detectors]
    if groups or not detectors:
        sentences = [*findings(groups, problems=problems, differences=differences), *sentences]
    # the first caveat of each group before the second of any
    title = "{}: {}" if len(groups) > 1 else "{1}"
    named = [[title.format(group.title, text) for text in caveats(group)] for group in groups]
    rows = [{"run": p.name, "state": p.state, "reason": p.reason} for p in problems]
    return {
        **more,
        "groups": groups,
        "detectors": detectors,
        "problems": problems,
        "differences": differences,
        "overviews": tested,
        "pictures": _drawn(groups, figures.PICTURES)
        | _drawn(detectors, detection.PICTURES)
        | _drawn(tested, overview.PICTURES),
        "files": [*TABLES, *([detection.FILE] if detectors else [])],
        "sentences": sentences,
        "tables_of": {
            g.slug: tables(g, differences[differences["group"] == g.slug]) for g in groups
        },
        "caveats": [text for same in zip_longest(*named) for text in same if text],
        "claims": claim_table(groups),
        "left_out": titled(rows, "run", "state", "reason", texts=("state", "reason")),
        "num_runs": sum(len(g.trials) for g in groups) + sum(len(g.runs) for g in detectors),
        "not_comparable": detection.NOT_COMPARABLE,
        "detection_map": MAP_SENTENCE,
        "max_shown": MOST_SHOWN,
        "paper": published,
        "scores": SCORES,
        "commits": commits,
        "inline_svg": inline_svg,
        "tex": escaped_tex,
    }


def escaped_tex(text: str) -> str:
    r"""Returns text without commands of LaTeX.

    >>> escaped_tex("a_b 5 %")
    'a\\_b 5 \\%'
    """
    text = SPECIAL.sub(r"\\\1", text.replace("\\", "/"))
    return "".join(SYMBOLS.get(character, character) for character in text)
