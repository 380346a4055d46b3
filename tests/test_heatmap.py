import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pneumo import heatmap
from pneumo.data import image
from pneumo.inference import album, heatmap_images, saliency
from pneumo.inference.heatmap_images import Heatmaps, unprepared
from pneumo.inference.saliency import LogOdds
from pneumo.models.unet_encoder import Encoder
from pneumo.runs import run_folder
from pneumo.runs.run import Run
from pneumo.runs.writer import RunWriter
from tests.conftest import Call, Patch, Refused

# all of it stands on a run that is trained first
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("environment")]

SIDE = 64


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def radiographs(phantoms: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for number, path in enumerate(sorted(phantoms.rglob("*.jpeg"))[::50]):
        shutil.copy(path, folder / ("more" if number else "") / "radiograph.jpeg")
    return folder


class Corner(Encoder):
    """Calls PNEUMONIA by the texture of the upper left quarter only, which a blur takes away."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        texture = x[:, 0, : SIDE // 2, : SIDE // 2].diff(dim=2).abs().mean((1, 2)) / 4 - 2.5
        return torch.stack([-texture, texture], 1)


def noise() -> saliency.Map:
    return np.random.default_rng(0).integers(0, 60, (SIDE, SIDE)).astype(np.float32)


def test_occlusion_finds_the_place_that_matters_and_only_its_map_beats_chance() -> None:
    corner = LogOdds(Corner(f=2, d=4, c=4, image_size=SIDE).eval(), [1]).eval()
    heat = saliency.explain(corner, noise(), method="occlusion")
    assert heat.shape == (SIDE, SIDE)
    assert (heat.min(), heat.max()) == (0, 1)
    assert heat[: SIDE // 2, : SIDE // 2].mean() > 0.4
    assert heat[SIDE // 2 + SIDE // saliency.WINDOW :].max() == 0
    same = saliency.randomised_correlation(corner, noise(), heat, method="occlusion")
    assert same == pytest.approx(1)  # its weights do nothing, so random ones change nothing
    place = np.arange(SIDE, dtype=np.float32)
    right = -np.maximum(place[:, None], place[None, :])  # from the corner that matters outwards
    scores = saliency.faithfulness(corner, noise(), right)
    assert scores.gap > 0.1
    assert all(0 <= value <= 1 for value in scores[:2])
    assert saliency.faithfulness(corner, noise(), -right).gap < 0


@pytest.mark.parametrize("shape", [(64, 64), (50, 200), (201, 50), (20, 300)])
@pytest.mark.parametrize("aspect", ["stretch", "pad"])
def test_a_place_keeps_its_place_in_the_radiograph(shape: tuple[int, int], aspect: str) -> None:
    radiograph = np.zeros(shape, np.uint8)
    radiograph[shape[0] // 2 :, : shape[1] // 2] = 255
    prepared = image.resize(radiograph, size=SIDE, aspect=aspect)
    back = unprepared(prepared.astype(np.float32), shape, aspect=aspect)
    assert back.shape == shape
    assert np.abs(back - radiograph).mean() < 40  # the edges are soft; another place would be 128


def test_the_command_writes_a_picture_for_each_radiograph_that_can_be_read(
    run: Path, radiographs: Path, tmp_path: Path, call: Call
) -> None:
    out = tmp_path / "out"
    (radiographs / "zbroken.png").write_bytes(b"no image")
    done = call("heatmap", run, radiographs, radiographs / "gone.png", "--out", out, code=3)
    assert "zbroken.png" in done.err
    assert "gone.png" in done.err
    pictures = sorted(p.name for p in out.glob("*.png"))
    assert pictures == [
        "more__radiograph.jpeg.integrated-PNEUMONIA.png",
        "radiograph.jpeg.integrated-PNEUMONIA.png",
    ]
    with Image.open(out / pictures[1]) as picture:
        assert picture.size[0] > 800
    listed = json.loads((out / "heatmaps.json").read_text())
    drawn = [row for row in listed["images"] if "error" not in row]
    assert len(listed["images"]) == 4
    assert [row["picture"] for row in drawn] == pictures[::-1]  # in the order asked for
    assert str(tmp_path) not in json.dumps(drawn)
    opened = Run.open(run)
    prepared = image.prepare((radiographs / "radiograph.jpeg").read_bytes(), size=SIDE)
    with torch.no_grad():
        wanted = opened.views.logits(opened.network(), torch.tensor(prepared)[None, None].float())
    sick = float(wanted.softmax(1)[0, 1])
    assert drawn[0]["probability"] == pytest.approx(sick, abs=1e-5)


def test_scores_go_with_their_meaning_and_those_of_the_own_test_split_into_the_run_folder(
    run: Path, radiographs: Path, tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    monkeypatch.setattr(heatmap, "MAX_OWN", 2)
    out, more = tmp_path / "out", ("--method", "occlusion", "--class", "NORMAL")
    call("heatmap", run, radiographs / "radiograph.jpeg", "--out", out, "--score", *more)
    assert run_folder.read_maps(run, checkpoint="best") == []  # of radiographs that someone chose
    (run / "heatmap.json").write_text('{"schema": 1, "scores": [{}]}')  # broken: none
    scored = json.loads((out / "scores.json").read_text())
    assert set(scored["meaning"]) <= set(scored["mean"])
    radiograph = scored["images"][0]
    assert radiograph["gap"] == pytest.approx(radiograph["random"] - radiograph["deletion"])
    assert (scored["class"], scored["method"]) == ("NORMAL", "occlusion")
    for method in ("gradcam", "occlusion", "gradcam"):
        call("heatmap", run, "--out", out, "--score", "--method", method)
    found = run_folder.read_maps(run, checkpoint="best")
    assert [row["method"] for row in found] == ["occlusion", "gradcam"]
    assert all(row["mean"]["images"] + row["mean"]["flat"] == 2 for row in found)
    assert run_folder.read_maps(run, checkpoint="last") == []
    listed = json.loads((out / "scores.json").read_text())
    assert listed["mean"]["gap"] == found[1]["mean"]["gap"]
    pictures = set(out.glob("*.png"))
    call("heatmap", run, radiographs / "radiograph.jpeg", "--out", out)
    assert not (out / "scores.json").exists()  # those were of other pictures
    assert pictures < set(out.glob("*.png"))


def test_the_radiographs_that_are_drawn_are_one_of_a_patient(run: Path, monkeypatch: Patch) -> None:
    opened = Run.open(run)
    test = opened.of_split("test")
    names = {Path(name).name for name in heatmap._names(opened, ())}
    assert len(names) == min(heatmap.MAX_OWN, test["group"].nunique())
    groups = test[test["path"].map(lambda path: Path(path).name).isin(names)]["group"]
    assert groups.nunique() == len(names)


@pytest.mark.parametrize("name", ["a" * 250 + ".png", "-", "../../up.png", "/abs.png", "nul\0.png"])
def test_a_picture_stays_in_its_folder(name: str) -> None:
    targets = album.targets([name, "b/" + name.strip("/")], suffix=".gradcam-NORMAL.png").values()
    assert len(set(targets)) == 2
    for target in targets:
        assert target == Path(target).name
        assert len(target) < 255
        assert not target.startswith("-")


def test_a_folder_and_a_name_with_underscores_have_two_pictures() -> None:
    first, again, second = album.targets(["a/x.png", "./a/x.png", "a__x.png"], suffix="").values()
    assert first == again != second


def test_what_cannot_be_drawn_is_refused_and_leaves_everything(
    run: Path, radiographs: Path, tmp_path: Path, monkeypatch: Patch, refused: Refused, call: Call
) -> None:
    one, out = radiographs / "radiograph.jpeg", tmp_path / "out"
    for foreign in (radiographs, run):
        message = "--out must be new, empty or hold an earlier call's pictures"
        refused(message, "heatmap", run, one, "--out", foreign, keeps=tmp_path)
    refused("--out must", "heatmap", run, one, "--out", one, keeps=tmp_path)
    for method in ("gradcam", "occlusion"):  # its own folder is used again
        call("heatmap", run, one, "--out", out, "--method", method)
    assert len(list(out.glob("*.png"))) == 2
    listed = json.loads((out / "heatmaps.json").read_text())["images"]
    assert [row["picture"] for row in listed] == ["radiograph.jpeg.occlusion-PNEUMONIA.png"]
    with monkeypatch.context() as patch:
        patch.setenv("PNEUMO_DATA", str(tmp_path / "gone"))
        refused("set PNEUMO_DATA", "heatmap", run, "--out", tmp_path / "new", keeps=tmp_path)
    saved = torch.load(run / run_folder.BEST, weights_only=True)
    saved["state_dict"]["network.head.weight"][:] = 3e38  # finite, but not what comes of it
    torch.save(saved, run / run_folder.BEST)
    message = "probabilities must be finite; those of"
    refused(message, "heatmap", run, one, "--out", tmp_path / "new", keeps=tmp_path)


def test_the_picture_has_file_decision_threshold_and_the_scores_of_such_maps(
    run: Path, monkeypatch: Patch
) -> None:
    legends: list[str] = []
    monkeypatch.setattr(heatmap_images, "_draw", lambda _r, _h, legend: legends.append(legend))

    def legend(**options: Any) -> list[str]:
        maps = Heatmaps(Run.open(run), **options)
        maps.explain(noise().astype(np.uint8), name="folder/a.png")
        return legends[-1].splitlines()

    for threshold, called in ((0.0, "PNEUMONIA"), (1.0, "NORMAL")):
        file, decision, _, worth = legend(class_name="NORMAL", threshold=threshold)
        assert file == "a.png"
        assert f"Predicted {called}: PNEUMONIA " in decision
        assert decision.endswith(f"threshold {threshold:.3f}")
        assert worth.startswith("Not scored: run with --score")
    numbers = dict.fromkeys(run_folder.MAP_NUMBERS, 0.1) | {"images": 30, "flat": 2}
    about = {"class": "PNEUMONIA", "checkpoint": "best", "method": "occlusion"}
    for low, verdict in ((0.01, "+0.100, better"), (-0.01, "+0.100, no better")):
        RunWriter(run).write_maps(about | {"mean": numbers | {"gap_low": low}})
        worth = "\n".join(legend(method="occlusion"))
        assert f"deletion gap {verdict} than random order" in worth
        assert "On 32 test images (2 flat): " in worth
    assert "This map: deletion gap" in "\n".join(legend(method="occlusion", score=True))
    flat = lambda _model, image: torch.zeros(image[:, 0].shape)  # noqa: E731
    monkeypatch.setitem(saliency.ATTRIBUTIONS, "occlusion", flat)
    text = "\n".join(legend(method="occlusion"))
    assert "flat map: this method finds no evidence for PNEUMONIA; probability 0." in text
    fixed = Run.open(run).assessment["operating_point"]["threshold"]
    for checkpoint, threshold in (("best", fixed), ("last", 0.5)):
        assert Heatmaps(Run.open(run), checkpoint=checkpoint).threshold == threshold
