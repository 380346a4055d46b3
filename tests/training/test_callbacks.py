import pytest
import torch

from pneumo.training.callbacks import AveragedWeights, Selection


def test_the_average_leaves_the_first_weights_behind_at_once() -> None:
    callback = AveragedWeights(decay=0.99)
    average = callback._kwargs["avg_fn"]
    kept = torch.tensor(0.0)  # of the first weights
    for number in range(1, 100):
        kept = average(kept, torch.tensor(1.0), torch.tensor(number))
    assert kept > 0.9999  # at a decay of 0.99 from the start it would be 1 - 0.99 ** 99 = 0.63
    late = average(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(10**6))
    assert late == pytest.approx(0.01)
    assert average(torch.tensor(3), torch.tensor(4), torch.tensor(9)) == 4  # a count
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1; got 1"):
        AveragedWeights(1)


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


def test_a_missing_score_is_named() -> None:
    with pytest.raises(ValueError, match="epoch 1 has no score loss/test"):
        Selection.parse("loss/test").best([row(0, 0.9, 0.3)])
