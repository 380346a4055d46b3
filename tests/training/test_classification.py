from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn

from pneumo import predict
from pneumo.data.phantom import Phantoms
from pneumo.models.base import Network
from pneumo.training.classification import pneumonia_probability, score
from pneumo.training.config import SCORES, direction
from tests.conftest import SMALL, Command


@pytest.fixture
def logit() -> torch.Tensor:
    return torch.randn(200, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def target() -> torch.Tensor:
    return (torch.rand(200, generator=torch.Generator().manual_seed(1)) < 0.7).long()


def test_scores_are_those_of_scikit_learn(logit: torch.Tensor, target: torch.Tensor) -> None:
    scores = score(logit, target)
    probability = pneumonia_probability(logit).numpy()
    label, decision = target.numpy(), (probability >= 0.5).astype(int)
    by_class = metrics.precision_recall_fscore_support(label, decision)
    expected = {
        "accuracy": metrics.accuracy_score(label, decision),
        "balanced_accuracy": metrics.balanced_accuracy_score(label, decision),
        "mcc": metrics.matthews_corrcoef(label, decision),
        "auroc": metrics.roc_auc_score(label, probability),
        "average_precision": metrics.average_precision_score(label, probability),
        "loss": metrics.log_loss(label, probability),
    }
    for number, name in enumerate(("normal", "pneumonia")):
        for place, kind in enumerate(("precision", "recall", "f1")):
            expected[f"{kind}_{name}"] = by_class[place][number]
    assert scores.pop("confusion") == metrics.confusion_matrix(label, decision).tolist()
    assert scores == pytest.approx(expected, abs=1e-6)


def test_three_classes_are_scored_as_two() -> None:
    logit = torch.log(torch.tensor([[0.4, 0.3, 0.3], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]]))
    np.testing.assert_allclose(pneumonia_probability(logit), [0.6, 0.4, 0.9], atol=1e-6)
    scores = score(logit, torch.tensor([2, 0, 1]))
    assert scores["accuracy"] == 1
    assert scores["confusion"] == [[1, 0], [0, 2]]


def test_confident_images_are_not_tied(logit: torch.Tensor, target: torch.Tensor) -> None:
    sure = score(logit * 8, target)  # float32 has no probability between 1 - 6e-8 and 1
    for name in ("auroc", "average_precision"):
        assert sure[name] == pytest.approx(score(logit, target)[name], abs=1e-12)


def test_every_score_has_its_direction() -> None:
    """Of 4 images all scores but the loss are higher where the decisions are better."""
    good, bad = (
        score(sign * torch.tensor([[2.0, 0], [0, 3], [1, 0], [0, 1]]), torch.tensor([0, 1, 0, 1]))
        for sign in (1, -1)
    )
    for name in SCORES:
        assert (good[name] > bad[name]) == (direction(f"{name}/val") == "max"), name


SQUARE = torch.ones(1)
OWN = {"model": "TwoInputs", "data.source": "Shapes.open"}


class TwoInputs(Network):
    """Classifies by the mean of an image and by the shape of its file."""

    widest: Tensor
    num_classes = 2
    inputs = ("width", "height")

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(2, 2)
        self.register_buffer("widest", torch.tensor(0.0))

    def forward(self, x: Tensor, width: Any = SQUARE, height: Any = SQUARE) -> Any:
        """(B, 1, S, S) grey values to (B, 2) logits."""
        self.widest.fill_(torch.maximum(self.widest, width.max()))
        mean = x.mean((1, 2, 3)) / 255
        return self.dense(torch.stack([mean, (width / height).expand_as(mean)], 1))


class Shapes(Phantoms):
    """Generated images with the shape of a file in the table."""

    def table(self, **options: Any) -> pd.DataFrame:
        table = super().table(**options)
        return table.assign(width=np.arange(len(table)) + 100, height=100)


@pytest.mark.slow
def test_a_network_takes_columns_of_the_table_and_is_not_used_without_them(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [f"{key}._target_={__name__}.{name}" for key, name in OWN.items()]
    few = ("data=phantom", "data.num_images=60", "data.image_size=32", "trainer.max_epochs=1")
    assert train("hydra.run.dir=run", "model=prior", *own, *few, *SMALL[1:]) == 0
    weights = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert weights["network.widest"] > 100  # 1 without columns
    assert predict.main(["run", "--trust", "tests", "x.png"]) == 2
    assert (
        "a network of images alone; that of run also takes width, heig" in capsys.readouterr().err
    )
    assert train("hydra.run.dir=other", "model=prior", own[0], *few, *SMALL[1:]) == 2
    assert "needs the column width of the data set's table" in capsys.readouterr().err
