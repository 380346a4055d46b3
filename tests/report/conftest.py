import pytest


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time: only tests marked slow draw them."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr("pneumo.report.report_folder.PICTURES", {})
