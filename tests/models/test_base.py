"""Networks of one's own: any classifier goes the whole way, from training to ONNX."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from pneumo import evaluate, export, heatmap, predict
from pneumo.arguments.train import CONF
from pneumo.models.base import Network, Wrapped, build
from pneumo.models.complexity import multiply_adds, num_parameters
from pneumo.report.__main__ import main as report
from pneumo.runs.run import Run
from pneumo.runs.trust import NETWORKS, check_target
from tests.conftest import SMALL

MINE = """
from torch import nn

def five_lines(num_classes=2):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, num_classes))
"""
YAML = """
_target_: my_networks.five_lines
name: five
num_classes: 2
"""


class Two(nn.Module):
    def __init__(self, channels: int = 1, classes: int = 2):
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3)
        self.last = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).mean((2, 3)))  # type: ignore[no-any-return]


def test_input_is_standardised_and_grey_goes_to_every_channel() -> None:
    body = Two(channels=3).eval()
    network = Wrapped(body, image_size=16)
    network.mean.fill_(100)
    network.std.fill_(50)
    x = torch.rand(2, 1, 16, 16) * 255
    with torch.no_grad():
        wanted = body(((x - 100) / 50).repeat(1, 3, 1, 1))
        assert torch.allclose(network(x), wanted, atol=1e-6)
        features, logits = network.features_and_logits(x)
    assert features.shape == (2, 4)
    assert torch.equal(logits, network(x))


def test_heatmap_layer_is_the_last_convolution_or_the_named() -> None:
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.LazyLinear(2))
    assert Wrapped(body, image_size=8).heatmap_layer is body[1]
    assert Wrapped(body, image_size=8, heatmap_layer="0").heatmap_layer is body[0]
    with pytest.raises(ValueError, match="must name a layer of the network; got 'levels'"):
        Wrapped(body, image_size=8, heatmap_layer="levels")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Two(classes=1000), r"must have 2 outputs .* or 3 .*this one gives \(2, 1000\) for 2"),
        (Two(channels=4), "model.channels must be 1 or 3; got 4"),
        (nn.Sequential(Two(), nn.Linear(5, 2)), "must take images of 16 x 16 pixels"),
        (print, r"model\._target_ must make a torch\.nn\.Module; None makes builtin_function"),
    ],
)
def test_what_is_no_network_for_this_is_told(made: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build({}, image_size=16, make=lambda _: made)


def test_sizes_are_counted_for_whatever_it_is() -> None:
    network = Wrapped(Two(), image_size=16)
    assert num_parameters(network) == (9 * 4 + 4) + (4 * 2 + 2)
    assert multiply_adds(network, image_size=16) == 14 * 14 * 9 * 4 + 4 * 2


def test_the_papers_network_is_not_wrapped() -> None:
    from pneumo.models.unet_encoder import Encoder

    assert isinstance(Encoder(f=8, d=4, c=10, image_size=32), Network)


@pytest.fixture
def place(
    phantoms: Path, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PNEUMO_DATA", str(phantoms))
    monkeypatch.setenv("PNEUMO_CACHE", str(cache_dir))
    yield tmp_path
    sys.modules.pop("my_networks", None)


def train(*arguments: str) -> int:
    from pneumo.train import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", "hydra.run.dir=run", *arguments])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def whole_way(radiograph: str, *trust: str) -> None:
    """Evaluate, predict, heat map, ONNX and report of the run in run/."""
    assert evaluate.main(["run", *trust]) == 0
    assert evaluate.main(["run", "--checkpoint", "last", *trust]) == 0
    assert predict.main(["run", radiograph, "--out", "a.csv", *trust]) == 0
    assert heatmap.main(["run", radiograph, "--out", "maps", *trust]) == 0
    assert export.main(["run", "--check", radiograph, *trust]) == 0
    assert report(["run"]) == 0


@pytest.mark.slow
def test_a_network_of_ones_own_goes_the_whole_way(
    place: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "my_networks.py").write_text(MINE)
    (place / "my_conf" / "model").mkdir(parents=True)
    (place / "my_conf" / "model" / "mine.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(str(place))
    radiograph = str(min(phantoms.rglob("*.jpeg")))
    few = ("trainer.max_epochs=2", "protocol=holdout", *SMALL)
    assert train("--config-dir", "my_conf", "model=mine", *few) == 0
    found = json.loads(Path("run/metrics.json").read_text())
    assert (found["model"], found["parameters"]) == ("five", 4 * 9 + 4 + 8 + 10)
    assert predict.main(["run", radiograph]) == 2
    assert "add --trust my_networks" in capsys.readouterr().err
    whole_way(radiograph, "--trust", "my_networks")


def test_a_run_folder_may_ask_for_every_network_of_conf() -> None:
    files = (yaml.safe_load(path.read_text()) or {} for path in CONF.rglob("*.yaml"))
    found = {file.get("_target_") for file in files}
    networks = {name for name in found if str(name).startswith("pneumo.models.")}
    assert networks == set(NETWORKS)
    for name in networks:
        check_target(name, run_dir=Path("run"), trust=())


@pytest.mark.slow
def test_compact_goes_the_whole_way(place: Path, phantoms: Path) -> None:
    recipe = ("experiment=best", "callbacks.progressive.sides=[[1,32],[2,null]]")
    few = ("trainer.max_epochs=2", "protocol=holdout", *SMALL)
    assert train(*recipe, *few) == 0
    whole_way(str(min(phantoms.rglob("*.jpeg"))))


@pytest.mark.slow
def test_a_network_of_torchvision_goes_the_whole_way(place: Path, phantoms: Path) -> None:
    name = "resnet18"
    (place / "conf" / "model").mkdir(parents=True)
    text = f"_target_: torchvision.models.{name}\nname: {name}\nnum_classes: 2\nweights: null\n"
    (place / "conf" / "model" / f"{name}.yaml").write_text(text)
    few = ("trainer.max_epochs=1", "+trainer.limit_train_batches=2", "protocol=holdout", *SMALL)
    assert train("--config-dir", "conf", f"model={name}", *few) == 0
    whole_way(str(min(phantoms.rglob("*.jpeg"))))
    with torch.no_grad():
        network = Run.open(place / "run").network()
        assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 2)
    shutil.rmtree(place / "run" / "checkpoints")
