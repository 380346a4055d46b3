"""Muon for networks of convolutions, which torch's own form does not take."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Of the quintic iteration (Jordan et al., 2024), as torch.optim.Muon has them
COEFFICIENTS = (3.4445, -4.775, 2.0315)
NUM_ITERATIONS = 5


class MuonAdamW(torch.optim.AdamW):
    """Muon (Jordan et al., 2024) for convolutions, AdamW for all else.

    Muon steps along the momentum with its singular values made equal. torch.optim.Muon takes
    matrices only, and computes in bfloat16, for which many CPUs have no instructions. Here a
    convolution's weight is taken as a matrix of (out, in * height * width), in float32. The first
    convolution, of one grey channel, the dense layer, biases and normalisations go to AdamW, the
    latter two without weight decay.

    Args:
        params: of one network.
        lr: of Muon: about this much of a weight's own size a step.
        adamw_lr: of AdamW.
        momentum: of Muon, with Nesterov's look ahead.
        weight_decay: apart from the gradient, of both.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float = 0.02,
        adamw_lr: float = 0.005,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ):
        every = list(params)
        muon = [p for p in every if p.ndim == 4 and p.shape[1] > 1]
        left = [p for p in every if not (p.ndim == 4 and p.shape[1] > 1)]
        others = {"lr": adamw_lr, "muon": False}
        groups: list[dict[str, Any]] = [
            {"params": muon, "lr": lr, "muon": True},
            {"params": [p for p in left if p.ndim > 1], **others},
            {"params": [p for p in left if p.ndim <= 1], **others, "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], weight_decay=weight_decay)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Does one step; with ``closure``, which computes the loss and its gradients, first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        every = self.param_groups
        for group in (group for group in every if group["muon"]):
            for parameter in (p for p in group["params"] if p.grad is not None):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                self._muon(parameter, parameter.grad, lr=group["lr"])
        self.param_groups = [group for group in every if not group["muon"]]
        try:
            super().step()
        finally:
            self.param_groups = every
        return loss

    def _muon(self, parameter: Tensor, grad: Tensor, *, lr: float) -> None:
        state = self.state[parameter]
        state.setdefault("step", torch.tensor(0.0))  # which AdamW looks for in every state it loads
        average = state.setdefault("average", torch.zeros_like(parameter))
        average.lerp_(grad, 1 - self.momentum)
        matrix = orthogonal(grad.lerp(average, self.momentum).flatten(1))
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        parameter.sub_(matrix.view_as(parameter), alpha=lr * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """Returns a (M, N) matrix with its singular values near 1, by Newton and Schulz's iteration."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / wide.norm().clamp_min(1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.T
        x = a * x + torch.addmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
