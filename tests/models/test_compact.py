"""Compact: its size, any side of the image, and the standardisation per image."""

import pytest
import torch

from pneumo.models.base import Wrapped
from pneumo.models.compact import Compact
from pneumo.models.views import multiply_adds, num_parameters


def test_size_is_within_that_of_tiny_and_images_of_any_side_fit() -> None:
    network = Wrapped(Compact(), image_size=128)
    assert num_parameters(network) == 113_234
    assert multiply_adds(network, image_size=128) / 1e6 == pytest.approx(18.9, abs=0.05)
    for side in (32, 64, 160):
        assert Compact(num_classes=3)(torch.randn(2, 1, side, side)).shape == (2, 3)


def test_an_image_standardised_by_itself_has_no_brightness_and_no_contrast() -> None:
    torch.manual_seed(0)
    network = Compact(per_image=True).eval()
    x = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(network(x), network(0.3 * x + 2), atol=1e-4, rtol=1e-4)
    assert network(torch.ones(1, 1, 64, 64)).isfinite().all()
