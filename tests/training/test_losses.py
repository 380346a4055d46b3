import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from pneumo.training.losses import CrossEntropy, Focal, balance, log_prior

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


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    target = np.array([0, 1, 1, 1, 2, 2])
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=target)
    np.testing.assert_allclose(balance(target, num_classes=3), wanted)
    assert balance(np.array([1, 1]), num_classes=2) == [0.0, 0.5]


def test_the_prior_is_of_normal_and_pneumonia_as_the_loss_counts_them() -> None:
    target = np.array([0, 1, 1, 1, 2, 2, 2, 2])  # an eighth NORMAL
    plain = log_prior(CrossEntropy(), target, num_classes=3)
    np.testing.assert_allclose(plain.exp(), np.array([1, 7, 7]) / 8)
    for number, classes in ((2, target > 0), (3, target)):
        loss = Focal(class_weights=balance(classes, num_classes=number))
        prior = log_prior(loss, classes, num_classes=number)
        others = [(number - 1) / number] * (number - 1)  # each class counts alike
        np.testing.assert_allclose(prior.exp(), [1 / number, *others], rtol=1e-6)
    for wrong in (np.array([1, 2]), np.array([0, 0])):
        with pytest.raises(ValueError, match="needs train images of both labels"):
            log_prior(CrossEntropy(), wrong, num_classes=3)
    with pytest.raises(ValueError, match="NORMAL has a share of 0"):
        log_prior(CrossEntropy(class_weights=[0, 1, 1]), target, num_classes=3)
