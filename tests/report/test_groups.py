"""Labels of several recipes of one network: as few settings as distinguish them."""

import pytest

from pneumo.report.groups import Cell, Group, _label
from pneumo.report.trials import Trial


@pytest.mark.parametrize(
    ("settings", "labels"),
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
    settings: list[dict[str, object]], labels: list[str]
) -> None:
    cells = [Cell("net", "net", each, []) for each in settings]
    _label([Group("kermany", "official", "digest", "kermany-official", cells)])
    assert [cell.label for cell in cells] == [f"net {label}" for label in labels]


def test_a_recipe_is_named_and_leaves_the_network_its_name() -> None:
    recipe = Trial("run", {"model": "net", "recipe": "net-fast"})
    plain = Trial("other", {"model": "net", "recipe": None})
    cells = [Cell("net", "net", {"lr": lr}, [trial]) for lr, trial in ((1, recipe), (2, plain))]
    _label([Group("kermany", "official", "digest", "kermany-official", cells)])
    assert [cell.label for cell in cells] == ["net-fast", "net"]
