"""The three decision rules on one network: predict, evaluate and the ONNX file decide alike."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest

from pneumo import export
from pneumo.api import predict
from pneumo.choices import RULES
from pneumo.data import image
from pneumo.evaluation.assessment import labels
from pneumo.evaluation.metrics import at_prevalence
from pneumo.evaluation.scores import operating_point
from pneumo.inference import onnx_export
from pneumo.runs.run import Run
from pneumo.shift import evaluation
from tests.conftest import SMALL, Patch

# all of it stands on runs that are trained first
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("environment")]
SOURCES = {"argmax": "argmax", "balanced": "balanced", "sensitivity": "validation"}


@pytest.fixture(scope="module")
def runs(environment: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run for each rule; they have the same weights, except for the rule's log_prior."""
    from pneumo.train import main

    root = tmp_path_factory.mktemp("rules")
    last = ("trainer.max_epochs=3", "optimizer.lr=0.005", "callbacks.checkpoint.monitor=last")
    for rule in RULES:
        settings = (*SMALL, "protocol=holdout", *last, f"decision={rule}", "views.mirror=true")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            patch.setattr(sys, "argv", ["train", f"hydra.run.dir={rule}", *settings])
            main()
    return {rule: root / rule for rule in RULES}


def test_balanced_probabilities_are_the_others_corrected_for_the_train_split(
    runs: dict[str, Path],
) -> None:
    argmax, balanced, sensitivity = (Run.open(run) for run in runs.values())
    train = argmax.split[argmax.split["split"] == "train"]
    share = labels(train).mean()
    np.testing.assert_allclose(balanced.network().log_prior, np.log([1 - share, share]), rtol=1e-6)
    raw, corrected = argmax.scored["p_pneumonia"], balanced.scored["p_pneumonia"]
    assert (raw == sensitivity.scored["p_pneumonia"]).all()
    by_hand = at_prevalence(raw, fitted_at=share, prevalence=0.5)
    np.testing.assert_allclose(corrected, by_hand, atol=1e-6)
    assert ((corrected >= 0.5) == (raw >= share)).all()
    assert ((corrected >= 0.5) != (raw >= 0.5)).any()


@pytest.mark.parametrize("rule", RULES)
def test_predict_evaluate_and_the_file_decide_alike(
    runs: dict[str, Path], rule: str, phantoms: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run.open(runs[rule])
    assert (run.decision, run.config["decision"]) == (rule, rule)
    test = run.of_split("test")
    names = [str(phantoms / path) for path in test["path"]]
    table = pd.DataFrame(predict(names, run=runs[rule]))
    assert set(table["threshold_from"]) == {SOURCES[rule]}
    # the mean over the views, as in the training
    np.testing.assert_allclose(table["p_pneumonia"], test["p_pneumonia"], atol=1e-5)
    decided = (table["decision"] == "PNEUMONIA").to_numpy(int)

    point = evaluation.evaluate([run])["members"][0]["operating_point"]
    written = run.assessment["operating_point"]
    assert point["threshold"] == written["threshold"] == table["threshold"][0]
    assert (point["decision"], point["fixed_on"] == "val") == (rule, rule == "sensitivity")
    scores = operating_point(labels(test), decided, threshold=0.5)
    for name in ("sensitivity", "specificity", "ppv"):
        assert point[name]["value"] == pytest.approx(scores[name], nan_ok=True)

    assert export.main([str(runs[rule]), "--out", "model.onnx", "--check", names[0]]) == 0
    model = onnx.load("model.onnx")
    session = onnx_export.open_session(model)
    prepared = [image.prepare(Path(name).read_bytes(), size=run.image_size) for name in names]
    (by_file,) = session.run(["decision"], {"image": np.stack(prepared)[:, None]})
    assert by_file.dtype == np.int64
    np.testing.assert_array_equal(by_file, decided)
    about = {p.key: p.value for p in model.metadata_props}
    assert (about["decision"], float(about["operating_threshold"])) == (rule, point["threshold"])
    assert ("temperature" in about) == (rule != "balanced")
    calibration = run.assessment["calibration"]
    assert (calibration["temperature"] is None) == (rule == "balanced")
    assert ("for equal classes" in calibration.get("why_not", "")) == (rule == "balanced")
    sentence = "PNEUMONIA is predicted at a probability of **"
    assert sentence in Path("model-card.md").read_text()
    assert ("Saerens" in Path("model-card.md").read_text()) == (rule == "balanced")
