"""A run that starts from the weights of another (init=RUN)."""

from pathlib import Path

import pytest
import torch

from pneumo.runs.network import weights_digest
from pneumo.runs.run import Run
from pneumo.training.fit import check_init
from tests.conftest import SMALL, Capture, Command
from tests.test_train import metrics

pytestmark = pytest.mark.slow  # all of it stands on a run that is trained first
OTHERS = ("data=phantom", "data.num_images=60", "data.seed=7", *SMALL)


def test_a_run_starts_from_the_weights_of_another(
    train: Command, finished_run: Path, tmp_path: Path
) -> None:
    still = ("optimizer.lr=1e-12", "trainer.max_epochs=1", "decision=balanced")
    assert train("hydra.run.dir=new", *OTHERS, *still, f"init={finished_run}") == 0
    first, new = Run.open(finished_run).network(), Run.open(tmp_path / "new").network()
    assert (new.mean, new.std) == (first.mean, first.std)
    for before, after in zip(first.parameters(), new.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-6)
    recorded = metrics(tmp_path / "new")["init"]
    assert recorded["run"] == finished_run.name
    assert recorded["trained_on"] == Run.open(finished_run).metrics["data"]["kind"]
    assert recorded["weights_sha256"] == weights_digest(first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model=small", "init must be a run of the same network and classes"),
        ("model.num_classes=3", "with 2 classes"),
        ("init=nowhere", "nowhere"),
        ("init=pretrained:none", "must be one of pretrained:"),
    ],
)
def test_another_network_and_a_missing_run_are_refused(
    train: Command, finished_run: Path, tmp_path: Path, capsys: Capture, change: str, message: str
) -> None:
    assert train("hydra.run.dir=new", *OTHERS, f"init={finished_run}", change) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_images_that_the_weights_were_trained_on_are_not_scored(
    finished_run: Path, phantoms: Path
) -> None:
    table = Run.open(finished_run).split
    check_init(Run.open(finished_run), phantoms, table[table["split"] != "train"])
    leaked = table.assign(split="test")
    with pytest.raises(ValueError, match="init must not have been trained on the images"):
        check_init(Run.open(finished_run), phantoms, leaked)
