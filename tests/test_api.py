"""Training and predicting from Python; docs/quickstart.ipynb is run as it stands there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pneumo import api
from pneumo.data import phantom, reader
from pneumo.runs import pretrained
from tests.conftest import ROOT, Patch

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


@pytest.mark.parametrize(
    ("override", "rule"),
    [("modl=tiny", "Did you mean model"), ("trainer.max_epochs=0", "trainer.max_epochs must be")],
)
def test_a_wrong_setting_leaves_nothing(override: str, rule: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rule):
        api.fit(override, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_files_are_rows_and_what_holds_no_image_is_refused(tmp_path: Path) -> None:
    root = phantom.generate(tmp_path / "set", num_images=24, seed=7, progress=False)
    paths = sorted(root.rglob("*.jpeg"))[:2]
    table = api.predict([*paths, tmp_path / "gone.png"], threshold=0.0)
    assert table["path"].tolist() == [*map(str, paths), str(tmp_path / "gone.png")]
    assert table["decision"][:2].tolist() == ["PNEUMONIA"] * 2
    assert table["error"].notna().tolist() == [False, False, True]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there must be an image"):
        api.predict(tmp_path / "empty")
    with pytest.raises(ValueError, match="must be one of pretrained:compact-robust"):
        api.predict(paths, run="pretrained:huge")


GREY = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
DEEP = GREY.astype(np.uint16) * 16  # 12 bits in 16
COLOURS = np.dstack([GREY, GREY, GREY // 2])


def test_an_image_in_memory_is_read_as_its_png(tmp_path: Path) -> None:
    unit = (GREY / 255).astype(np.float32)
    wide, turned = Image.fromarray(DEEP.astype(np.int32)), np.flipud(np.flipud(GREY))
    for saved, images in (
        (GREY, (GREY, turned, Image.fromarray(GREY), GREY / 255, unit, Image.fromarray(unit))),
        (DEEP, (DEEP, DEEP.astype(">u2"), Image.fromarray(DEEP), wide)),
        (COLOURS, (Image.fromarray(COLOURS),)),
    ):
        Image.fromarray(saved).save(tmp_path / "a.png")
        file = reader.read(str(tmp_path / "a.png"), shapes=[(64, "pad")])
        for given in images:
            image = reader.read(reader.from_memory(given, name="image 0"), shapes=[(64, "pad")])
            assert (image.prepared[64, "pad"] == file.prepared[64, "pad"]).all()
            assert (image.odd, image.size, image.error) == (file.odd, file.size, "")


def test_arrays_pictures_files_and_a_loaded_model_have_the_same_probability(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(DEEP).save(path)
    with Image.open(path) as picture:
        table = api.predict([path, DEEP, str(tmp_path), picture], ids=True)
    assert table["path"].tolist() == [str(path), "image 1", str(path), "image 3"]
    assert table["p_pneumonia"].nunique() == 1
    assert table["SOPInstanceUID"].isna().all()
    (wanted,) = api.predict(DEEP)["p_pneumonia"]
    assert wanted == pytest.approx(table["p_pneumonia"][0], abs=1e-5)
    model = api.load_model(pretrained.DEFAULT)
    assert not model.training
    with torch.inference_mode():
        batch = torch.stack([model.transform(given) for given in (path, str(path), DEEP)])
        p = model(batch).softmax(1)[:, 1:].sum(1)
    assert p.tolist() == pytest.approx([wanted] * 3, abs=1e-5)


@pytest.mark.parametrize(
    ("image", "rule"),
    [
        (COLOURS, r"must have the shape \(H, W\), .* got \(90, 120, 3\)"),
        (GREY[:0], r"must have the shape \(H, W\), .* got \(0, 120\)"),
        (GREY.astype(np.int64), "must be of uint8, uint16 or float from 0 to 1; got int64"),
        (GREY.astype(np.float64), "values of float64 must be from 0 to 1; got 0 to 255"),
        (np.full((9, 9), np.nan), "values of float64 must be from 0 to 1; got nan to nan"),
        (Image.fromarray(GREY.astype(np.int32) * 999), "must be from 0 to 65,535; got 0 to 254745"),
        (Image.new("L", (0, 0)), "must have 1 to 100,000,000 pixels; this one has 0 x 0"),
        (b"a.png", "must be a path, a PIL image or a NumPy array .*; got bytes"),
        (None, "must be a path, a PIL image or a NumPy array .*; got NoneType"),
    ],
)
def test_other_images_are_refused_in_one_line(image: Any, rule: str) -> None:
    for images, place in ((image, 0), ([GREY, image], 1)):
        with pytest.raises(ValueError, match=rf"^image {place}: .*{rule}[^\n]*$"):
            api.predict(images)


def test_a_run_has_its_tables_scores_and_pictures() -> None:
    run = api.Run.open(pretrained.DEFAULT)
    table = run.predict([GREY, DEEP])
    first = ["path", "p_pneumonia", "decision", "ood", "ood_reason", "error"]
    assert table.columns[:6].tolist() == first
    written = run.metrics["best"]["test"]
    assert run.evaluate()["value"]["auroc"] == pytest.approx(written["auroc"], abs=1e-4)
    assert f"{written['auroc']:.3f}" in run._repr_html_()
    assert run._repr_html_().count("<table") == 1
    assert len(run.history) == len(run.metrics["history"] or [])
    assert run.plot_history().axes[0].get_title() == "loss"
    pytest.importorskip("captum")
    assert run.heatmap(GREY).size[0] > 500
    with pytest.raises(ValueError, match="must have the shape"):
        run.heatmap(COLOURS)


@pytest.mark.slow
def test_the_notebook(tmp_path: Path, cache_dir: Path, monkeypatch: Patch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PNEUMO_CACHE", str(cache_dir))
    names: dict[str, Any] = {}
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    for cell in cells:
        exec("".join(cell["source"]), names)
    shown = [set(out.get("data", ())) for cell in cells for out in cell["outputs"]]
    assert sum("image/png" in data for data in shown) == 2  # committed executed: plot and map
    assert sum("text/html" in data for data in shown) == 3
    assert "epoch 10/10" in capsys.readouterr().err
    for name in ("metrics.json", "status.json", ".hydra/config.yaml", "checkpoints/best.ckpt"):
        assert (names["run"].run_dir / name).is_file()
    assert names["run"].history["epoch"].tolist() == list(range(10))
    assert len(names["mine"]) == len(names["shipped"]) == 24
    settings = ("model=compact", "protocol=holdout", "trainer.max_epochs=10", *names["small"])
    again = api.fit(*settings, run_dir="first")
    assert again == names["run"]
    assert "Already done" in capsys.readouterr().err
