"""What TensorBoard gets of a sweep of a network and a baseline."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from pneumo.training.tensorboard_log import hparam_settings
from tests.conftest import SMALL, Command


@pytest.mark.slow
def test_the_runs_of_a_sweep_are_compared(train: Command, tmp_path: Path) -> None:
    few = ("model=tiny,prior", "trainer.max_epochs=2", *SMALL)
    assert train("-m", *few, "hydra.sweep.dir=sweep") == 0
    for model in ("tiny", "prior"):  # without max_epochs and SMALL, which both have
        run = tmp_path / "sweep" / f"model={model},seed=0"
        events = EventAccumulator(str(run)).Reload()
        points = events.Scalars("loss/test")
        assert [point.step for point in points] == [1, 2]  # epochs, from 1
        assert (len({point.value for point in points}) == 1) == (model == "prior")
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        settings = HParamsPluginData.FromString(content).session_start_info.hparams
        assert {name: value.string_value for name, value in settings.items()} == {"model": model}
        metrics = json.loads((run / "metrics.json").read_text())
        # protocol=paper chooses the best epoch on the test split, and never the last one
        for title, epoch in {"honest_test": "last", "optimistic_test": "best"}.items():
            for name in ("f1_normal", "auroc", "accuracy", "f1_pneumonia"):
                (score,) = events.Scalars(f"{title}/{name}")
                assert score.value == pytest.approx(metrics[epoch]["test"][name])
    events = EventAccumulator(str(tmp_path / "sweep" / "model=tiny,seed=0")).Reload()
    (layout,) = events.Tensors("custom_scalars__config__")
    charts = Layout.FromString(layout.tensor_proto.string_val[0]).category[0].chart
    patterns = {chart.title: list(chart.multiline.tag) for chart in charts}
    assert patterns["f1_normal"] == ["^f1_normal/(train|val|test)$"]


def test_hparams_are_those_that_vary_or_the_first_few() -> None:
    known = {"aspect": "pad", "lr": 0.1, "seed": 0, "fold": None, "protocol": "x"}
    metrics = {"data": {"kind": "kermany"}, "model": "tiny", "hyperparameters": known}
    assert list(hparam_settings(metrics, {"seed", "optimizer.lr"})) == ["seed", "lr"]
    assert list(hparam_settings(metrics, {"augment.strength"})) == list(hparam_settings(metrics))
    assert list(hparam_settings(metrics)) == ["model", "seed", "protocol", "fold", "lr"]
    assert hparam_settings(metrics, {"protocol.fold"}) == {"fold": "none"}
