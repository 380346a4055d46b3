import pytest

from pneumo.training.selection import Selection


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
