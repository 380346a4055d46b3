"""The first screen of the report: models by test images, in one table and one picture."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from pneumo.report import assessed
from pneumo.report.drawing import PAPERS_TINY
from pneumo.report.overview import by_test_images, overviews
from pneumo.report.report_folder import write_report
from pneumo.runs.metrics import External
from pneumo.runs.writer import RunWriter
from tests.report.made_runs import groups_of, make_baseline, make_run, summary


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


def cells(text: str, heading: str) -> dict[str, list[str]]:
    """The cells of the first table below a heading, by its first column."""
    lines = text[text.index(heading) :].split("\n\n")[1].splitlines()
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {name: others for name, *others in rows}


def test_each_model_has_a_cell_for_each_set_and_what_is_missing_is_empty(runs: Path) -> None:
    text = summary(write_report([runs]))
    rows = cells(text, "## Kermany")
    assert rows["Model"] == ["Parameters", "Random split", "Official test", "External: nih"]
    assert set(rows) == {"Model", "---", "tiny", "compact", "thumbnail_svm"}
    _, random, official, of_others = rows["tiny"]
    assert (random, official[:2]) == ("", "0.")
    assert of_others == "0.540 (0.520 to 0.560, 2 trials)"
    assert rows["compact"][2:] == ["", ""]
    assert cells(text, "## Nih")["small"][-1] == "0.700 (0.600 to 0.800)"


def test_a_model_is_one_row_with_the_random_split_of_most_trials(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, seed=seed)
    for protocol in ("holdout", "official"):
        make_run(tmp_path, protocol=protocol)
    (overview,) = overviews(groups_of(tmp_path))
    assert overview.models == ["tiny"]
    auroc = overview.scores[overview.scores["score"] == "auroc"].set_index("column")
    shown = auroc[["trials", "is_optimistic"]].T.to_dict("list")
    assert shown == {assessed.RANDOM: [2, True], assessed.OFFICIAL: [1, False]}


def test_two_sets_of_one_kind_have_an_overview_each_beside_the_pictures_of_their_groups(
    tmp_path: Path,
) -> None:
    make_run(tmp_path)
    make_run(tmp_path / "b", images=300, index="bb22")
    groups = groups_of(tmp_path)
    tested = overviews(groups)
    assert [o.kind for o in tested] == ["kermany, 666 images", "kermany 2, 1,000 images"]
    slugs = [group.slug for group in groups] + [overview.slug for overview in tested]
    assert len(set(slugs)) == 4


def test_results_of_other_weights_and_broken_ones_are_left_out_by_name(runs: Path) -> None:
    stale, broken = sorted(runs.glob("model=tiny*"))
    np.savez(stale / "reference.npz", weights_sha256="another's")
    path = broken / "external" / "nih.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": "many"}))
    text = summary(write_report([runs]))
    assert "must be of the run's weights; it is of others. Score the images again" in text
    assert "images: Input should be a valid integer. Score the images again, or delete it" in text
    assert "0.540" not in text
    with pytest.raises(ValueError, match=r"must be new for other images; .* 9 images of images\."):
        kept(stale, "nih", 0.5, images_sha256="cc")


def test_the_picture_has_a_row_for_each_model_but_the_prior_and_no_mark_without_a_score(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(runs, model="prior", baseline=True, selection=None, protocol="official")
    overview = overviews(groups_of(runs))[0]
    figure = by_test_images(overview)
    assert figure is not None
    auroc, accuracy = figure.axes
    names = [text.get_text() for text in auroc.get_yticklabels()]
    assert set(names) == {"tiny", "compact", "thumbnail_svm", PAPERS_TINY}
    num_marks = sum(
        line.get_marker() != "None" and np.size(line.get_xdata()) > 0 for line in auroc.lines
    )
    assert num_marks == 5  # compact was not scored on the official and external images
    assert any(line.get_marker() == "*" for line in accuracy.lines)
    monkeypatch.setattr("pneumo.report.overview.MOST_DRAWN", 2)  # of which the baseline is one
    figure = by_test_images(overview)
    assert figure is not None
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["tiny", "thumbnail_svm", PAPERS_TINY]
