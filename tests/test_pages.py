"""The pages in a browser: nothing is wider than the screen, nothing is missing, no error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo.gallery import page as gallery
from pneumo.report.report_folder import write_report
from pneumo.runs.run import Run
from pneumo.shift import page
from tests import browser
from tests.report.made_runs import make_baseline, make_run
from tests.report.test_external import kept

LONG = "a_long_folder_name_without_a_single_space_" * 4

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.CHROMIUM, reason="no Chromium: apt-get install chromium"),
    pytest.mark.usefixtures("environment"),
]


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory, finished_run: Path, environment: None
) -> dict[str, str]:
    root = tmp_path_factory.mktemp("runs") / LONG
    for protocol in ("paper", "official"):
        run = make_run(root, protocol=protocol, recipe="compact-with-a-long-recipe-name")
        kept(run, "nih", 0.6)
        make_run(root, model="efficientnet_lite0_of_a_long_name", protocol=protocol)
        make_baseline(root, protocol=protocol)
    images = tmp_path_factory.mktemp("images") / LONG
    images.mkdir()
    Image.fromarray(np.full((60, 90), 99, np.uint8)).save(images / "x.png")
    row = {"path": "x.png", "distance": 1.5, "in": "layout"}
    shift = {
        **{"reference": "test", "run": LONG, "differ": False, "unreadable": [], "measures": []},
        "spaces": [{"space": "picture", "group": "all", "why_not": "too few patients of both"}],
        "groups": [{"group": "all", "here": 3, "validation": 9}],
        "distance": {"why_not": "the run has no reference.npz"},
        **{"here": {"images": 3}, "validation": {"images": 9}},
        **{"farthest": [row], "ordinary": ["x.png"]},
    }
    scored = {"scored_on": {"what": str(images)}, "notes": [], "shift": shift}
    return {
        "report": (write_report([root]) / "report.html").read_text(),
        "shift": page.html(scored, root=images, own_root=images, own=None),
        "errors": gallery.html(Run.open(finished_run, name=LONG), checkpoint="best"),
    }


def test_pages_fit_a_desk_and_a_phone_and_are_whole(pages: dict[str, str], tmp_path: Path) -> None:
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text)
    assert browser.problems(tmp_path, [f"{name}.html" for name in pages]) == []
