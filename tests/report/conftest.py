from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pneumo.report.report_folder import write_report
from tests.report.made_runs import make_baseline, make_run


@contextmanager
def without_pictures() -> Iterator[None]:
    """Leaves out the pictures, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("figures.PICTURES", "detection.PICTURES", "overview.PICTURES"):
            patch.setattr(f"pneumo.report.{name}", {})
        yield


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Only tests marked slow draw pictures."""
    if request.node.get_closest_marker("slow") is None:
        with without_pictures():
            yield
    else:
        yield


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two networks, three seeds."""
    root = tmp_path / "sweep"
    for model in ("tiny", "small"):
        for seed in range(3):
            make_run(root, model=model, seed=seed)
    return root


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks and a baseline on three seeds, tiny also held out, with a report; read only."""
    root = tmp_path_factory.mktemp("finished") / "sweep"
    for seed in range(3):
        for model in ("tiny", "small"):
            make_run(root, model=model, seed=seed)
        make_baseline(root, seed=seed)
        make_run(root, seed=seed, protocol="holdout")
    with without_pictures():
        write_report([root])
    return root
