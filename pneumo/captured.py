"""A training step that a GPU is told once and then repeats: forward, backward and update."""

from collections.abc import Callable

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

Work = Callable[[], None]
WARM_UP = 3  # steps before the capture, in which libraries choose and allocate

HOOKS = (  # Lightning calls them between the parts of a step
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


def check(trainer: pl.Trainer) -> None:
    """Raises ValueError where the trainer asks for what a captured step cannot do."""
    hooked = [
        f"{type(callback).__name__}.{hook}"
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        for hook in HOOKS
        if is_overridden(hook, callback)
    ]
    reasons = {
        "trains on a GPU by CUDA": trainer.strategy.root_device.type != "cuda",
        "has nothing between its parts, such as gradient clipping": trainer.gradient_clip_val,
        "is an update of its own (trainer.accumulate_grad_batches=1)": (
            trainer.accumulate_grad_batches != 1
        ),
        "scales no loss; try trainer.precision=bf16-mixed": str(trainer.precision).startswith("16"),
        f"calls no {', '.join(hooked)}": hooked,
    }
    for rule, broken in reasons.items():
        if broken:
            raise ValueError(f"a captured step {rule}. Train without: capture=false")


def cuda_graph(work: Work) -> Work:
    """Captures the kernels that ``work`` starts, without running them; returns what runs them.

    On a stream of the current device: torch's own for it stays on the first that a process used.
    Other threads (one that pins memory for a loader) may go on.
    """
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        work()
    return graph.replay


class CapturedStep:
    """Trains by whole steps, which start all their kernels with one call.

    A step of the smallest network is a hundred kernels of some microseconds each, less than it
    takes to start them one by one. A graph reads and writes the same memory each time: the batch
    and the learning rate are copied there, the weights, their statistics and the optimizer's state
    lie there already, and dropout draws on from torch's generator. The first WARM_UP batches, and
    those of another size (the last of an epoch), are trained by the same step, uncaptured.

    Args:
        forward: (B, 1, S, S) images and (B,) classes to (B, num_classes) logits and the loss.
        optimizer: one that torch can capture, such as Adamax.
        capture: makes work that can be repeated; the tests give their own where there is no GPU.
    """

    def __init__(
        self,
        forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        optimizer: torch.optim.Optimizer,
        *,
        capture: Callable[[Work], Work] = cuda_graph,
    ):
        if any("capturable" not in group for group in optimizer.param_groups):
            raise ValueError(
                "a captured step needs an optimizer with the option capturable, such as Adamax; "
                f"got {type(optimizer).__name__}. Train without: capture=false"
            )
        self.forward, self.optimizer, self.capture = forward, optimizer, capture
        weight: Tensor = optimizer.param_groups[0]["params"][0]
        self.device = weight.device
        self.aside = torch.cuda.Stream() if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.rates = [weight.new_zeros(()) for _ in optimizer.param_groups]
        for state in optimizer.state.values():  # of a run that began without captured steps
            if "step" in state:
                state["step"] = state["step"].to(self.device)
        self.batch: tuple[Tensor, Tensor] | None = None
        self.logit: Tensor | None = None
        self.trained = 0  # batches
        self.repeat: Work | None = None

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """Trains on one batch; returns the (B, num_classes) logits it had before the update."""
        for rate, group in zip(self.rates, self.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        self.trained += 1
        if self.batch is None:
            self.batch = (image.clone(), target.clone())
        if self.trained <= WARM_UP or len(image) != len(self.batch[0]):
            return self._aside(image, target)
        for place, values in zip(self.batch, (image, target), strict=True):
            place.copy_(values)
        if self.repeat is None:
            self.repeat = self.capture(self._on_the_batch)
        self.repeat()
        assert self.logit is not None
        return self.logit.clone()

    def _on_the_batch(self) -> None:
        assert self.batch is not None
        self.logit = self._step(*self.batch)

    def _aside(self, image: Tensor, target: Tensor) -> Tensor:
        """A step on a stream of its own, as the capture has one: torch asks for it."""
        if self.aside is None:
            return self._step(image, target)
        main = torch.cuda.current_stream()
        self.aside.wait_stream(main)
        with torch.cuda.stream(self.aside):
            logit = self._step(image, target)
        main.wait_stream(self.aside)
        return logit.clone()

    def _step(self, image: Tensor, target: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        logit, loss = self.forward(image, target)
        torch.autograd.backward(loss)
        self.update()
        return logit.detach()

    def update(self) -> None:
        """Lets the optimizer update the weights, with its rate and counts read on the device.

        Its groups are left as they were, so that schedules and checkpoints see plain numbers.
        """
        groups = self.optimizer.param_groups
        before = [{"lr": group["lr"], "capturable": group["capturable"]} for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group.update(lr=rate, capturable=self.device.type == "cuda")
        try:
            self.optimizer.step()
        finally:
            for group, values in zip(groups, before, strict=True):
                group.update(values)
