import numpy as np
import pytest
import torch
from sklearn import metrics

from pneumo.training.classification import pneumonia_probability, score
from pneumo.training.config import SCORES, direction


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
