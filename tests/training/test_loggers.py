"""A real TensorBoard server over a small run and a baseline; a real client of MLflow."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pandas as pd
import pytest

from pneumo.training.loggers import hparam_settings
from tests.conftest import SMALL, Capture, Command


def ask(address: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(address, data=data, headers={"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture
def server(train: Command, tmp_path: Path, no_report: None, capsys: Capture) -> Iterator[str]:
    """The address of a server over a sweep of a network and a baseline."""
    few = ("model=tiny,prior", "trainer.max_epochs=2", *SMALL)
    assert train("-m", *few, "hydra.sweep.dir=sweep") == 0
    assert "TensorBoard: tensorboard --logdir sweep\n" in capsys.readouterr().err
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tensorboard.main", "--logdir", "sweep"),
                *("--host", "127.0.0.1", "--port", "0", "--load_fast", "false"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield wait_for(tmp_path / "server.log", process)
    finally:
        process.terminate()
        process.wait()


def wait_for(log: Path, process: "subprocess.Popen[bytes]") -> str:
    for _ in range(240):
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        try:
            if found and len(ask(f"{found[0]}/data/runs")) == 2:
                return found[0]
        except URLError:
            pass
        assert process.poll() is None, log.read_text()
        time.sleep(0.5)
    raise AssertionError(log.read_text())


@pytest.mark.slow
def test_a_real_server_compares_the_runs(server: str, tmp_path: Path) -> None:
    names = ask(f"{server}/data/runs")
    # without max_epochs and SMALL, which all of them have
    assert sorted(names) == [f"model={model},seed=0" for model in ("prior", "tiny")]

    layout = ask(f"{server}/data/plugin/custom_scalars/layout")
    charts = {c["title"]: c["multiline"]["tag"] for c in layout["category"][0]["chart"]}
    tags = ask(f"{server}/data/plugin/scalars/tags")
    for name in names:
        (pattern,) = charts["f1_normal"]
        shown = {tag for tag in tags[name] if re.search(pattern, tag)}
        assert shown == {"f1_normal/train", "f1_normal/test"}

    page = f"{server}/data/plugin/hparams"
    experiment = ask(f"{page}/experiment", {"experimentName": ""})
    assert [info["name"] for info in experiment["hparamInfos"]] == ["model"]  # what varies
    metrics = [info["name"] for info in experiment["metricInfos"]]
    score_names = [metric["tag"] for metric in metrics]
    assert score_names == [
        f"{title}/{score}"
        for title in ("honest_test", "optimistic_test")
        for score in ("f1_normal", "auroc", "accuracy", "f1_pneumonia")
    ]
    for name in names:
        points = ask(f"{server}/data/plugin/scalars/scalars?run={quote(name)}&tag=loss%2Ftest")
        assert [step for _, step, _ in points] == [1, 2]  # epochs, from 1
        assert (len({loss for *_, loss in points}) == 1) == ("prior" in name)  # a horizontal line
    columns = [{"metric": metric} for metric in metrics]
    wanted = {"colParams": columns, "startIndex": 0, "sliceSize": 10, "experimentName": ""}
    wanted["allowedStatuses"] = ["STATUS_SUCCESS"]
    groups = ask(f"{page}/session_groups", wanted)["sessionGroups"]
    assert {group["hparams"]["model"] for group in groups} == {"tiny", "prior"}
    for group in groups:
        values = {
            f"{each['name']['group']}{each['name']['tag']}": each.get("value", 0)
            for each in group["metricValues"]
        }
        model = group["hparams"]["model"]
        path = tmp_path / "sweep" / f"model={model},seed=0" / "metrics.json"
        metrics_of_run = json.loads(path.read_text())
        # protocol=paper chooses the best epoch on the test split, and never the last one
        expected = {
            "honest_test": metrics_of_run["last"]["test"],
            "optimistic_test": metrics_of_run["best"]["test"],
        }
        assert values == {
            tag: pytest.approx(scores[tag.partition("/")[2]])
            for title, scores in expected.items()
            for tag in score_names
            if tag.startswith(title)
        }


def test_hparams_are_those_that_vary_or_the_first_few() -> None:
    known = {"aspect": "pad", "lr": 0.1, "seed": 0, "fold": None, "protocol": "x"}
    metrics = {"data": {"kind": "kermany"}, "model": "tiny", "hyperparameters": known}
    assert list(hparam_settings(metrics, {"seed", "optimizer.lr"})) == ["seed", "lr"]
    assert list(hparam_settings(metrics, {"augment.strength"})) == list(hparam_settings(metrics))
    assert list(hparam_settings(metrics)) == ["model", "seed", "protocol", "fold", "lr"]
    assert hparam_settings(metrics, {"protocol.fold"}) == {"fold": "none"}


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_sweep_leaves_its_scores_in_one_database_for_a_real_client(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    pytest.importorskip("sqlalchemy", reason="needs the extra mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = ["data=phantom", "data.num_images=60", "data.image_size=32", *SMALL[1:]]
    epochs = ["trainer.max_epochs=2", "logger=mlflow", "tags=[first,small]"]
    assert train("-m", "hydra.sweep.dir=sweep", "seed=0,1", *settings, *epochs) == 0
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'sweep' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("pneumo")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["mlflow.runName"] for run in runs) == ["tiny-seed0", "tiny-seed1"]
    for run in runs:
        assert run.data.tags["tags"] == "first, small"
        assert run.info.status == "FINISHED"
        name = f"model=tiny,seed={run.data.params['seed']}"
        (folder,) = (tmp_path / "sweep").glob(f"{name}*")
        history = json.loads((folder / "metrics.json").read_text())["history"]
        scores = client.get_metric_history(run.info.run_id, "loss/test")
        assert [score.step for score in scores] == [1, 2]
        wanted = [row["test"]["loss"] for row in history]
        assert [score.value for score in scores] == pytest.approx(wanted, rel=1e-6)
    assert not (tmp_path / "mlruns").exists()
    last = ["callbacks.checkpoint.monitor=last", "logger=csv", "hydra.run.dir=last"]
    assert train(*settings, "trainer.max_epochs=2", *last) == 0
    logged = pd.read_csv(next((tmp_path / "last").rglob("metrics.csv")))
    test = json.loads((tmp_path / "last" / "metrics.json").read_text())["best"]["test"]
    assert logged["auroc/test"].dropna().tolist() == pytest.approx([test["auroc"]])
