"""Networks of one's own: any classifier meets the contract, is trained and predicts."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from pneumo.arguments.train import CONF
from pneumo.models.base import Network, Wrapped, build
from pneumo.models.views import multiply_adds, num_parameters
from pneumo.runs import pretrained
from pneumo.runs.run import Run
from pneumo.runs.trust import NETWORKS, check_target
from pneumo.training.classification import try_side
from pneumo.training.config import read
from pneumo.training.objects import build_parts
from tests.conftest import SMALL, Call, Command, Patch, composed

MINE = """
from torch import nn

def five_lines(num_classes=2):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, num_classes))
"""
YAML = "_target_: my_networks.five_lines\nname: five\nnum_classes: 2\n"


class Two(nn.Module):
    def __init__(self, channels: int = 1, classes: int = 2):
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3)
        self.last = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).mean((2, 3)))  # type: ignore[no-any-return]


@torch.no_grad()
def test_input_is_standardised_and_grey_goes_to_every_channel() -> None:
    body = Two(channels=3).eval()
    network = Wrapped(body, image_size=16)
    network.mean.fill_(100)
    network.std.fill_(50)
    x = torch.rand(2, 1, 16, 16) * 255
    wanted = body(((x - 100) / 50).repeat(1, 3, 1, 1))
    assert torch.allclose(network(x), wanted, atol=1e-6)
    features, logits = network.features_and_logits(x)
    assert features.shape == (2, 4)
    assert torch.equal(logits, network(x))
    dense = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16, 2))
    assert Wrapped(dense, image_size=16)(x).shape == (2, 2)  # without a convolution: grey


@torch.no_grad()
def test_the_prior_of_the_training_is_divided_out_in_evaluation_only() -> None:
    """0.9 among 3/4 PNEUMONIA: odds 9 become 9 / 3, so 3/4; bacteria to virus stay 2 to 1."""

    class Always(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.1, 0.6, 0.3]).log().expand(len(x), 3)

    network = build({"_target_": "Always"}, image_size=16, make=lambda _: Always())
    assert torch.equal(network.log_prior, torch.zeros(3))
    network.log_prior.copy_(torch.tensor([0.25, 0.75, 0.75]).log())
    x = torch.zeros(2, 1, 16, 16)
    for logits in (network.eval()(x), network.features_and_logits(x)[1]):
        torch.testing.assert_close(logits.softmax(1)[0], torch.tensor([0.25, 0.5, 0.25]))
    torch.testing.assert_close(network.train()(x)[0].exp(), torch.tensor([0.1, 0.6, 0.3]))


def test_a_run_that_starts_from_a_balanced_one_divides_by_no_prior_of_that() -> None:
    settings = ("experiment=adapt", f"init={pretrained.DEFAULT}", "decision=argmax", "data=phantom")
    network, first = build_parts(read(composed(*settings))).network, Run.open(pretrained.DEFAULT)
    assert first.network().log_prior.any()
    assert not network.get_buffer("log_prior").any()
    assert torch.equal(network.get_buffer("mean"), first.network().mean)


@torch.no_grad()
def test_a_pretrained_cfg_standardises_each_colour_in_place_of_the_train_split() -> None:
    body = Two(channels=3).eval()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    body.pretrained_cfg = {"mean": mean, "std": std}  # type: ignore[assignment]
    network = Wrapped(body, image_size=16)
    network.mean.fill_(100)
    x = torch.rand(2, 1, 16, 16) * 255
    colours = (x / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(network(x), body(colours))
    other = Wrapped(Two(), image_size=16)
    assert set(network.state_dict()) == set(other.state_dict())
    assert num_parameters(other) == (9 * 4 + 4) + (4 * 2 + 2)
    assert multiply_adds(other, image_size=16) == 14 * 14 * 9 * 4 + 4 * 2


def test_heatmap_layer_is_the_last_convolution_or_the_named() -> None:
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.LazyLinear(2))
    network = Wrapped(body, image_size=8)
    assert network.heatmap_layer is body[1]
    network.draw("0")
    assert network.heatmap_layer is body[0]
    with pytest.raises(ValueError, match="must name a layer of the network; got '9'"):
        network.draw("9")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Two(classes=1000), r"must have 2 outputs .* or 3 .*; got \(2, 1000\) for 2"),
        (Two(channels=4), "model.channels must be 1 or 3; got 4"),
        (nn.Sequential(Two(), nn.Linear(5, 2)), "must take images of 16 x 16 pixels"),
        (print, r"model\._target_ must be a torch\.nn\.Module; None returns builtin_function"),
    ],
)
def test_impossible_networks_are_named(network: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build({}, image_size=16, make=lambda _: network)


def test_a_network_may_refuse_smaller_images_by_any_error() -> None:
    class Fixed(Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("input height 32 does not match the model's 64")  # as timm's do

    with pytest.raises(ValueError, match="this one does not take 32 px"):
        try_side(Fixed(), 32)


def test_a_run_folder_may_ask_for_every_network_of_conf() -> None:
    files = (yaml.safe_load(path.read_text()) or {} for path in CONF.rglob("*.yaml"))
    targets = {str(file.get("_target_")) for file in files}
    networks = {name for name in targets if name.startswith("pneumo.models.")}
    assert networks == set(NETWORKS)
    for name in networks:
        check_target({"_target_": name}, run_dir=Path("run"), trust=())


@pytest.mark.slow
def test_trained_and_predicts(
    train: Command, phantoms: Path, monkeypatch: Patch, call: Call
) -> None:
    Path("my_networks.py").write_text(MINE)
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/mine.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(".")
    radiograph = min(phantoms.rglob("*.jpeg"))
    few = ("trainer.max_epochs=2", "+trainer.limit_train_batches=2", "protocol=holdout", *SMALL)
    assert train("--config-dir", "conf", "model=mine", "hydra.run.dir=run", *few) == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert (metrics["model"], metrics["parameters"]) == ("five", 4 * 9 + 4 + 8 + 10)
    assert "add --trust my_networks" in call("predict", "run", radiograph, code=2).err
    for command, out in (("predict", "a.csv"), ("heatmap", "maps")):  # others: test_tutorials.py
        call(command, "run", radiograph, "--out", out, "--trust", "my_networks")
