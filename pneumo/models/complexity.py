"""The size of a network: its parameters, and the multiply-adds of one image."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pneumo.models.views import ONE_VIEW, Views


def num_parameters(network: nn.Module) -> int:
    """Returns the number of trainable weights."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, *, image_size: int, views: Views = ONE_VIEW) -> int:
    """Returns the multiply-adds of all views of an image, in evaluation mode.

    By torch's FlopCounterMode, which counts two operations per multiply-add of convolutions,
    matrix products and attention; biases, normalisation, pooling and activations do not count.
    """
    training = network.training
    device = next(network.parameters()).device
    # as two matrix products: the counter lacks the CPU's own form of attention
    attention = sdpa_kernel(SDPBackend.MATH)
    with torch.no_grad(), attention, FlopCounterMode(display=False) as counter:
        views.logits(network.eval(), torch.zeros(1, 1, image_size, image_size, device=device))
    network.train(training)
    return int(counter.get_total_flops()) // 2
