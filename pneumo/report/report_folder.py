"""The folder of a report over any set of run folders: tables, pictures, one page. No torch."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from pneumo import atomic
from pneumo.report import detection, figures, page, recipe_figures
from pneumo.report.comparisons import compare
from pneumo.report.drawing import Picture, draw
from pneumo.report.ensembles import add_ensembles
from pneumo.report.groups import Group, group_trials
from pneumo.report.overview import overviews
from pneumo.report.reading import read_run
from pneumo.report.scores import long_table, run_rows, summary_rows
from pneumo.report.table import to_csv
from pneumo.report.templates import render_markdown, render_page, render_text
from pneumo.report.trials import Problem, Trial
from pneumo.runs import output
from pneumo.runs.run import Run
from pneumo.runs.run_folder import find_runs, not_started

PAGE = "report.html"
SUMMARY = "summary.csv"
TABLES = ("runs.csv", SUMMARY, "comparisons.csv", "summary.md", "summary.tex")


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
    pictures = (*figures.PICTURES, *detection.PICTURES, *recipe_figures.OF_OVERVIEWS)
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
    link = page.audit_link(audit, report=folder, kinds=kinds) if audit else None
    options = {"--out": out, "--audit": audit}
    words = [*map(str, roots), *(str(w) for pair in options.items() if pair[1] for w in pair)]
    command = shlex.join(["python", "-m", "pneumo.report", *words])
    files = _files(groups, problems, detectors, audit=link, command=command)
    with atomic.replacing_folder(folder) as new:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (new / name).write_bytes(data)
    return folder


def _files(
    groups: Sequence[Group],
    problems: Sequence[Problem],
    detectors: Sequence[detection.DetectionGroup],
    **about: Any,
) -> dict[str, str | bytes]:
    """The content of each file by its name."""
    differences, tested = compare(groups), overviews(groups)
    rows = {
        "runs.csv": run_rows(groups, problems),
        SUMMARY: summary_rows(long_table(groups)) if groups else pd.DataFrame(),
        "comparisons.csv": differences.drop(columns=["kind", "first", "second"]),
    }
    if detectors:
        rows[detection.FILE] = pd.DataFrame([r for group in detectors for r in group.csv_rows()])
    files: dict[str, str | bytes] = {name: to_csv(each) for name, each in rows.items()}
    drawn = _drawn(groups, figures.PICTURES) | _drawn(detectors, detection.PICTURES)
    drawn |= _drawn(tested, recipe_figures.OF_OVERVIEWS)
    for slug, pictures in drawn.items():
        for name, (_, kinds) in pictures.items():
            files |= {f"{slug}-{name}.{kind}": data for kind, data in kinds.items()}
    values = page.content(
        groups,
        detectors=detectors,
        problems=problems,
        differences=differences,
        overviews=tested,
        pictures=drawn,
        files=[*TABLES, *([detection.FILE] if detectors else [])],
        **about,
    )
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
            problems.append(Problem(name, "no runs", "holds no run folder"))
        for sweep in sorted({root, *(run.parent for run in runs if run != root)}):
            for plan in not_started(sweep):
                fold = "" if plan["fold"] is None else f",protocol.fold={plan['fold']}"
                run = sweep.relative_to(top) / f"model={plan['model']},seed={plan['seed']}{fold}"
                why = "the sweep plans it; resume with sweep=DIR"
                problems.append(Problem(run.as_posix(), "not started", why, **plan))
    if not paths:
        raise FileNotFoundError(
            "DIR must hold a run folder, one with status.json, metrics.json or "
            f".hydra/config.yaml; got {', '.join(map(str, roots))}. "
            "Make runs with `python -m pneumo.train`"
        )
    return paths, problems
