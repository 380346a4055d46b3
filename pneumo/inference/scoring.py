"""Finished classifiers scored on their test split or on other images, alone and as an ensemble."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from pneumo import cli
from pneumo.choices import BALANCED
from pneumo.data import image
from pneumo.data.kermany import Kermany
from pneumo.data.sets import class_of
from pneumo.evaluation import paired
from pneumo.evaluation.assessment import assess, labels
from pneumo.evaluation.metrics import Array, at_prevalence
from pneumo.evaluation.operating_point import VOTE, OperatingPoint, fit_weights, vote_share
from pneumo.evaluation.ranking import not_shown
from pneumo.inference import ensemble
from pneumo.inference.leakage import Reader, images_digest, labelled, new_images
from pneumo.inference.networks import Networks, read_prepared
from pneumo.labels import CLASS_NAMES, NORMAL
from pneumo.runs import run_folder
from pneumo.runs.metrics import External
from pneumo.runs.network import weights_digest
from pneumo.runs.run import Run
from pneumo.runs.writer import RunWriter

BASELINE = re.compile(r"pneumo\.baselines\.\w+\.[A-Z]\w*")  # all that is built to be fitted
KEPT = ("ranking", "interval", "scores", "operating_point")  # of an assessment
COUNTS = ("images", "patients", *CLASS_NAMES)
_compared: set[tuple[Path, str]] = set()  # folders with the digest of a training's images


@dataclass(frozen=True)
class ScoredOn:
    """The images to score, and how they are known to be new to the runs."""

    name: str
    table: pd.DataFrame  # path, label, subtype, source, group
    root: Path | None  # of the images; None if predictions.csv is enough
    notes: tuple[str, ...] = ()


def own_root(run: Run) -> Path:
    """Returns the folder of the run's images; FileNotFoundError if they are missing.

    A note states if the files have the names of the run's images and other bytes.
    """
    root = found_root(run)
    if root is None:
        raise FileNotFoundError(images_missing(run))
    return root


def found_root(run: Run) -> Path | None:
    """Returns the folder of the run's images, None if they are missing; notes as `own_root`."""
    root = run.images()
    if root is not None:
        _note_other_bytes(run, root)
    return root


def _note_other_bytes(run: Run, root: Path) -> None:
    digest = run.metrics["data"].get("images_sha256")
    if not digest or (root, digest) in _compared:  # reads all images, and one note is enough
        return
    _compared.add((root, digest))
    if images_digest(root, run.split) != digest:
        cli.note(
            f"the images in {root} have the names of those that {run.name} was trained on, and "
            "other bytes: their scores are not those of its training"
        )


def images_missing(run: Run) -> str:
    """Returns the message for missing images of a run, with the setting of their folder."""
    kind, settings = class_of(run.metrics["data"]["kind"]), run_folder.flat(run.config)
    key = "cache_dir" if kind.generated else "root"
    place = str(settings.get(f"data.source.{key}"))
    place = str(settings.get(place[2:-1], place))  # ${data.root}
    if variable := re.search(r"oc\.env:(\w+)", place):
        what = "the cache" if kind.generated else "their folder"
        get = "; python -m pneumo.download downloads the set" * (kind is Kermany)
        return f"images of {run.name} not found; set {variable[1]} to {what}{get}"
    return f"images of {run.name} not found in {place}, where they were for the training"


def own_test_split(runs: Sequence[Run]) -> ScoredOn:
    """Returns the test split of the runs; of several, the images that all of them tested on.

    ValueError: see common_test, or too few images were tested on by all.
    """
    first, test = runs[0], runs[0].of_split("test")
    if len(runs) == 1:
        return ScoredOn(f"the test split of {first.name}", test, None)
    common = ensemble.common_test(runs)
    if all(len(run.of_split("test")) == len(common) for run in runs):
        return ScoredOn(f"the test split of all {len(runs)} runs", common, None)
    if common["label"].nunique() < 2:
        raise ValueError(
            "an ensemble must be scored on images that no run was trained on; these runs have "
            f"different splits, and {len(common):,} such images are left. Take runs of one "
            "split, or --data DIR"
        )
    note = (
        f"the runs have different splits: of the {len(test):,} test images of {first.name} "
        f"{len(common):,} are scored; left out are {len(test) - len(common):,} that a run was "
        "trained on, or on their patient, or that are not in every test split"
    )
    return ScoredOn("the test images that all runs share", common, None, (note,))


def other_images(
    runs: Sequence[Run], data: Path, *, read: Reader = labelled, allow_overlap: bool
) -> ScoredOn:
    """Returns the images of a folder; a note reports an overlap. Errors: see `new_images`."""
    root, table, overlaps = new_images(
        runs,
        data,
        read=read,
        allow_overlap=allow_overlap,
        instead="For the run's own test split leave --data out; to score all the same, with an "
        "optimistic result, give --allow-overlap",
    )
    leak = "LEAK: shares {} with the train split; the scores are optimistic; "
    notes = [
        f"{of}: {leak.format(shared) if shared else ''}compared {compared}"
        for of, shared, compared in overlaps
    ]
    if unknown := int((table["known_by"] == "").sum()):
        notes.append(
            f"{unknown:,} of these {len(table):,} images have no known patient; each counts as one "
            "of its own, so intervals are too narrow, and p too small, if a patient has several"
        )
    return ScoredOn(str(data), table, root, tuple(notes))


def rescored(run: Run, splits: Sequence[str], *, checkpoint: str, trust: Sequence[str] = ()) -> Run:
    """Returns the run with probabilities of another checkpoint than that of predictions.csv."""
    rows = run.scored[run.scored["split"].isin(splits)].sort_values("path", ignore_index=True)
    if rows.empty:
        return run.rescored(rows)
    networks = Networks([run], checkpoint=checkpoint, trust=trust)
    files = networks.score_files(own_root(run), rows["path"].tolist())
    return run.rescored(rows.assign(p_pneumonia=files.probability[0]))


def probabilities(
    scored_on: ScoredOn, runs: Sequence[Run], *, checkpoint: str, trust: Sequence[str] = ()
) -> tuple[pd.DataFrame, Array]:
    """Returns the table with each file's pixels, and (M, N) probabilities of PNEUMONIA."""
    table, paths = scored_on.table, scored_on.table["path"].tolist()
    if (root := scored_on.root) is not None:
        baselines = {run for run in runs if run.metrics.get("baseline")}
        rows = {run: refitted(run, own_root(run), root, paths) for run in baselines}
        if networks := [run for run in runs if run not in baselines]:
            files = Networks(networks, checkpoint=checkpoint, trust=trust).score_files(root, paths)
            rows |= dict(zip(networks, files.probability, strict=True))
        pixels = files.pixels if networks else [image.num_pixels(root / path) for path in paths]
        return table.assign(pixels=pixels), np.stack([rows[run] for run in runs])
    columns = [run.of_split("test").set_index("path")["p_pneumonia"][paths] for run in runs]
    if (root := runs[0].images()) is not None:
        table = table.assign(pixels=[image.num_pixels(root / path) for path in paths])
    return table, np.stack([column.to_numpy() for column in columns])


def refitted(run: Run, train_root: Path, root: Path, paths: Sequence[str]) -> Array:
    """Returns (N,) probabilities of PNEUMONIA of files below ``root`` by a baseline fitted again.

    Its run folder has no weights: it is fitted to its train split, below ``train_root``.
    ValueError: the run names another or no known class. UnreadableError: an image cannot be read.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    model = {key: value for key, value in run.settings["model"].items() if key != "name"}
    if not BASELINE.fullmatch(str(model.get("_target_"))):
        raise ValueError(f"{run.run_dir} must name a baseline; got {model.get('_target_')}")
    train = run.split[run.split["split"] == "train"]
    others = pd.DataFrame({"label": NORMAL, "group": "", "split": "new"}, index=range(len(paths)))
    table = pd.concat([train[["label", "group", "split"]], others], ignore_index=True)
    # absolute: of two folders
    names = [*(str(train_root / p) for p in train["path"]), *(str(root / p) for p in paths)]
    pixels = read_prepared(names, shape=(run.image_size, run.aspect))
    table, seed = table.assign(path=names), int(run.config["seed"])
    try:
        baseline = instantiate(model)
    except InstantiationException as error:
        raise ValueError(f"{run.run_dir} does not fit this version: {error}") from None
    fitted = baseline.fit(table, pixels, root=Path(), seed=seed)
    probability = np.asarray(fitted[len(train) :])
    if run.decision == BALANCED:  # as pneumo.baselines.run does
        probability = at_prevalence(probability, fitted_at=run.trained_at, prevalence=0.5)
    return probability


def warnings(runs: Sequence[Run], *, own: bool, checkpoint: str) -> list[str]:
    """Returns notes of the data sets, and on an epoch chosen on the test split."""
    of = "" if own else "of the images of the training: "
    data = [note for run in runs if (note := run.metrics["data"].get("note"))]
    notes = dict.fromkeys(f"{of}{note}" for note in data)
    selections = {run.name: run.metrics.get("selection") or {} for run in runs}
    optimistic = [name for name, chosen in selections.items() if chosen.get("on") == "test"]
    if own and checkpoint == "best" and optimistic:
        text = (
            f"the epoch of {', '.join(optimistic)} was chosen on the test split, which "
            "is optimistic; --checkpoint last is not"
        )
        notes[text] = None
    return list(notes)


def entries(
    runs: Sequence[Run], table: pd.DataFrame, probability: Array, prevalences: Sequence[float]
) -> dict[str, Any]:
    """Returns the scores of each of M runs, and of several their mean, vote and weighted mean.

    ``probability``: (M, N) of PNEUMONIA. ``table``, ``prevalences``: see assess.
    """

    def entry(p: Array, fixed: OperatingPoint) -> dict[str, Any]:
        ranking = not_shown(labels(table), p, patient=table["group"])
        return {"ranking": ranking, **assess(table, p, fixed=fixed, prevalences=prevalences)}

    points = [ensemble.mean_operating_point([run]) for run in runs]
    scores: dict[str, Any] = {
        "members": [
            {"run": run.name, **entry(p, point)}
            for run, p, point in zip(runs, probability, points, strict=True)
        ]
    }
    if len(runs) == 1:
        return scores
    scores["differences"] = _differences(runs, table, probability, points)
    scores["ensemble"] = entry(probability.mean(0), ensemble.mean_operating_point(runs))
    voted = OperatingPoint(why_not=VOTE)  # a share is no probability: no calibration
    vote = entry(vote_share(probability), voted)
    scores["vote"] = {key: vote[key] for key in ("interval", "scores")} | {"note": VOTE}
    val = ensemble.common_val(runs)
    if isinstance(val, str):
        return scores | {"weighted": {"why_not": val}}
    weights = fit_weights(*val)
    fixed = ensemble.mean_operating_point(runs, weights=weights)
    weighted = entry(weights @ probability, fixed)
    return scores | {"weighted": {"weights": weights.tolist(), **weighted}}


def _differences(
    runs: Sequence[Run], table: pd.DataFrame, probability: Array, points: Sequence[OperatingPoint]
) -> list[dict[str, Any]]:
    """Returns the first run minus each other one, each at its own operating point, or at 0.5."""
    thresholds = [point.threshold for point in points]
    options: dict[str, Any] = {"patient": table["group"], "thresholds": thresholds}
    rows = paired.differences(labels(table), probability, **options)
    return [
        {
            "first": runs[0].name,
            "first_threshold": points[0].threshold,
            "first_fixed_on": points[0].fixed_on,
            "second": run.name,
            "second_threshold": point.threshold,
            "second_fixed_on": point.fixed_on,
            **row,
        }
        for run, point, row in zip(runs[1:], points[1:], rows, strict=True)
    ]


def external_digest(runs: Sequence[Run], on: ScoredOn, *, name: str) -> str:
    """Returns the digest of the images; called before they are scored.

    ValueError: a run folder has scores of other images under this name, or is read-only.
    """
    assert on.root is not None
    digest = images_digest(on.root, on.table)
    for run in runs:
        RunWriter(run.run_dir).check_external(name, digest)
    return digest


def keep_external(
    runs: Sequence[Run],
    scores: Mapping[str, Any],
    *,
    name: str,
    images_sha256: str,
    trust: Sequence[str] = (),
) -> list[Path]:
    """Writes the scores of each run's best checkpoint as external/NAME.json; returns the paths.

    ``scores``: of `pneumo.shift.evaluation.evaluate`. ``images_sha256``: of `external_digest`.
    """
    on = scores["scored_on"]
    paths = []
    for run, member in zip(runs, scores["members"], strict=True):
        is_baseline = bool(run.metrics.get("baseline"))
        result = {
            "schema": run_folder.SCHEMA,
            "name": name,
            "data": Path(on["what"]).resolve().name,
            "checkpoint": None if is_baseline else "best",
            **{key: on[key] for key in COUNTS},
            "images_sha256": images_sha256,
            "weights_sha256": None if is_baseline else weights_digest(run.network(trust=trust)),
            "assessment": {key: member[key] for key in KEPT},
        }
        paths.append(RunWriter(run.run_dir).write_external(cast(External, result)))
    return paths
