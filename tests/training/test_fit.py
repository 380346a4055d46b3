"""How a training ends, and the way out in its message."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pneumo.training import fit as fit_module


def ended(error: Exception) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise error

    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    trainer: Any = SimpleNamespace(fit=fit, interrupted=False, strategy=strategy)
    data: Any = SimpleNamespace(batch_size=512)
    task: Any = None
    fit_module.train(trainer, task, data)


def test_a_batch_that_is_too_large_for_the_memory_is_a_mistake() -> None:
    with pytest.raises(RuntimeError) as of_cpu:
        torch.empty(1 << 55)
    of_gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
    for error in (of_cpu.value, of_gpu):
        with pytest.raises(ValueError, match=r"a batch of 512 images .* smaller data\.batch_size"):
            ended(error)
    with pytest.raises(RuntimeError, match="a bug"):
        ended(RuntimeError("a bug"))
