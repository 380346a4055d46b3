"""AUROC on a random split, on the set's own test split, and on images of other sources."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pneumo.cli import counted
from pneumo.data.sets import class_of
from pneumo.report.groups import DEBUG, Cell, Group, spread
from pneumo.report.scores import Intervals
from pneumo.report.table import Row, Table
from pneumo.report.trials import number
from pneumo.report.wording import decimal, interval
from pneumo.runs.run import Run

RANDOM, OFFICIAL, EXTERNAL = COLUMNS = ("random", "official", "external")
TITLES = {"network": "Network", RANDOM: "Random split", OFFICIAL: "Official test split"}
TITLES |= {EXTERNAL: "External images"}
OF_PROTOCOL = {"official": OFFICIAL, "own": OFFICIAL}  # others split the images at random


class Result(NamedTuple):
    """The AUROC of the trials of one network on one set of test images."""

    network: str
    kind: str  # the data set it was trained on
    protocol: str
    column: str  # one of COLUMNS
    tested_on: str  # kind, or the name of external images
    value: float  # median over trials
    low: float  # lowest, or the end of a single trial's 95 % interval; NaN if unknown
    high: float
    trials: int


def of_run(run: Run, assessment: Mapping[str, Any] | None) -> dict[str, str]:
    """Returns the cells of a run by COLUMNS; "" if missing, as all without its assessment.

    Raises:
        FileNotFoundError, ValueError: the run is broken, or a result is of other weights.
    """
    cells = dict.fromkeys(COLUMNS, "")
    if assessment is not None:
        cells[OF_PROTOCOL.get(run.metrics["protocol"], RANDOM)] = _text(*_ends(assessment))
        named = ((name, _ends(result["assessment"])) for name, result in run.external.items())
        cells[EXTERNAL] = "; ".join(f"{name} {_text(*ends)}" for name, ends in named)
    return cells


def results(groups: Iterable[Group], intervals: Intervals) -> list[Result]:
    """Returns the results of all networks and baselines, those on their own test split first."""
    rows = []
    for group in groups:
        for cell in (c for c in group.cells if c.trials and group.protocol != DEBUG):
            about = (cell.label, group.kind, group.protocol)
            own = OF_PROTOCOL.get(group.protocol, RANDOM)
            unknown = (float("nan"), float("nan"))
            ends = [intervals.get(trial.name, {}).get("auroc", unknown) for trial in cell.trials]
            scored = [(t.score("auroc"), *e) for t, e in zip(cell.trials, ends, strict=True)]
            rows.append(_result(*about, own, group.kind, scored))
            for name, scored in _external(cell).items():
                rows.append(_result(*about, EXTERNAL, name, scored))
    return sorted(rows, key=lambda row: row.column == EXTERNAL)


def table(rows: Sequence[Result]) -> Table:
    """Returns a row for each network and data set it was trained on, with a column for each place.

    Without rows if all images are generated and there are no external results.
    """
    if all(class_of(row.kind).generated and row.column != EXTERNAL for row in rows):
        return Table(TITLES, [])
    by_network: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for row in rows:
        cells = by_network.setdefault((row.network, row.kind), {name: [] for name in COLUMNS})
        cells[row.column].append(row)
    lines: list[Row] = [
        {"network": (network, f"trained on {kind}")}
        | {name: _cell(same) for name, same in cells.items()}
        for (network, kind), cells in by_network.items()
    ]
    return Table(TITLES, lines)


def _external(cell: Cell) -> dict[str, list[tuple[float, float, float]]]:
    by_name = defaultdict(list)
    for trial in cell.trials:
        for name, result in trial.external.items():
            by_name[name].append(_ends(result["assessment"]))
    return by_name


def _ends(assessment: Mapping[str, Any]) -> tuple[float, float, float]:
    score = assessment["scores"]["auroc"]
    return number(score, "value"), number(score, "low"), number(score, "high")


def _result(
    network: str,
    kind: str,
    protocol: str,
    column: str,
    tested_on: str,
    scored: Sequence[tuple[float, float, float]],
) -> Result:
    over = spread([value for value, _, _ in scored])
    low, high = scored[0][1:] if len(scored) == 1 else (over.low, over.high)
    about = (network, kind, protocol, column, tested_on)
    return Result(*about, over.median, low, high, len(scored))


def _cell(same: Sequence[Result]) -> tuple[str, str]:
    """Returns the first AUROC, and below it its range and origin, and the others."""
    if not same:
        return "", ""
    lines = [f"{interval(same[0].low, same[0].high)}, {_origin(same[0])}"]
    lines += [f"and {_text(row.value, row.low, row.high)}, {_origin(row)}" for row in same[1:]]
    return decimal(same[0].value), "\n".join(lines)


def _origin(row: Result) -> str:
    name = f"{row.tested_on}, " * (row.column == EXTERNAL) + f"{row.protocol} protocol"
    return name if row.trials == 1 else f"{name}, {counted(row.trials, 'trial')}"


def _text(value: float, low: float, high: float) -> str:
    return f"{decimal(value)} ({interval(low, high)})"
