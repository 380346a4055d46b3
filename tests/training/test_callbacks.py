from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pneumo.training.callbacks import AveragedWeights, EpochBar, ProgressiveResize
from pneumo.training.classification import Classification, smaller


def test_a_bar_counts_epochs_from_1_and_is_gone_before_the_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar, trainer = EpochBar(), SimpleNamespace(current_epoch=0, max_epochs=3, num_val_batches=[1])
    bar._trainer = SimpleNamespace(num_training_batches=2, max_epochs=3)  # type: ignore[assignment]
    bar.on_train_epoch_start(trainer)  # type: ignore[arg-type]
    for _ in range(2):
        bar.on_train_batch_end()
    bar.on_validation_batch_end()
    assert bar.bar.n == bar.bar.total == 3
    bar.on_validation_end()
    shown = capsys.readouterr().err
    assert "epoch 1/3" in shown
    assert shown.endswith("\r")  # the line is free
    assert "\n" not in shown


def test_the_average_leaves_the_first_weights_behind_at_once() -> None:
    callback = AveragedWeights(decay=0.99)
    average = callback._kwargs["avg_fn"]
    kept = torch.tensor(0.0)  # of the first weights
    for number in range(1, 100):
        kept = average(kept, torch.tensor(1.0), torch.tensor(number))
    assert kept > 0.9999  # at a decay of 0.99 from the start it would be 1 - 0.99 ** 99 = 0.63
    late = average(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(10**6))
    assert late == pytest.approx(0.01)


def test_counts_are_not_averaged() -> None:
    average = AveragedWeights()._kwargs["avg_fn"]
    assert average(torch.tensor(3), torch.tensor(4), torch.tensor(9)) == 4


@pytest.mark.parametrize("decay", [-0.1, 1, 1.5])
def test_a_decay_is_a_share(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1; got"):
        AveragedWeights(decay)


def classifier() -> Classification:
    def nothing(_: Any) -> Any:
        return None

    return Classification(
        nn.Linear(1, 1), optimizer=nothing, schedule=nothing, eval_splits=[], seed=0
    )


def test_sides_are_those_of_the_epoch() -> None:
    module, callback = classifier(), ProgressiveResize([(2, 32), (4, None)])
    seen = []
    for epoch in range(5):
        callback.on_train_epoch_start(SimpleNamespace(current_epoch=epoch), module)  # type: ignore[arg-type]
        seen.append(module.train_side)
    assert seen == [None, 32, 32, None, None]


@pytest.mark.parametrize("sides", [[], [(0, 32)], [(1, -1)], [(1, 0.5)]])
def test_sides_are_pairs_of_whole_numbers(sides: Any) -> None:
    with pytest.raises(ValueError, match="sides must be pairs of an epoch from 1 and a side"):
        ProgressiveResize(sides)


def test_a_smaller_image_has_the_means_of_areas() -> None:
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    assert smaller(image, side=2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
