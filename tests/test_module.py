import numpy as np
import pytest
import torch
from sklearn import metrics

from pneumo.module import pneumonia_probability, score


@pytest.fixture
def logit() -> torch.Tensor:
    return torch.randn(200, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def target() -> torch.Tensor:
    return (torch.rand(200, generator=torch.Generator().manual_seed(1)) < 0.7).long()


def test_scores_are_those_of_scikit_learn(logit: torch.Tensor, target: torch.Tensor) -> None:
    found = score(logit, target)
    probability = pneumonia_probability(logit).numpy()
    label, decision = target.numpy(), (probability >= 0.5).astype(int)
    by_class = metrics.precision_recall_fscore_support(label, decision)
    expected = {
        "accuracy": metrics.accuracy_score(label, decision),
        "auroc": metrics.roc_auc_score(label, probability),
        "average_precision": metrics.average_precision_score(label, probability),
        "loss": metrics.log_loss(label, probability),
    }
    for number, name in enumerate(("normal", "pneumonia")):
        for place, kind in enumerate(("precision", "recall", "f1")):
            expected[f"{kind}_{name}"] = by_class[place][number]
    assert found.pop("confusion") == metrics.confusion_matrix(label, decision).tolist()
    assert found == pytest.approx(expected, abs=1e-6)


def test_order_changes_no_score(logit: torch.Tensor, target: torch.Tensor) -> None:
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(2))
    first, second = score(logit, target), score(logit[order], target[order])
    assert first.pop("confusion") == second.pop("confusion")
    assert first == pytest.approx(second, abs=1e-6)


def test_three_classes_are_scored_as_two() -> None:
    logit = torch.log(torch.tensor([[0.4, 0.3, 0.3], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]]))
    np.testing.assert_allclose(pneumonia_probability(logit), [0.6, 0.4, 0.9], atol=1e-6)
    found = score(logit, torch.tensor([2, 0, 1]))
    assert found["accuracy"] == 1
    assert found["confusion"] == [[1, 0], [0, 2]]


def test_one_class_leaves_what_ranks_unknown(logit: torch.Tensor) -> None:
    found = score(logit, torch.ones(len(logit), dtype=torch.long))
    assert np.isnan(found["auroc"])
    assert np.isnan(found["average_precision"])
    assert found["recall_pneumonia"] == found["accuracy"]
