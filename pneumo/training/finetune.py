"""A fine-tuning schedule: the last layer first, lower rates for early layers, frozen ones."""

from collections.abc import Sequence

import pytorch_lightning as pl
from torch import nn

from pneumo.models.base import Wrapped
from pneumo.models.blocks import blocks, head
from pneumo.training.classification import Classification


class Finetune(pl.Callback):
    """Freezes the layers that an epoch does not train, and lowers the rates by depth.

    Frozen layers have no gradient and are in evaluation mode, without dropout and with fixed batch
    statistics. All follows from the epoch's number, so that a run resumes exactly, and the
    optimizer has all weights from the start, so that a schedule by steps holds. Lightning's
    BackboneFinetuning adds them later, where OneCycleLR fails, and updates batch statistics.

    Args:
        head_epochs: number of first epochs in which only the last layer is trained.
        layer_decay: share of the learning rate from a block to the one before it.
        frozen: names of modules of the network that are never trained.
    """

    def __init__(self, head_epochs: int = 1, layer_decay: float = 1.0, frozen: Sequence[str] = ()):
        self.head_epochs, self.layer_decay, self.frozen = head_epochs, layer_decay, tuple(frozen)

    def check(self, network: nn.Module) -> None:
        """Raises ValueError if the network lacks a module to freeze."""
        body = _body(network)
        names, last = {name for name, _ in body.named_modules()} - {""}, head(body)
        for name in self.frozen:
            if name not in names:
                raise ValueError(
                    "callbacks.finetune.frozen must name modules of the network, such as "
                    f"{', '.join(blocks(body))}; got {name!r}"
                )
            if f"{last}.".startswith(f"{name}."):
                raise ValueError(
                    f"callbacks.finetune.frozen must leave the last layer, {last}, which is new; "
                    f"got {name!r}"
                )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Sets the decay of the rates, before the optimizer is built."""
        assert isinstance(pl_module, Classification)
        body = _body(pl_module.network)
        pl_module.layer_decay = self.layer_decay
        self.trainable = [weight for weight in body.parameters() if weight.requires_grad]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freezes the layers that this epoch does not train, and no others."""
        assert isinstance(pl_module, Classification)
        body = _body(pl_module.network)
        body.train()
        for parameter in self.trainable:
            parameter.requires_grad = True
        if trainer.current_epoch < self.head_epochs:
            freeze(body)
            for module in head_part(body):
                module.train().requires_grad_()
        for name in self.frozen:
            freeze(body.get_submodule(name))
        pl_module.network.training = True  # its own modules apart: decision=balanced depends on it


def freeze(module: nn.Module) -> None:
    """Turns off gradients, batch statistics and dropout of a module."""
    module.eval().requires_grad_(False)


def head_part(body: nn.Module) -> list[nn.Module]:
    """Returns the last layer, and the modules without weights beside it, such as its dropout."""
    leaves = [module for module in body.modules() if not list(module.children())]
    last = leaves.index(body.get_submodule(head(body)))
    before = [n for n, m in enumerate(leaves[:last]) if list(m.parameters())]
    return leaves[before[-1] + 1 if before else 0 :]


def _body(network: nn.Module) -> nn.Module:
    return network.body if isinstance(network, Wrapped) else network
