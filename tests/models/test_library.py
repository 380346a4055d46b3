"""Networks of torchvision and timm: weights that keep their meaning, and what cannot be had."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torchvision import models

from pneumo import export, heatmap, predict
from pneumo.arguments.train import CONF
from pneumo.models.base import build
from pneumo.models.complexity import multiply_adds
from pneumo.models.library import GreyConvolution, LibraryNetwork
from pneumo.runs.network import _without_weights
from pneumo.runs.run import Run
from pneumo.training.settings import check_run
from tests.conftest import Command

ROWS = (  # of conf/model, with the smallest side that it is trained at below
    *(("vgg16", 32), ("resnet18", 32), ("inception_v3", 80), ("densenet121", 32)),
    *(("mobilenet_v3_large", 32), ("alexnet", 64), ("densenet201", 32), ("squeezenet1_1", 32)),
    *(("efficientnet_b0", 32), ("convnext_tiny", 32), ("xception", 64), ("deit_tiny", 32)),
    ("efficientnet_lite0", 32),
)
OF_TIMM = {"xception", "deit_tiny"}
# One step instead of a run, so that the suite stays short: checkpoints of 0.2 to 0.5 GB; what has
# nothing that others below have not; resnet18 goes the whole way in test_base.py, and
# efficientnet_lite0 in test_efficientnet_lite.py
ONE_STEP = {
    *("vgg16", "alexnet", "densenet121", "densenet201", "resnet18", "mobilenet_v3_large"),
    *("efficientnet_b0", "efficientnet_lite0"),
}
NO_TIMM = "timm is an extra: python -m pip install 'pneumo[timm]'"


def network(architecture: str, *, library: str = "torchvision", **more: Any) -> LibraryNetwork:
    more = {"image_size": 64, **more}
    return LibraryNetwork(library=library, architecture=architecture, **more).eval()


def colour(architecture: str, num_classes: int = 2, **more: Any) -> nn.Module:
    """torchvision's own network, with statistics of batches that are not 0 and 1."""
    torch.manual_seed(0)
    body: nn.Module = models.get_model(
        architecture, weights=None, num_classes=num_classes, **more
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
    """What torchvision's network says of grey copied to colours, prepared as torchvision says."""
    preset = models.get_model_weights(architecture).DEFAULT.transforms()
    mean, std = (torch.tensor(v)[:, None, None] for v in (preset.mean, preset.std))
    answer: Tensor = body((grey.expand(-1, 3, -1, -1) / 255 - mean) / std)
    return answer


@pytest.mark.parametrize(
    ("architecture", "more"),
    [
        ("squeezenet1_1", {}),  # without zeros around the image
        ("resnet18", {}),  # with them
        pytest.param(
            "inception_v3",
            {"transform_input": True, "init_weights": True},  # and its auxiliary output
            marks=pytest.mark.slow,
        ),
        pytest.param("convnext_tiny", {}, marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", {}, marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_grey_gives_what_the_library_gives_of_its_copy_in_colour(
    architecture: str, more: dict[str, Any], tmp_path: Path
) -> None:
    body = colour(architecture, **more)
    made = network(architecture, pretrained=save(body, tmp_path / "weights.pth"), image_size=96)
    made.mean.fill_(7)  # of the train split, which the weights know nothing of
    grey = torch.rand(2, 1, 96, 96) * 255
    wanted = described(body, architecture, grey)
    torch.testing.assert_close(made(grey), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    first = next(m for m in made.modules() if isinstance(m, nn.Conv2d))
    assert first.in_channels == 1


@torch.no_grad()
def test_shift_is_a_constant_but_at_the_border() -> None:
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    grey = GreyConvolution(convolution, mean=mean.tolist(), std=std.tolist())
    image = torch.rand(1, 1, 8, 8)
    made = grey((image - mean.mean()) / std.mean())
    wanted = convolution((image - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(made, wanted)
    constant = grey(image) - nn.Conv2d.forward(grey, image)
    inside = constant[..., 1:-1, 1:-1]
    torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside))
    assert not torch.allclose(constant[..., 0, 0], constant[..., 1, 1])
    assert GreyConvolution(convolution, mean=(0.5,) * 3, std=(0.5,) * 3).shift is None


def test_weights_come_from_the_librarys_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    body = colour("squeezenet1_1", num_classes=1000)
    save(body, tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    found = network("squeezenet1_1", pretrained=True, num_classes=3).body
    wanted = body.state_dict()
    assert torch.equal(
        found.state_dict()["features.3.squeeze.weight"], wanted["features.3.squeeze.weight"]
    )
    assert found.state_dict()["classifier.1.weight"].shape == (3, 512, 1, 1)  # a new one


def test_names_with_dots_of_densenets_file_are_understood(tmp_path: Path) -> None:
    body = colour("densenet121", num_classes=1000)
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for name, value in body.state_dict().items()
        if "num_batches_tracked" not in name
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = network("densenet121", pretrained=str(tmp_path / "old.pth")).body.state_dict()
    for name in ("norm1.running_var", "conv2.weight"):
        name = f"features.denseblock4.denselayer16.{name}"
        assert torch.equal(found[name], body.state_dict()[name])


def test_without_a_connection_the_file_its_address_and_its_folder_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(ValueError, match=r"needs resnet18-f37072fd\.pth of torchvision") as error:
        network("resnet18", pretrained=True)
    url, folder = models.ResNet18_Weights.DEFAULT.url, tmp_path / "checkpoints"
    assert f"Get it from {url} and put it into {folder}, or name" in str(error.value)
    assert "no route to host" in str(error.value)
    (folder / "resnet18-f37072fd.pth").write_bytes(b"half of it")
    with pytest.raises(ValueError, match=r"f37072fd\.pth is broken: .*Remove it"):
        network("resnet18", pretrained=True)


def write_other(path: Path) -> None:
    save(colour("squeezenet1_1"), path)


def write_narrow(path: Path) -> None:
    state = colour("resnet18").state_dict()
    torch.save(state | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "must be true, false or a file of weights; there is no file .*a.pth"),
        (write_other, "a.pth must be weights of resnet18; they do not fit: .*Missing key"),
        (write_narrow, "a.pth must be weights of resnet18; they do not fit: .*size mismatch"),
        (lambda path: path.write_bytes(b"PK no"), "a.pth must be a file of weights by torch.save"),
        (lambda path: torch.save([1], path), r"a.pth must hold weights by name \(a state dict\)"),
    ],
)
def test_weights_that_do_not_fit(
    write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        network("resnet18", pretrained=str(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "alexnet", "image_size": 32}, "takes images of 63 x 63 pixels or more"),
        pytest.param(
            {"architecture": "vit_b_16", "image_size": 256},
            "must take images of 256 x 256 pixels",
            marks=pytest.mark.slow,
        ),
        ({"architecture": "resnet"}, r"must be one of torchvision\.models\.list_models\(\); got"),
        ({"architecture": "raft_large"}, "must be one of torchvision"),
        ({"architecture": "resnet18", "library": "keras"}, "must be one of torchvision, timm"),
    ],
)
def test_what_is_no_network_for_this_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**settings)


def test_missing_timm_names_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ValueError, match=r"is not installed: python -m pip install 'pneumo\[timm\]"
    ):
        network("legacy_xception", library="timm")


def test_weights_of_a_finished_run_are_its_checkpoints_however_deep_others_are_named() -> None:
    named = {"_target_": "a", "pretrained": "FILE", "weights": "DEFAULT"}
    off = {"_target_": "a", "pretrained": False, "weights": None}
    assert _without_weights({"body": [named], **named}) == {"body": [off], **off}


def test_heatmap_layer_of_the_settings_is_drawn() -> None:
    made = network("resnet18")
    settings = {"_target_": "x", "name": "x", "heatmap_layer": "layer3"}
    assert build(settings, image_size=64, make=lambda _: made).heatmap_layer is made.body.layer3
    with pytest.raises(ValueError, match="must name a layer of the network; got 'layer9'"):
        build(settings | {"heatmap_layer": "layer9"}, image_size=64, make=lambda _: made)


@pytest.mark.slow
def test_weights_of_timm_by_file_and_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm", reason=NO_TIMM)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    body = timm.create_model("deit_tiny_patch16_224", pretrained=False)
    file = save(body, tmp_path / "deit.pth")
    made = network("deit_tiny_patch16_224", library="timm", pretrained=file, image_size=224)
    name = "blocks.11.mlp.fc2.weight"
    assert torch.equal(made.body.state_dict()[name], body.state_dict()[name])
    with torch.no_grad():
        body.reset_classifier(2)
        body.head.load_state_dict(made.body.get_submodule("head").state_dict())
        grey = torch.rand(1, 1, 224, 224) * 255
        torch.testing.assert_close(
            made(grey), described(body.eval(), "resnet18", grey), rtol=1e-3, atol=1e-4
        )
    smaller = network("deit_tiny_patch16_224", library="timm", pretrained=file, image_size=64)
    assert smaller.body.pos_embed.shape == (1, 1 + 4 * 4, 192)  # interpolated
    with pytest.raises(ValueError, match=r"deit\.pth must be weights of legacy_xception; they do"):
        network("legacy_xception", library="timm", pretrained=file)
    with pytest.raises(ValueError, match=r"must be one of timm\.list_models\(\); got 'hf-hub:a/b'"):
        network("hf-hub:a/b", library="timm")

    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "checkpoints"
    with pytest.raises(
        ValueError, match=r"needs xception-43020ad28\.pth\. Get it from .*no route"
    ) as e:
        network("legacy_xception", library="timm", pretrained=True)
    assert f"put it into {folder}" in str(e.value)
    xception = timm.create_model("legacy_xception", pretrained=False)
    save(xception, folder / "xception-43020ad28.pth")
    made = network("legacy_xception", library="timm", pretrained=True)
    name = "block12.rep.1.conv1.weight"
    assert torch.equal(made.body.state_dict()[name], xception.state_dict()[name])
    assert (made.grey_mean, made.grey_std) == (0.5, 0.5)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)


def test_attention_is_counted() -> None:
    tokens = (16 // 4) ** 2
    wanted = tokens * 16 * 8 + 2 * tokens * tokens * 8
    assert multiply_adds(Attention(), image_size=16) == wanted


@pytest.mark.parametrize(
    ("name", "count"), [("ayan", 6), ("hamoldi", 6), ("hashmi", 15), ("rahman", 12)]
)
def test_experiment_of_a_paper_is_a_grid_of_settings_that_hold(name: str, count: int) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "train", [f"experiment={name}", "data.root=/images"], return_hydra_config=True
        )
    grid = OmegaConf.to_container(config.hydra.sweeper.params)
    assert isinstance(grid, dict)
    assert set(grid["model"].split(",")) <= {row for row, _ in ROWS}
    assert len(grid["model"].split(",")) * len(grid["seed"].split(",")) == count
    for model in grid["model"].split(","):
        overrides = [f"experiment={name}", f"model={model}", "data.root=/images", "run_dir=/run"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            plain = OmegaConf.to_container(compose("train", overrides), resolve=True)
        assert isinstance(plain, dict)
        assert check_run({str(key): value for key, value in plain.items()}).model.name == model
        assert plain["model"]["pretrained"] is True


def test_every_row_has_its_yaml() -> None:
    own = {p.stem for p in (CONF / "model").glob("*.yaml") if "/base/library@" in p.read_text()}
    assert own == {name for name, _ in ROWS}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ONE_STEP))
def test_a_network_learns_in_a_step(name: str) -> None:
    side = dict(ROWS)[name]
    overrides = [f"model={name}", "data=phantom", f"data.image_size={side}", "run_dir=/run"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", overrides), resolve=True)
    assert isinstance(plain, dict)
    made = build(plain["model"], image_size=side, make=instantiate).train()
    logits = made(torch.rand(4, 1, side, side) * 255)
    loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1]))
    torch.autograd.backward(loss)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [row for row in ROWS if row[0] not in ONE_STEP])
def test_each_network_trains_and_is_used(
    name: str, side: int, train: Command, phantoms: Path
) -> None:
    if name in OF_TIMM:
        pytest.importorskip("timm", reason=NO_TIMM)
    few = ("optimizer=sgd", "optimizer.lr=0.001", "optimizer.momentum=0", "trainer.max_epochs=1")
    steps = "+trainer.limit_train_batches=2"
    small = (f"data.image_size={side}", "num_threads=1", "trainer=cpu", "hydra.run.dir=run")
    assert train(f"model={name}", "protocol=holdout", *few, steps, *small) == 0
    found = json.loads(Path("run/metrics.json").read_text())
    assert found["model"] == name
    radiograph = str(min(phantoms.rglob("*.jpeg")))
    assert predict.main(["run", radiograph, "--out", "a.csv"]) == 0
    assert heatmap.main(["run", radiograph, "--out", "maps"]) == 0
    assert export.main(["run", "--check", radiograph]) == 0


@pytest.mark.slow
def test_a_finished_run_needs_its_pretrained_file_no_more(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "weights.pth"
    save(colour("squeezenet1_1", num_classes=1000), file)
    few = ("trainer.max_epochs=1", "data.image_size=32", "num_threads=1", "trainer=cpu")
    begun = ("model=squeezenet1_1", f"model.pretrained={file}", "hydra.run.dir=run", *few)
    assert train(*begun) == 0
    file.unlink()
    with torch.no_grad():
        assert Run.open("run").network()(torch.zeros(1, 1, 32, 32)).shape == (1, 2)
    capsys.readouterr()
    assert train("model=squeezenet1_1", f"model.pretrained={file}", *few) == 2
    assert "model.pretrained must be true, false or a file" in capsys.readouterr().err
