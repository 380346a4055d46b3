import numpy as np
import pytest
import torch
from sklearn import metrics

from pneumo.training.config import SCORES, direction
from pneumo.training.task import Selection, pneumonia_probability, score


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
        "balanced_accuracy": metrics.balanced_accuracy_score(label, decision),
        "mcc": metrics.matthews_corrcoef(label, decision),
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


def test_confident_images_are_not_tied(logit: torch.Tensor, target: torch.Tensor) -> None:
    sure = score(logit * 8, target)  # float32 has no probability between 1 - 6e-8 and 1
    for name in ("auroc", "average_precision"):
        assert sure[name] == pytest.approx(score(logit, target)[name], abs=1e-12)


def row(epoch: int, f1: float, loss: float) -> dict[str, object]:
    return {"epoch": epoch, "val": {"f1_normal": f1, "loss": loss}}


@pytest.mark.parametrize(
    ("pairs", "best"),
    [
        ([(0.8, 0.3), (0.9, 0.3), (0.7, 0.1)], 1),
        ([(0.9, 0.3), (0.9, 0.2), (0.9, 0.2)], 1),  # a tie goes to the lower loss, then the earlier
        ([(float("nan"), 0.1), (0.1, 0.3)], 1),
        ([(float("nan"), 0.3), (float("nan"), float("nan"))], 0),
    ],
)
def test_selection_breaks_ties_by_loss(pairs: list[tuple[float, float]], best: int) -> None:
    history = [row(epoch, *pair) for epoch, pair in enumerate(pairs)]
    assert Selection("f1_normal", "val").best(history) == best


@pytest.mark.parametrize(("monitor", "best"), [("loss/val", 1), ("f1_normal/val", 0), ("last", 2)])
def test_the_direction_is_the_scores(monitor: str, best: int) -> None:
    history = [row(0, 0.9, 0.3), row(1, 0.8, 0.2), row(2, 0.7, 0.4)]
    assert Selection.parse(monitor).best(history) == best


def test_every_score_has_its_direction() -> None:
    """Of 4 images all scores but the loss are higher where the decisions are better."""
    good, bad = (
        score(sign * torch.tensor([[2.0, 0], [0, 3], [1, 0], [0, 1]]), torch.tensor([0, 1, 0, 1]))
        for sign in (1, -1)
    )
    for name in SCORES:
        assert (good[name] > bad[name]) == (direction(f"{name}/val") == "max"), name


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("loss", "must be last, or a score and a split, such as f1_normal/val; got 'loss'"),
        ("nothing/val", "must be one of f1_normal/val, loss/val; got nothing/val"),
        ("loss/test", "must be one of f1_normal/val, loss/val; got loss/test"),
    ],
)
def test_selection_says_what_there_is(monitor: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Selection.parse(monitor).best([row(0, 0.9, 0.3)])
