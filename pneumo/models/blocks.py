"""A network as blocks from its images to its last layer, for rates by depth and for freezing."""

from torch import nn
from torchvision.models.vision_transformer import Encoder


def blocks(body: nn.Module) -> dict[str, nn.Module]:
    """Returns the parts of a network that have weights, by name, from the images on.

    They are its modules, or where one is a sequence or a list the modules in that; of torchvision's
    vision transformers each layer of the encoder.

    >>> list(blocks(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)))))
    ['0', '2.0']
    """
    found: dict[str, nn.Module] = {}
    for name, child in body.named_children():
        if isinstance(child, Encoder):
            found |= {f"{name}.{part}": module for part, module in blocks(child).items()}
            continue
        within = isinstance(child, nn.Sequential | nn.ModuleList)
        parts = child.named_children() if within else [("", child)]
        found |= {f"{name}.{part}".rstrip("."): module for part, module in parts}
    return {
        name: module for name, module in found.items() if any(True for _ in module.parameters())
    }


def head(body: nn.Module) -> str:
    """Returns the name of the last dense layer, or of the last convolution where there is none.

    Raises:
        ValueError: there is neither.
    """
    for kind in (nn.Linear, nn.Conv2d):
        if layers := [name for name, module in body.named_modules() if isinstance(module, kind)]:
            return str(layers[-1])
    raise ValueError("a network must have a dense layer or a convolution; this one has neither")


def groups(
    module: nn.Module, body: nn.Module, *, decay: float
) -> list[tuple[float, list[nn.Parameter]]]:
    """Returns all parameters of ``module`` by depth, the last block first, each with its share.

    A block without a convolution or dense layer belongs to the one before it. What is in no block,
    such as a transformer's positions, has the share of the first.

    Args:
        module: with the network in it.
        body: of which blocks are made.
        decay: share of the learning rate from a block to the one before it, above 0, up to 1.
    """
    by_depth: list[list[nn.Parameter]] = []
    for block in blocks(body).values():
        if not by_depth or any(isinstance(one, nn.Conv2d | nn.Linear) for one in block.modules()):
            by_depth.append([])
        by_depth[-1] += block.parameters()
    known = {id(one) for depth in by_depth for one in depth}
    others = [one for one in module.parameters() if id(one) not in known]
    by_depth[0] = others + by_depth[0]
    return [(decay**number, depth) for number, depth in enumerate(reversed(by_depth))]
