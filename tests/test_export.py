import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pneumo.arguments.export import EXAMPLE
from pneumo.data import image
from pneumo.export import main
from pneumo.inference import ensemble, onnx_export
from pneumo.labels import CLASS_NAMES
from pneumo.models.unet_encoder import Encoder
from pneumo.models.views import Views
from pneumo.report import documents
from pneumo.runs.metrics import read_metrics
from pneumo.runs.run import Run
from tests.conftest import Call, Patch, Refused, start

# all of it stands on a run that is trained first
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("environment")]


@pytest.fixture
def radiographs(phantoms: Path) -> list[str]:
    return [str(path) for path in sorted(phantoms.rglob("*.jpeg"))[::30]]


@pytest.fixture(scope="module")
def exported(
    environment: None, finished_run: Path, phantoms: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("exported") / "new"
    radiograph = next(iter(sorted(phantoms.rglob("*.jpeg"))))
    assert main([str(finished_run), "--out", str(out), "--check", str(radiograph)]) == 0
    return out


@pytest.fixture
def built(exported: Path, monkeypatch: Patch) -> None:
    """An export takes the graph of ``exported``, since building one takes seconds."""
    model = onnx.load(exported / "model.onnx")
    monkeypatch.setattr(onnx_export, "build", lambda *_, **__: model)


def about(path: Path) -> dict[str, str]:
    return {p.key: p.value for p in onnx.load(path).metadata_props}


def test_the_file_says_what_a_user_needs_beside_a_card_and_no_path_of_this_machine(
    exported: Path, finished_run: Path
) -> None:
    found, metrics = about(exported / "model.onnx"), read_metrics(finished_run)
    assert found["classes"] == "NORMAL,PNEUMONIA"
    assert (found["image_size"], found["aspect"]) == ("64", "stretch")
    assert json.loads(found["preprocessing"]) == metrics["preprocessing"]
    assert found["split_sha256"] == metrics["data"]["split_sha256"]
    assert 0 <= float(found["operating_threshold"]) <= 1
    assert 0.05 <= float(found["temperature"]) <= 20
    assert (found["licence_code"], found["epoch_chosen_on"]) == ("MIT", "val")
    assert "not a medical device" in found["limits"]
    files = sorted(exported.iterdir())
    assert [p.name for p in files] == ["model-card.md", "model-checklists.md", "model.onnx"]
    for place in (finished_run, Path(onnx_export.__file__).parent, Path(torch.__file__).parent):
        assert not any(str(place).encode() in path.read_bytes() for path in files)


@pytest.mark.usefixtures("built")
def test_checks_that_fail_are_refused_and_files_that_cannot_be_read_are_named(
    finished_run: Path, radiographs: list[str], tmp_path: Path, monkeypatch: Patch, call: Call
) -> None:
    broken, out = tmp_path / "broken.png", tmp_path / "a.onnx"
    broken.write_bytes(b"no image")
    given = ("export", finished_run, "--out", out, "--check")
    call(*given, broken, code=2)
    true = onnx_export.network_outputs
    with monkeypatch.context() as patch:
        patch.setattr(onnx_export, "network_outputs", lambda *given: true(*given) + 0.1)
        error = call(*given, radiographs[0], code=2).err
    assert "ONNX Runtime must agree with the network" in error
    assert not out.exists()
    assert "broken.png" in call(*given, radiographs[0], broken, code=3).err
    assert out.is_file()


def test_example_is_ten_lines_and_needs_no_torch(
    exported: Path, finished_run: Path, radiographs: list[str], tmp_path: Path
) -> None:
    assert len(EXAMPLE.splitlines()) == 10
    end = "assert not {'torch', 'pneumo', 'pandas'} & set(sys.modules)\n"
    (tmp_path / "use.py").write_text(EXAMPLE + end)
    use = (sys.executable, "use.py", exported / "model.onnx", radiographs[0])
    done = start(*use, cwd=tmp_path, PYTHONWARNINGS="error")
    assert done.returncode == 0, done.stderr
    opened = Run.open(finished_run)
    prepared = image.prepare(Path(radiographs[0]).read_bytes(), size=64)
    wanted = onnx_export.network_outputs(opened.network(), opened.views, prepared)[1]
    for line, name, value in zip(done.stdout.splitlines(), CLASS_NAMES, wanted, strict=False):
        assert line.partition(": ")[0] == name
        assert float(line.partition(": ")[2]) == pytest.approx(value, abs=0.02)


@pytest.mark.parametrize(
    ("aspect", "views"), [("stretch", Views()), ("pad", Views()), ("pad", Views((1, 0.85), True))]
)
def test_the_graph_prepares_and_averages_as_the_training_does(aspect: str, views: Views) -> None:
    torch.manual_seed(0)
    network = Encoder(f=4, d=4, c=8, image_size=32, num_classes=3).eval()
    rng = np.random.default_rng(0)
    pictures = []
    for size in [(32, 32), (31, 33), (20, 90), (90, 20), (200, 301), (1, 99), (64, 64)]:
        pixels = np.full(size, rng.integers(256), np.uint8)
        pixels[: size[0] // 2] = rng.integers(0, 256, (size[0] // 2, size[1]))
        pictures.append(pixels)
    prepared = [image.resize(pixels, size=32, aspect=aspect) for pixels in pictures]
    wanted = [onnx_export.network_outputs(network, views, pixels) for pixels in prepared]
    pneumonia = np.array([1 - probability[0] for _, probability in wanted])
    threshold = float(pneumonia.mean())
    about = {"image_size": 32, "aspect": aspect, "properties": {"a": "b"}}
    model = onnx_export.build(network, views=views, threshold=threshold, **about)  # type: ignore[arg-type]
    session = onnx_export.open_session(model)
    for pixels, same, outputs in zip(pictures, prepared, wanted, strict=True):
        got = onnx_export.onnx_outputs(session, pixels)
        assert got.shape == (2, 3)
        np.testing.assert_allclose(got, outputs, atol=0.02)
        np.testing.assert_allclose(onnx_export.onnx_outputs(session, same), outputs, atol=1e-4)
    both, decision = session.run(
        ["probability", "decision"], {"image": np.stack([*prepared, prepared[-1]])[:, None]}
    )
    np.testing.assert_allclose(both[-1], both[-2], atol=1e-6)
    assert decision.tolist() == [*(pneumonia >= threshold), pneumonia[-1] >= threshold]
    assert set(decision.tolist()) == {0, 1}


def test_what_no_export_wrote_is_not_replaced(
    finished_run: Path, tmp_path: Path, refused: Refused
) -> None:
    for name in ("file", "card/model-card.md", "model/model.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x08\x08\x12\x07pytorch: pneumonia.conv1")  # by torch
    for out in ("card", "model", "file", "model/model.onnx/under"):
        refused("--out must", "export", finished_run, "--out", tmp_path / out, keeps=tmp_path)
    paths = [path.name for name in "ab" for path in documents.onnx_paths(tmp_path / f"{name}.onnx")]
    assert len(set(paths)) == 6  # two models in one folder keep their cards


def test_without_validation_no_operating_point_is_exported(finished_run: Path) -> None:
    opened = Run.open(finished_run)
    fixed = ensemble.mean_operating_point([opened], checkpoint="last")
    found = onnx_export.properties(opened, opened.network(), "last", fixed)
    assert found["operating_point"] == f"none: {ensemble.NOT_BEST}"
    assert (found["decision"], found["operating_threshold"]) == ("argmax", "0.5")
    assert ("temperature" in found, found["epoch_chosen_on"]) == (False, "none")
