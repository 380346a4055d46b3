"""The folder of a report over any set of run folders: tables, pictures, one page. No torch."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from tqdm import tqdm

from pneumo import atomic
from pneumo.evaluation.intervals import Interval, score_intervals
from pneumo.evaluation.scores import SCORES
from pneumo.report import detection, page
from pneumo.report.audit_link import audit_link
from pneumo.report.compared import compare, comparison_rows
from pneumo.report.drawing import inline_svg
from pneumo.report.ensembles import add_ensembles
from pneumo.report.figures import PICTURES, draw
from pneumo.report.groups import group_trials
from pneumo.report.headline import headline
from pneumo.report.reading import read_run
from pneumo.report.scores import long_table, run_rows, summary_rows
from pneumo.report.sections import Section, sections
from pneumo.report.table import to_csv
from pneumo.report.trials import Problem, Trial
from pneumo.runs import output
from pneumo.runs.run_folder import find_runs, not_begun

PAGE = "report.html"
TABLES = ("runs.csv", "summary.csv", "comparisons.csv", "summary.md")
WITH_INTERVAL = tuple(name for name in SCORES if name != "average_precision")


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
    paths, problems = _find(roots)
    detectors, paths, broken = detection.read(paths)
    of_detectors = detection.sections(detectors)
    trials, unread, intervals = _read(paths)
    groups, problems = group_trials(trials, problems=[*problems, *broken, *unread])
    add_ensembles(groups)
    ensembles = [t for group in groups for cell in group.ensembles for t in cell.trials]
    intervals |= {trial.name: _intervals(trial) for trial in ensembles}
    compared = compare(groups)
    sentences = []
    if groups or not of_detectors:
        sentences = headline(groups, problems=problems, compared=compared)
    report = page.Report(
        [*sentences, *(part.sentence for part in of_detectors)],
        sections(groups, intervals=intervals, compared=compared),
        problems,
        of_detectors,
        audit_link(audit, report=folder, kinds={g.kind for g in groups}) if audit else None,
        [*TABLES, *([detection.FILE] if of_detectors else [])],
    )
    files = detection.draw(of_detectors)
    for section in report.sections:
        files |= _pictures(section)
    table = long_table(groups, intervals)
    files["runs.csv"] = to_csv(run_rows(groups, table, problems=problems))
    files["summary.csv"] = to_csv(summary_rows(groups, table))
    files["comparisons.csv"] = to_csv(comparison_rows(compared))
    if of_detectors:
        files[detection.FILE] = to_csv(detection.csv_rows(of_detectors))
    files["summary.md"] = page.markdown(report)
    files[PAGE] = page.html(report)
    _write(folder, files=files)
    return folder


def _find(roots: Sequence[Path]) -> tuple[dict[Path, str], list[Problem]]:
    """Run folders with the names to show for them, each once, and problems.

    Problems are roots without runs, and runs that a sweep plans and that were not started.
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
            problems.append(
                Problem(root.relative_to(top).as_posix(), "no runs", "holds no run folder")
            )
        for sweep in sorted({root, *(run.parent for run in runs if run != root)}):
            name = sweep.relative_to(top).as_posix()
            problems += [_not_started(name, planned) for planned in not_begun(sweep)]
    if not paths:
        raise FileNotFoundError(
            "DIR must hold a run folder, one with status.json, metrics.json or "
            f".hydra/config.yaml; got {', '.join(map(str, roots))}; "
            "make runs with `python -m pneumo.train`"
        )
    return paths, problems


def _not_started(sweep: str, planned: Mapping[str, Any]) -> Problem:
    fold = "" if planned["fold"] is None else f",protocol.fold={planned['fold']}"
    name = f"{sweep}/model={planned['model']},seed={planned['seed']}{fold}"
    reason = "the sweep plans it; resume with sweep=DIR"
    return Problem(name, "not started", reason, **planned)


def _read(
    paths: dict[Path, str],
) -> tuple[list[Trial], list[Problem], dict[str, dict[str, Interval]]]:
    """Trials, problems, and for each trial with predictions its intervals."""
    trials, problems, intervals = [], [], {}
    for path, name in tqdm(paths.items(), desc="reading runs", unit=" runs", disable=None):
        run = read_run(path, name=name)
        if isinstance(run, Problem):
            problems.append(run)
            continue
        trials.append(run)
        if run.label.size:
            intervals[name] = _intervals(run)
    return trials, problems, intervals


def _intervals(trial: Trial) -> dict[str, Interval]:
    return score_intervals(
        trial.label, trial.probability, patient=trial.patient, names=WITH_INTERVAL
    )


def _pictures(section: Section) -> dict[str, str | bytes]:
    """Draws the pictures of a group into its section, and returns them as files."""
    files: dict[str, str | bytes] = {}
    for name, picture in PICTURES.items():
        drawn = draw(picture.draw, section.group)
        if drawn is None:
            continue
        raster, vector = drawn
        stem = f"{section.group.slug}-{name}"
        files |= {f"{stem}.png": raster, f"{stem}.svg": vector}
        section.pictures[name] = Markup(inline_svg(vector, label=picture.title))  # noqa: S704
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
