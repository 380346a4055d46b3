import json
from pathlib import Path

import pytest

from tests.conftest import SMALL, Command


@pytest.mark.slow
def test_a_sweep_leaves_its_scores_in_one_database_for_a_real_client(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    pytest.importorskip("sqlalchemy", reason="needs the extra mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = ["data=phantom", "data.num_images=120", "data.image_size=32", *SMALL[1:]]
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
