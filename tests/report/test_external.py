"""External scores in the report: read from run folders, in one table and one picture."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from pneumo.report import external, external_figure
from pneumo.report.report_folder import write_report
from pneumo.runs.external import External
from pneumo.runs.writer import RunWriter
from tests.report.made_runs import make_baseline, make_run, page, summary


def kept(run: Path, name: str, auroc: float, **changed: Any) -> None:
    """Writes external/NAME.json as evaluate does."""
    result = {
        "schema": 1, "name": name, "data": "images", "checkpoint": "best", "images": 9,
        "patients": 9, "NORMAL": 4, "PNEUMONIA": 5, "images_sha256": "aa", "weights_sha256": "bb",
        "assessment": {
            "ranking": None,
            "scores": {"auroc": {"value": auroc, "low": auroc - 0.1, "high": auroc + 0.1}},
        },
    } | changed  # fmt: skip
    RunWriter(run).write_external(cast(External, result))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """tiny on two seeds and an SVM, of Kermany's set; small of another set; compact without."""
    root = tmp_path / "runs"
    for seed, auroc in ((0, 0.52), (1, 0.56)):
        kept(make_run(root, seed=seed, protocol="official"), "nih", auroc)
    kept(make_baseline(root, protocol="official"), "nih", 0.6)
    kept(make_run(root, model="small", kind="nih"), "kermany", 0.7)
    make_run(root, model="compact", protocol="holdout")
    return root


def test_each_network_has_three_numbers_and_what_is_missing_is_empty(runs: Path) -> None:
    text = summary(write_report([runs]))
    start = text.index("| Network | Random split | Official test split | External images |")
    rows = {}
    for line in text[start:].split("\n\n")[0].splitlines()[2:]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name] = cells
    assert set(rows) == {
        *(f"{name} (trained on kermany)" for name in ("tiny", "compact", "thumbnail_svm")),
        "small (trained on nih)",
    }
    random, official, of_others = rows["tiny (trained on kermany)"]
    assert (random, official[:2]) == ("", "0.")
    assert of_others == "0.540 (0.520 to 0.560, nih, official protocol, 2 trials)"
    assert rows["compact (trained on kermany)"][1:] == ["", ""]
    assert rows["small (trained on nih)"][2] == "0.700 (0.600 to 0.800, kermany, paper protocol)"


def test_results_of_other_weights_and_broken_ones_are_left_out_by_name(runs: Path) -> None:
    stale, broken = sorted(runs.glob("model=tiny*"))
    np.savez(stale / "reference.npz", weights_sha256="another's")
    path = broken / "external" / "nih.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": "many"}))
    text = summary(write_report([runs]))
    assert "nih.json must be of the run's weights; it is of others. Score the images again" in text
    assert "images: Input should be a valid integer. Score the images again, or delete it" in text
    assert "0.540" not in text
    with pytest.raises(ValueError, match=r"must be new for other images; .* 9 images of images\."):
        kept(stale, "nih", 0.5, images_sha256="cc")


@pytest.mark.slow
def test_the_page_shows_the_picture_and_a_new_report_replaces_it(runs: Path) -> None:
    for _ in range(2):
        report = write_report([runs])
        assert "Trained on one set, tested on others" in page(report)
        assert (report / "all-tested-on.png").is_file()


def row(network: str, tested: str, value: float, *, column: str) -> external.Result:
    about = (network, "kermany", "paper", column, tested)
    return external.Result(*about, value, value - 0.1, value + 0.1, 1)


def test_the_picture_has_networks_with_external_results_by_the_sets_they_were_tested_on() -> None:
    own = [row(name, "kermany", 0.9, column=external.RANDOM) for name in ("a", "b")]
    assert external_figure.tested_on(own) is None
    figure = external_figure.tested_on([*own, row("a", "nih", 0.5, column=external.EXTERNAL)])
    assert figure is not None
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["kermany", "nih"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a\nkermany, paper"]
    assert [text.get_text() for text in axes.texts] == ["0.90\n0.80 to 1.00", "0.50\n0.40 to 0.60"]
