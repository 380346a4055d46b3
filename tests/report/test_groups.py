"""Labels of several recipes of one network: as few settings as tell them apart."""

from pneumo.report.groups import Cell, Group, _label


def group(*settings: dict[str, object]) -> Group:
    cells = [Cell("net", "net", one, []) for one in settings]
    return Group("kermany", "official", "digest", "kermany-official", cells)


def test_a_setting_that_tells_no_more_is_left_out() -> None:
    one = group(
        {"views.mirror": True, "optimizer.lr": 0.006, "schedule.max_lr": 0.006},
        {"views.mirror": False, "optimizer.lr": 0.001, "schedule.max_lr": 0.001},
        {"views.mirror": False, "optimizer.lr": 0.006, "schedule.max_lr": 0.006},
    )
    _label([one])
    assert [cell.label for cell in one.cells] == [
        "net (mirror=True, lr=0.006)",
        "net (mirror=False, lr=0.001)",
        "net (mirror=False, lr=0.006)",
    ]


def test_two_settings_of_one_name_keep_their_groups() -> None:
    one = group(
        {"a.gamma": 1, "b.gamma": 1}, {"a.gamma": 2, "b.gamma": 1}, {"a.gamma": 2, "b.gamma": 3}
    )
    _label([one])
    assert one.cells[0].label == "net (a.gamma=1, b.gamma=1)"
