"""The documentation site builds without a warning, and its pages fit a desk and a phone."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import diagrams
from pneumo.__main__ import VERBS
from tests import browser
from tests.conftest import ROOT
from tests.test_layers import ORDER

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
    for page in site.rglob("*.html"):
        assert 'src="http' not in page.read_text(), f"{page} loads from elsewhere"


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
