"""A network as blocks from its images to its last layer, for rates by depth and for freezing."""

from torch import nn
from torchvision.models.vision_transformer import Encoder


def blocks(body: nn.Module) -> dict[str, nn.Module]:
    """Returns the parts of a network that have weights, by name, from the images on.

    Parts are its modules, or the modules within a sequence, a list or the encoder of a vision
    transformer of torchvision.

    >>> list(blocks(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)))))
    ['0', '2.0']
    """
    parts: dict[str, nn.Module] = {}
    for name, child in body.named_children():
        if isinstance(child, Encoder):
            inner = blocks(child)
        elif isinstance(child, nn.Sequential | nn.ModuleList):
            inner = dict(child.named_children())
        else:
            inner = {"": child}
        parts |= {f"{name}.{part}".rstrip("."): module for part, module in inner.items()}
    return {name: module for name, module in parts.items() if list(module.parameters())}


def head(body: nn.Module) -> str:
    """Returns the name of the last dense layer, or of the last convolution if there is none.

    Raises:
        ValueError: the network has neither.
    """
    for kind in (nn.Linear, nn.Conv2d):
        if layers := [name for name, module in body.named_modules() if isinstance(module, kind)]:
            return str(layers[-1])
    raise ValueError("a network must have a dense layer or a convolution; this one has neither")


def groups(
    module: nn.Module, body: nn.Module, *, decay: float
) -> list[tuple[float, list[nn.Parameter]]]:
    """Returns all parameters of ``module`` by depth, the last block first, each with its share.

    A block without a convolution or dense layer belongs to the block before it. Parameters outside
    all blocks, such as a transformer's positions, have the share of the first.

    Args:
        module: contains the network.
        body: the network, split into blocks.
        decay: share of the learning rate from a block to the one before it, above 0, up to 1.
    """
    by_depth: list[list[nn.Parameter]] = []
    for block in blocks(body).values():
        if not by_depth or any(isinstance(m, nn.Conv2d | nn.Linear) for m in block.modules()):
            by_depth.append([])
        by_depth[-1] += block.parameters()
    inside = {parameter for parameters in by_depth for parameter in parameters}
    by_depth[0] = [p for p in module.parameters() if p not in inside] + by_depth[0]
    return [(decay**depth, group) for depth, group in enumerate(reversed(by_depth))]
