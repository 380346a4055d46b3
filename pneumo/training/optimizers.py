"""Muon for networks of convolutions, which torch's own form does not take."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Of the quintic iteration (Jordan et al., 2024), as torch.optim.Muon has them
COEFFICIENTS = (3.4445, -4.775, 2.0315)
NUM_ITERATIONS = 5


class MuonAdamW(torch.optim.Optimizer):
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
            {"params": muon, "muon": True},
            {"params": [p for p in left if p.ndim > 1], **others},
            {"params": [p for p in left if p.ndim <= 1], **others, "weight_decay": 0.0},
        ]
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Does one step; with ``closure``, which computes the loss and its gradients, first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            step = self._muon if group["muon"] else self._adamw
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    step(parameter, parameter.grad, group)
        return loss

    def _muon(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        average = state.setdefault("average", torch.zeros_like(parameter))
        average.lerp_(grad, 1 - group["momentum"])
        matrix = orthogonal(grad.lerp(average, group["momentum"]).flatten(1))
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        parameter.sub_(matrix.view_as(parameter), alpha=group["lr"] * scale)

    def _adamw(
        self,
        parameter: Tensor,
        grad: Tensor,
        group: dict[str, Any],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        state = self.state[parameter]
        if not state:
            state |= {
                "step": 0,
                "average": torch.zeros_like(grad),
                "square": torch.zeros_like(grad),
            }
        state["step"] += 1
        state["average"].lerp_(grad, 1 - betas[0])
        state["square"].lerp_(grad.square(), 1 - betas[1])
        mean = state["average"] / (1 - betas[0] ** state["step"])
        deviation = (state["square"] / (1 - betas[1] ** state["step"])).sqrt_().add_(eps)
        parameter.addcdiv_(mean, deviation, value=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Returns a (M, N) matrix with its singular values near 1, by Newton and Schulz's iteration."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / wide.norm().clamp_min(1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.T
        x = a * x + torch.addmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
