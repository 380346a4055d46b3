"""The folder of a report over any set of run folders: tables, pictures, one page. No torch."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from tqdm import tqdm

from pneumo import atomic
from pneumo.evaluation.intervals import Interval, score_intervals
from pneumo.evaluation.metrics import COUNT_SCORES
from pneumo.report import detection, page, tables
from pneumo.report.audit_link import audit_link
from pneumo.report.compared import compare
from pneumo.report.drawing import inline_svg
from pneumo.report.ensembles import add_ensembles
from pneumo.report.figures import PICTURES, draw
from pneumo.report.findings import Section, headline, sections
from pneumo.report.groups import group_trials
from pneumo.report.markdown import summary_markdown
from pneumo.report.reading import find_runs, read_run
from pneumo.report.trials import Problem, Trial
from pneumo.runs import output
from pneumo.runs.run_folder import not_begun

PAGE = "report.html"
TABLES = ("runs.csv", "summary.csv", "comparisons.csv", "summary.md")
WITH_INTERVAL = (*COUNT_SCORES, "auroc")


def write_report(
    roots: Sequence[Path], *, out: Path | None = None, audit: Path | None = None
) -> Path:
    """Writes the report of all runs at and below the folders roots, and returns its folder.

    The folder, by default `report` in the first root, appears whole or not at all, and replaces an
    earlier report. Runs that are not finished or not comparable are named in it. Its page links the
    audit in ``audit``, if one is given.

    Raises:
        FileNotFoundError: if a root is not there, or none of them holds a run.
        ValueError: if a root holds a folder that is no run, sweep or set of them, out holds files
            that no report wrote, or audit is of another data set.
    """
    folder = (out or roots[0] / "report").resolve()
    output.check_folder(folder, earlier="an earlier report", foreign=_foreign)
    paths, problems = _found(roots)
    detectors, paths, broken = detection.read(paths)
    located = detection.sections(detectors)
    trials, unread, intervals = _read(paths)
    groups, problems = group_trials(trials, problems=[*problems, *broken, *unread])
    add_ensembles(groups)
    together = [t for group in groups for cell in group.ensembles for t in cell.trials]
    intervals |= {t.name: _intervals(t) for t in together}
    compared = compare(groups)
    said = []
    if groups or not located:
        said = headline(groups, problems=problems, compared=compared)
    said += detection.headline(located)
    parts = sections(groups, intervals=intervals, compared=compared)
    kinds = {str(part.group.kind) for part in parts}
    linked = audit_link(audit, report=folder, kinds=kinds) if audit else None
    files = detection.draw(located)
    for part in parts:
        files |= _pictures(part)
    rows = tables.run_rows(groups, problems=problems, intervals=intervals)
    files["runs.csv"] = tables.to_csv(rows)
    files["summary.csv"] = tables.to_csv(tables.summary_rows(groups))
    files["comparisons.csv"] = tables.to_csv(tables.comparison_rows(compared))
    summary = summary_markdown(said, parts=parts, problems=problems, audit=linked)
    files["summary.md"] = summary + detection.markdown(located)
    files[PAGE] = page.html(
        said,
        parts=parts,
        problems=problems,
        intervals=intervals,
        files=[*TABLES, *([detection.FILE] if located else [])],
        audit=linked,
        detection=located,
    )
    _write(folder, files=files)
    return folder


def _found(roots: Sequence[Path]) -> tuple[dict[Path, str], list[Problem]]:
    """Run folders with the names to show for them, each once; and what is not there.

    That is: roots that hold no run, and runs that a sweep among them asks for and never began.
    """
    resolved = [root.resolve() for root in roots]
    top = Path(os.path.commonpath(resolved))
    top = top.parent if top in resolved else top
    paths: dict[Path, str] = {}
    problems = []
    for given, root in zip(roots, resolved, strict=True):
        runs = find_runs(root if root.is_dir() else given)
        paths |= {run: run.relative_to(top).as_posix() for run in runs}
        if not runs:
            problems.append(
                Problem(root.relative_to(top).as_posix(), "no runs", "holds no run folder")
            )
        for sweep in sorted({root, *(run.parent for run in runs if run != root)}):
            problems += [_not_begun(sweep.relative_to(top).as_posix(), p) for p in not_begun(sweep)]
    if not paths:
        raise FileNotFoundError(
            "DIR must hold a run folder, one with status.json, metrics.json or "
            f".hydra/config.yaml; got {', '.join(map(str, roots))}; "
            "make runs with `python -m pneumo.train`"
        )
    return paths, problems


def _not_begun(sweep: str, planned: Mapping[str, Any]) -> Problem:
    name = f"{sweep}/model={planned['model']},seed={planned['seed']}"
    fold = "" if planned["fold"] is None else f",protocol.fold={planned['fold']}"
    return Problem(
        name + fold, "not begun", "the sweep asks for it; resume with sweep=DIR", **planned
    )


def _read(
    paths: dict[Path, str],
) -> tuple[list[Trial], list[Problem], dict[str, dict[str, Interval]]]:
    """Trials, problems, and for each trial with predictions its intervals."""
    trials, problems, intervals = [], [], {}
    with tqdm(total=2 * len(paths), desc="reading runs", unit=" steps", disable=None) as progress:
        for path, name in paths.items():
            run = read_run(path, name=name)
            if isinstance(run, Problem):
                problems.append(run)
            else:
                trials.append(run)
            progress.update(2 if isinstance(run, Problem) else 1)
        for trial in trials:
            if trial.label.size:
                intervals[trial.name] = _intervals(trial)
            progress.update()
    return trials, problems, intervals


def _intervals(trial: Trial) -> dict[str, Interval]:
    return score_intervals(
        trial.label, trial.probability, patient=trial.patient, names=WITH_INTERVAL
    )


def _pictures(part: Section) -> dict[str, str | bytes]:
    """Draws the pictures of a group into its section, and returns them as files."""
    files: dict[str, str | bytes] = {}
    for name, picture in PICTURES.items():
        drawn = draw(picture, part.group)
        if drawn is None:
            continue
        raster, vector = drawn
        stem = f"{part.group.slug}-{name}"
        files |= {f"{stem}.png": raster, f"{stem}.svg": vector}
        part.pictures[name] = Markup(inline_svg(vector, label=page.CAPTIONS[name][0]))  # noqa: S704
    return files


def _foreign(names: list[str]) -> list[str]:
    """Names in a folder that no report wrote; all where there is no page."""
    drawn = tuple(f"-{name}.{kind}" for name in PICTURES for kind in ("png", "svg"))
    others = [
        name
        for name in names
        if name not in (*TABLES, PAGE) and not name.endswith(drawn) and not detection.is_file(name)
    ]
    return others or (names if PAGE not in names else [])


def _write(folder: Path, *, files: dict[str, str | bytes]) -> None:
    with atomic.replacing_folder(folder) as new:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (new / name).write_bytes(data)
