"""Run folders of strangers: whatever is in them, they are read or refused, and nothing hangs."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pneumo import evaluate
from pneumo.inference import ensemble
from pneumo.report import report_folder as report_module
from pneumo.runs import checkpoint, finished, run_folder
from pneumo.training import sweep_runs
from tests.conftest import SMALL, Command

FILES = (
    "metrics.json",
    "status.json",
    "split.csv",
    "predictions.csv",
    run_folder.CONFIG,
    run_folder.BEST,
)
JUNK: tuple[Any, ...] = (
    *(None, True, -1, 10**400, 1e308, float("nan"), "", "../x", "\ud800", "a\0b", "x" * 5000),
    *([], [1], {}, {"a": []}, "~nosuchuser/x", "${x}", "${", "???"),
)
NUM_TRIED = 40
READERS: tuple[Callable[[Path], Any], ...] = (
    lambda run: evaluate.evaluate([run]),
    checkpoint.load,
    lambda run: ensemble.own_images(ensemble.read(run)),
)


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("best", None, "no best"),
        ("selection", [], "a list as selection"),
        ("history", [1], "a int as history.*"),
        ("versions", {"torch": 2}, "a int as versions.*"),
        ("data", {"kind": "phantom", "splits": {"test": {"images": "9"}}}, "as data.splits.*.*"),
        ("fold", None, None),
    ],
)
def test_what_is_wrong_is_named(key: str, value: Any, wrong: str | None) -> None:
    metrics = {"model": "tiny", "protocol": "paper", "data": {"kind": "phantom"}}
    metrics |= {"best": {"epoch": 1, "test": {}}, "last": {"test": {}}, key: value}
    found = finished.what_is_wrong(metrics)
    assert found is None if wrong is None else wrong in str(found)


def change(value: Any, rng: random.Random) -> Any:
    """Puts junk somewhere into nested lists and mappings, or takes something away."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(JUNK)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    if rng.random() < 0.2:
        del value[key]
    else:
        value[key] = change(value[key], rng)
    return value


def spoil(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    how = rng.random()
    if how < 0.1:
        path.write_bytes(data[: rng.randrange(len(data))])
    elif how < 0.25 or (how < 0.9 and path.suffix not in (".json", ".yaml")):
        for _ in range(rng.choice((1, 5, 50))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
    elif how < 0.9:
        as_json = path.suffix == ".json"
        changed = change(json.loads(data) if as_json else yaml.safe_load(bytes(data)), rng)
        path.write_text(json.dumps(changed) if as_json else yaml.safe_dump(changed))
    elif how < 0.95:
        path.unlink()
        rng.choice((os.mkfifo, os.mkdir, lambda p: p.symlink_to("/dev/zero")))(path)
    else:
        path.write_text(rng.choice(("[", '{"a":')) * rng.choice((50, 5000, 100_000)))


@pytest.mark.slow  # a run, and about a second for each folder
@pytest.mark.filterwarnings("ignore")  # of numbers that are none
def test_spoiled_folders_are_read_or_refused(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "draw", lambda *_: None)
    assert train(*SMALL, "protocol=holdout", "trainer.max_epochs=1", "hydra.run.dir=good") == 0
    for seed in range(NUM_TRIED):
        rng = random.Random(seed)
        root = tmp_path / str(seed)
        run = root / "model=tiny,seed=0"
        for place in (run, root / "good"):
            shutil.copytree(tmp_path / "good", place)
        spoil(run / rng.choice(FILES), rng)
        for read in READERS:
            try:
                read(run)
            except (ValueError, FileNotFoundError) as error:
                assert str(error)
        run_folder.identity(run)
        sweep_runs.progress(root, 2, began=0, done_before=0)
        page = report_module.write_report([root], out=root / "report") / "report.html"
        assert page.is_file()
        shutil.rmtree(root)
