from types import SimpleNamespace

import pytest
import torch

from pneumo.training.callbacks import AveragedWeights, EpochBar


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
    bar.on_train_epoch_end()
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
    assert average(torch.tensor(3), torch.tensor(4), torch.tensor(9)) == 4  # a count
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1; got 1"):
        AveragedWeights(1)
