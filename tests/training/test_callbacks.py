import pytest
import torch

from pneumo.training.callbacks import AveragedWeights


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
