"""The pictures of groups of made-up runs."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pneumo.evaluation import published
from pneumo.report import figures
from pneumo.report.report_folder import write_report
from tests.report.made_runs import groups_of, make_run, page, rescore


def test_figure_1_shows_the_papers_figures_however_close_ours_are(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    for split in ("train", "test"):
        rescore(folder, split=split, f1_normal=0.91, f1_pneumonia=0.97)
    figure = figures.f1_by_network(*groups_of(tmp_path))
    assert figure is not None
    for ax, shown in zip(figure.axes, ((0.91, published.ALL_F1), (0.97,)), strict=True):
        low, high = ax.get_ylim()
        assert low < min(shown) <= max(shown) < high


def test_few_trials_have_no_box_and_many_networks_no_bands(tmp_path: Path) -> None:
    for model, num_bands in (("tiny", 1), ("small", 2), ("medium", 3), ("large", 0)):
        make_run(tmp_path, model=model)
        (group,) = groups_of(tmp_path)
        boxes, bands = figures.f1_by_network(group), figures.roc_and_precision_recall(group)
        assert boxes is not None
        assert bands is not None
        assert not boxes.axes[0].patches
        assert len(bands.axes[0].collections) == num_bands


class Loads(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "img"):
            self.loads.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data") or (name == "href" and tag in ("link", "use")):
                self.loads.append(f"{tag} {value}")
            if value and re.match(r"(https?:)?//", value) and not name.startswith("xmlns"):
                self.loads.append(f"{tag} {name} {value}")


@pytest.mark.slow
def test_pictures_and_page_are_whole_and_the_same_again(sweep: Path) -> None:
    report = write_report([sweep])
    files = {path.name: path.read_bytes() for path in report.iterdir()}
    names = ("figure1", "learning-curves", "confusion", "roc-precision-recall", "accuracy-size")
    for name in names:
        assert files[f"kermany-paper-{name}.png"].startswith(b"\x89PNG")
        assert b"</svg>" in files[f"kermany-paper-{name}.svg"]
        assert files[f"kermany-paper-{name}.pdf"].startswith(b"%PDF")
    text = page(report)
    made = f"Made by <code>python -m pneumo.report {sweep}</code> from runs of abc1234 (6)."
    assert text.count(made) == 2  # below the first screen's pictures and those of the group
    assert text.count("<svg") == len(names) + 1  # and the first screen's
    loads = Loads()
    loads.feed(text)
    assert set(loads.loads) <= {"link data:,"}
    assert "url(http" not in text
    assert "@import" not in text
    again = {path.name: path.read_bytes() for path in write_report([sweep]).iterdir()}
    assert again == files


@pytest.mark.slow
def test_pictures_of_bad_runs_are_drawn_or_left_out(tmp_path: Path) -> None:
    make_run(tmp_path, sick=1.1)  # one class, one seed
    folder = make_run(tmp_path, model="b$ar$", history=[], parameters=None)
    (folder / "predictions.csv").unlink()
    make_run(tmp_path / "c", kind="phantom", history=[])
    names = {path.name for path in write_report([tmp_path]).glob("*.png")}
    assert "kermany-paper-figure1.png" in names
    assert "phantom-paper-learning-curves.png" not in names
