"""The documentation site builds without a warning; its pages and ours fit a desk and a phone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import diagrams
from pneumo.__main__ import VERBS
from pneumo.gallery import page as gallery
from pneumo.report.report_folder import write_report
from pneumo.runs.run import Run
from pneumo.shift import page
from tests import browser
from tests.conftest import ROOT
from tests.report.made_runs import make_baseline, make_run
from tests.report.test_external import kept
from tests.test_layers import ORDER

LONG = "a_long_folder_name_without_a_single_space_" * 4

needs_browser = pytest.mark.skipif(not browser.CHROMIUM, reason="needs Chromium")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.mark.slow
def test_the_site_has_each_command_and_each_setting_and_loads_nothing(site: Path) -> None:
    commands = (site / "reference" / "cli.html").read_text()
    assert [verb for verb in VERBS if f"usage: python -m pneumo.{verb}" not in commands] == [
        "train"
    ]
    settings = (site / "reference" / "settings.html").read_text()
    assert [p for p in (ROOT / "conf").rglob("*.yaml") if f">{p.stem}" not in settings] == []
    assert "pneumo.api.predict" in (site / "reference" / "api.html").read_text()
    for html in site.rglob("*.html"):
        assert 'src="http' not in html.read_text(), f"{html} loads from elsewhere"


@pytest.mark.slow
@needs_browser
def test_pages_have_no_overflow_no_missing_picture_and_no_error(site: Path) -> None:
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    assert browser.problems(site, pages) == []


@needs_browser
def test_the_browser_finds_what_is_wrong_with_a_page(tmp_path: Path) -> None:
    bad = (
        '<!doctype html><div style="width:600px">.</div><img src="no.png"><script>throw 1</script>'
    )
    (tmp_path / "bad.html").write_text(bad)
    found = browser.problems(tmp_path, ["bad.html"])
    assert "bad.html at 390 px: 608 px wide" in found
    assert "bad.html: no picture no.png" in found
    assert any("Uncaught" in message for message in found)


def test_the_diagrams_are_those_of_the_packages() -> None:
    for name, text in diagrams.PICTURES.items():
        assert (diagrams.FIGURES / name).read_text() == text, "run python -m benchmarks.diagrams"
    assert [set(row.split()) for row in reversed(diagrams.PACKAGES)] == list(ORDER)


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


@pytest.mark.slow
@needs_browser
@pytest.mark.usefixtures("environment")
def test_pages_fit_a_desk_and_a_phone_and_are_whole(pages: dict[str, str], tmp_path: Path) -> None:
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text)
    assert browser.problems(tmp_path, [f"{name}.html" for name in pages]) == []
