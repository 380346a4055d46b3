"""Heat maps of networks that read brightness alone, on images whose one opacity is known."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pneumo.data import phantom_drawing as phantom
from pneumo.inference import saliency
from pneumo.inference.saliency import LogOdds, Map
from pneumo.labels import BACTERIA
from pneumo.models.base import Network, Wrapped
from pneumo.models.compact import Compact
from pneumo.models.library import LibraryNetwork
from pneumo.models.unet_encoder import Encoder
from pneumo.models.views import Views

SIDE = 128  # pixels of the images
WIDTHS = ((12, 12), (16,), (24,), (32,))
VIEWS = [Views(), Views((1, 0.8), mirror=True)]
FAMILIES: dict[str, Callable[[], Network]] = {
    "encoder": lambda: Encoder(f=2, d=4, c=4, image_size=SIDE),
    "compact": lambda: Wrapped(Compact(stem=8, widths=WIDTHS), image_size=SIDE),
    "compact, per image": lambda: Wrapped(
        Compact(stem=8, widths=WIDTHS, per_image=True), image_size=SIDE
    ),
    "library": lambda: _library(heatmap_layer="stage2"),
}


def _library(*, heatmap_layer: str) -> Network:
    """A small network whose strides move a map up and left, by half a pixel of it at each."""
    made = LibraryNetwork(library="torchvision", architecture="shufflenet_v2_x0_5", image_size=SIDE)
    made.draw(heatmap_layer)
    return made


SLOW = [pytest.param("library", marks=pytest.mark.slow)]  # a second an occlusion


@pytest.fixture(scope="module", params=[*list(FAMILIES)[:-1], *SLOW])
@torch.no_grad()
def network(request: pytest.FixtureRequest) -> Network:
    """A network that hands the image on in its first channel and sums it up for PNEUMONIA."""
    made = FAMILIES[request.param]().eval()
    made.mean.fill_(100)
    made.std.fill_(20)
    dense = [module for module in made.modules() if isinstance(module, nn.Linear)]
    for name, value in made.named_parameters():
        if value.ndim > 1 or name.endswith(("convolution.bias", "head.bias")):
            value.zero_()
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            module.weight[0, 0, module.kernel_size[0] // 2, module.kernel_size[1] // 2] = 1
    for module in dense[:-1]:
        module.weight[0] = 1 / module.in_features
    dense[-1].weight[:, 0] = torch.tensor([-1.0, 1.0])
    return made


def draw_phantom(person: int) -> tuple[Map, tuple[float, float, float, float]]:
    """The opacity of a phantom with one, on an even grey, and its box in pixels of the image.

    A network that reads brightness would look at the ribs and the heart: the same radiograph
    without its opacity is subtracted.
    """
    anatomy = phantom.draw_anatomy(np.random.default_rng(person))
    sick, well = (
        phantom.draw_radiograph(np.random.default_rng(person), subtype=subtype, anatomy=anatomy)
        for subtype in (BACTERIA, "normal")
    )
    boxes, size = phantom.draw_boxes(
        np.random.default_rng(person), subtype=BACTERIA, anatomy=anatomy
    )
    opacity = cv2.GaussianBlur(sick.astype(np.float32) - well, (0, 0), 8)
    image = 100 + cv2.resize(opacity, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    left, top, right, bottom = (boxes[0].reshape(2, 2) * SIDE / np.array(size)).ravel()
    return np.asarray(image, np.float32), (left, top, right, bottom)


@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("method", saliency.ATTRIBUTIONS)
@pytest.mark.parametrize("person", [2, 5])
def test_the_maximum_lies_in_the_box_of_the_opacity(
    network: Network, method: str, views: Views, person: int
) -> None:
    image, (left, top, right, bottom) = draw_phantom(person)
    model = LogOdds(network, [1], views=views).eval()
    heat = saliency.explain(model, image, method=method)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() == 1
    row, column = np.argwhere(heat > 0.95).mean(0)
    margin = SIDE / saliency.STRIDE / 2  # half a step of occlusion's window
    assert left - margin <= column <= right + margin
    assert top - margin <= row <= bottom + margin
    assert (column < SIDE / 2) == (left + right < SIDE)


@pytest.mark.parametrize("method", saliency.ATTRIBUTIONS)
def test_the_map_of_the_mirror_image_is_the_mirrored_map(network: Network, method: str) -> None:
    model = LogOdds(network, [1], views=Views(mirror=True)).eval()
    image, _ = draw_phantom(2)
    heat = saliency.explain(model, image, method=method)
    mirrored = saliency.explain(model, image[:, ::-1].copy(), method=method)
    np.testing.assert_allclose(mirrored[:, ::-1], heat, atol=1e-3)
    assert saliency.rank_correlation(heat, heat[:, ::-1]) < 0.9


def test_bacteria_and_virus_together_are_pneumonia() -> None:
    network = Encoder(f=2, d=4, c=4, image_size=SIDE, num_classes=3).eval()
    image, _ = draw_phantom(2)
    with torch.no_grad():
        share = network(torch.from_numpy(image)[None, None]).softmax(1).numpy()
    for chosen in ([0], [1, 2]):
        p = saliency.probabilities(LogOdds(network, chosen).eval(), image[None])
        np.testing.assert_allclose(p, share[:, chosen].sum(1), atol=1e-6)


class Twice(Network):
    """Its one convolution runs on the image and on its mirror image."""

    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) to (B, 2)."""
        once, again = (self.convolution(view).mean((2, 3)) for view in (x, x.flip(3)))
        return once + again  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_a_layer_that_runs_twice_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="needs a layer that runs once in a forward pass"):
        saliency.explain(LogOdds(Twice(), [1]).eval(), draw_phantom(2)[0], method=method)
