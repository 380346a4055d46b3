from collections.abc import Iterator
from pathlib import Path

import pytest

from pneumo.report.report_folder import write_report
from tests.conftest import Patch
from tests.report.made_runs import make_baseline, make_run


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: Patch) -> None:
    """Pictures take most of the time: only tests marked slow draw them."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr("pneumo.report.report_folder.PICTURES", {})
        monkeypatch.setattr("pneumo.report.detection_figures.PICTURES", {})
        monkeypatch.setattr("pneumo.report.overview_figure.PICTURES", {})


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two networks, three seeds."""
    root = tmp_path / "sweep"
    for model in ("tiny", "small"):
        for seed in range(3):
            make_run(root, model=model, seed=seed)
    return root


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two networks and a baseline on three seeds, tiny also held out, with a report; read only."""
    root = tmp_path_factory.mktemp("finished") / "sweep"
    for seed in range(3):
        for model in ("tiny", "small"):
            make_run(root, model=model, seed=seed)
        make_baseline(root, seed=seed)
        make_run(root, seed=seed, protocol="holdout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pneumo.report.report_folder.PICTURES", {})
        write_report([root])
    yield root
