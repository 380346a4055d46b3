"""The pages in a browser: nothing is wider than the screen, nothing is missing, no error."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo.gallery import page as gallery
from pneumo.report.report_folder import write_report
from pneumo.runs.run import Run
from pneumo.shift import page
from tests.report.made_runs import make_baseline, make_run
from tests.report.test_external import kept

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
LONG = "a_long_folder_name_without_a_single_space_" * 4
# a page in a frame is laid out at the frame's width; a window cannot be as narrow as a phone
FRAME = """<body style="margin:0"><iframe style="width:{width}px;height:900px;border:0"
srcdoc="{page}" onload="const d = this.contentDocument;
d.querySelectorAll('details').forEach(x => x.open = true);
const root = d.documentElement;
document.body.dataset.seen = JSON.stringify([root.scrollWidth - root.clientWidth
+ [...d.querySelectorAll('.first .scroll')].reduce((s, x) => s + x.scrollWidth - x.clientWidth, 0),
[...d.images].filter(i => !i.complete || !i.naturalWidth).length])"></iframe>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.usefixtures("environment"),
]


def seen(text: str, folder: Path, *, width: int) -> tuple[int, int, list[str]]:
    """Pixels that a page or its first table is too wide, missing pictures, lines of the console."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(text)))
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [str(CHROMIUM), *arguments, profile, "--window-size=1300,950", "--dump-dom"]
    done = subprocess.run(
        [*command, frame.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    (result,) = re.findall(r'data-seen="(.*?)"', done.stdout)
    wide, missing = json.loads(html.unescape(result))
    return wide, missing, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


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
    row = {"path": "x.png", "distance": 1.5, "in": "layout", "odd": ["contrast low"]}
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


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["report", "shift", "errors"])
def test_a_page_fits_the_screen_and_is_whole(
    pages: dict[str, str], tmp_path: Path, name: str, width: int
) -> None:
    assert seen(pages[name], tmp_path, width=width) == (0, 0, [])


def test_what_is_too_wide_missing_or_wrong_is_seen(tmp_path: Path) -> None:
    broken = '<p style="width:500px">x</p><img src="data:,"><script>throw new Error("e")</script>'
    wide, missing, console = seen(f"<!doctype html>{broken}", tmp_path, width=390)
    assert wide > 100
    assert missing == 1
    assert any("Uncaught Error: e" in line for line in console)
