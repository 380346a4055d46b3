"""Labels of several recipes of one network: as few settings as distinguish them."""

import pytest

from pneumo.report.settings import Trained, labels


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (
            [
                {"views.mirror": True, "optimizer.lr": 0.006, "schedule.max_lr": 0.006},
                {"views.mirror": False, "optimizer.lr": 0.001, "schedule.max_lr": 0.001},
                {"views.mirror": False, "optimizer.lr": 0.006, "schedule.max_lr": 0.006},
            ],
            ["(mirror=True, lr=0.006)", "(mirror=False, lr=0.001)", "(mirror=False, lr=0.006)"],
        ),
        (
            [{"scales": of, "mirror": 1} for of in ([1], [1, 2])],
            ["(scales=[1])", "(scales=[1, 2])"],
        ),
        (
            [
                {"a.gamma": 1, "b.gamma": 1},
                {"a.gamma": 2, "b.gamma": 1},
                {"a.gamma": 2, "b.gamma": 3},
            ],
            [f"(a.gamma={a}, b.gamma={b})" for a, b in ((1, 1), (2, 1), (2, 3))],
        ),
    ],
)
def test_labels_have_the_settings_that_distinguish(
    settings: list[dict[str, object]], wanted: list[str]
) -> None:
    networks = [Trained("kermany-official", "net", each) for each in settings]
    assert labels(networks) == [f"net {label}" for label in wanted]
    recipe = Trained("kermany-official", "net-fast", {"lr": 1})  # whose name says enough
    assert labels([recipe, networks[0]]) == ["net-fast", "net"]
