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
            [{"views.scales": scales, "views.mirror": True} for scales in ([1], [1, 0.85])],
            ["(scales=[1])", "(scales=[1, 0.85])"],
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


def test_a_recipe_leaves_the_network_its_name() -> None:
    networks = [Trained("a", "net-fast", {"lr": 1}), Trained("a", "net", {"lr": 2})]
    assert labels(networks) == ["net-fast", "net"]
