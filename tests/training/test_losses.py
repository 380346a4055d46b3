import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from pneumo.training.losses import CrossEntropy, Focal, balance

LOGIT = torch.tensor([[2.0, -1.0], [0.5, 0.4], [-3.0, 1.0], [0.0, 0.0]])
TARGET = torch.tensor([0, 1, 0, 1])


def test_the_default_is_the_plain_cross_entropy_to_the_last_digit() -> None:
    assert CrossEntropy()(LOGIT, TARGET) == functional.cross_entropy(LOGIT, TARGET)


@pytest.mark.parametrize("weights", [None, [1.0, 3.0]])
def test_focal_loss_without_gamma_is_the_cross_entropy(weights: list[float] | None) -> None:
    wanted = CrossEntropy(class_weights=weights)(LOGIT, TARGET)
    torch.testing.assert_close(Focal(gamma=0, class_weights=weights)(LOGIT, TARGET), wanted)


def test_focal_loss_is_that_of_its_paper() -> None:
    probability = LOGIT.softmax(1)[torch.arange(4), TARGET]
    wanted = (-((1 - probability) ** 2) * probability.log()).mean()
    torch.testing.assert_close(Focal(gamma=2)(LOGIT, TARGET), wanted)


@pytest.mark.parametrize("loss", [CrossEntropy, Focal])
def test_class_weights_go_with_the_module_to_its_device(loss: type[torch.nn.Module]) -> None:
    assert loss(class_weights=[1.0, 2.0]).to("meta").weight.device.type == "meta"


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    target = np.array([0, 1, 1, 1, 2, 2])
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=target)
    np.testing.assert_allclose(balance(target, num_classes=3), wanted)
    assert balance(np.array([1, 1]), num_classes=2) == [0.0, 0.5]
