"""Each row of docs/reference/settings.md trains, and writes the files that the page names."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, SMALL, Capture, Command

FEW = ("data=phantom", "data.num_images=120", "data.image_size=32", *SMALL[1:])
ROWS = {  # settings of the page, several rows to a run, and a file that it writes
    "logger=[tensorboard,csv] tags=[first,small] optimizer=adam schedule=cosine "
    "schedule.interval=step trainer.gradient_clip_val=1.0": "csv/version_0/metrics.csv",
    "logger=none callbacks=[default,early_stopping] callbacks.early_stopping.monitor=loss/train "
    "loss=focal loss.class_weights=balanced "
    "optimizer=adamw schedule=onecycle trainer.accumulate_grad_batches=2": "history.csv",
    "optimizer=sgd optimizer.lr=0.001 schedule=constant loss.label_smoothing=0.05 "
    "trainer.limit_train_batches=4 trainer.limit_val_batches=0.5": "metrics.json",
    "schedule=plateau schedule.monitor=loss/val protocol=holdout "
    "trainer.gradient_clip_val=1.0 trainer.gradient_clip_algorithm=value": "metrics.json",
    "model=squeezenet1_1 optimizer.lr=0.0001 callbacks=[default,finetune] "
    "callbacks.finetune.head_epochs=0 callbacks.finetune.layer_decay=0.8 "
    "callbacks.finetune.frozen=[features.0]": "metrics.json",
    "trainer=profile": "fit-profile.txt",
    "trainer=one_batch trainer.deterministic=true": "metrics.json",
    "trainer=overfit augment=none": "metrics.json",
}


@pytest.fixture(autouse=True)
def any_algorithm() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_page_trains(train: Command, tmp_path: Path, row: str) -> None:
    epochs = () if "trainer=" in row else ("trainer.max_epochs=1",)
    assert train(*FEW, *epochs, "hydra.run.dir=run", *row.split()) == 0
    assert (tmp_path / "run" / ROWS[row]).is_file()
    hyperparameters = json.loads((tmp_path / "run" / "metrics.json").read_text())["hyperparameters"]
    assert hyperparameters.get("tags") == ("first, small" if "tags" in row else None)


def test_the_page_names_every_setting_that_is_tried() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    for setting in " ".join(ROWS).split():
        assert f"{setting.partition('=')[0]}=" in page, setting


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_names_its_install_line(
    train: Command, tmp_path: Path, capsys: Capture, name: str
) -> None:
    if find_spec(name):
        pytest.skip(f"{name} is installed")
    assert train(*FEW, f"logger={name}", "hydra.run.dir=run") == 2
    error = capsys.readouterr().err
    assert "pip install" in error
    assert name in error
    assert len(error.splitlines()) <= 2
    assert not (tmp_path / "run").exists()
