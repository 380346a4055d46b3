from pathlib import Path

from pneumo.evaluation.operating_point import OperatingPoint
from pneumo.models.library import LIBRARIES
from pneumo.report import checklists
from pneumo.report.checklists import Item
from pneumo.runs.run import Run
from tests.conftest import Call, Refused
from tests.report.test_model_card import assessed, metrics

RUNS = Path(__file__).parents[2] / "docs" / "runs"
FIXED = OperatingPoint("sensitivity", 0.4, 1.2, images=10, prevalence=0.7)
SETTINGS = {"image_size": 256, "aspect": "stretch", "lr": 0.001}


def test_every_item_is_there_once_in_order() -> None:
    claim, tripod = checklists.checklists().values()
    assert [item.number for item in claim] == [str(number) for number in range(1, 45)]
    numbers = [int(item.number.rstrip("abcdefg")) for item in tripod]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 28))
    assert len({item.number for item in tripod}) == len(tripod) == 52


def test_every_fact_of_an_item_is_known_of_a_whole_run() -> None:
    everything = {"hyperparameters": SETTINGS, "git_commit": "abc"}
    best = metrics()["best"] | {"test": metrics()["best"]["test"] | {"confusion": [[9, 1], [2, 8]]}}
    facts = checklists.facts(metrics(best=best, **everything), assessment=assessed(FIXED), maps=[1])
    for items in checklists.checklists().values():
        texts = [checklists.answer(item, facts)[1] for item in items]
        assert f"*{checklists.UNKNOWN}*" not in texts
        assert not [text for text in texts if "{" in text or "None" in text]


def test_an_item_is_filled_in_part_or_for_a_person() -> None:
    items = (("{model}",), ("{model}", "more"), ("{missing}",), ("", "all"))
    answers = [checklists.answer(Item("1", "a", *of), {"model": "tiny"}) for of in items]
    of_person = [("to write", f"*{text}*") for text in (checklists.UNKNOWN, "all")]
    assert answers == [("filled", "tiny"), ("in part", "tiny; *more*"), *of_person]
    wanted = "1 of 4 items filled from the run (25 %), 1 in part, 2 for a person to write"
    assert checklists.share(status for status, _ in answers) == wanted


def test_the_source_of_a_users_folder_is_unknown() -> None:
    kermany, folder, phantom = (
        checklists.facts(metrics(data=metrics()["data"] | {"kind": kind}), assessment=None)
        for kind in ("kermany", "folder", "phantom")
    )
    assert "Guangzhou" in kermany["source"]
    assert not {"source", "labels", "eligibility", "licence"} & set(folder)
    assert "GENERATED" in phantom["source"]


def test_pretrained_weights_and_standardisation_are_named_by_their_source() -> None:
    assert set(checklists.WEIGHTS) == set(LIBRARIES)
    for pretrained, model, wanted in (
        (False, {"library": "timm", "architecture": "legacy_xception"}, "random, seed 0"),
        (True, {}, "pretrained weights of the network (model.pretrained=true)"),
        ("/home/me/own.pt", {"library": "timm"}, "weights of the file own.pt"),
        (
            True,
            {"library": "torchvision", "architecture": "resnet18"},
            "ImageNet weights, torchvision's default for resnet18, by its loader; last layer "
            "random, seed 0",
        ),
    ):
        about = metrics(hyperparameters={"pretrained": pretrained, "image_size": 224})
        facts = checklists.facts(about, assessment=None, model=model)
        assert facts["initial"] == wanted
        assert ("standardised as timm describes" in facts["preprocessing"]) == (
            "timm" in str(model)
        )


def test_names_of_a_run_folder_are_no_markup_and_tables_are_whole() -> None:
    text = checklists.write(metrics(model="<b>[x](y)|\nscores: 1"), assessment=None)
    assert "<b>" not in text
    assert "[x](" not in text
    assert "| 32 | Internal evaluation | to write |" in text  # no fact is added by a name
    assert "*python -m pneumo.heatmap RUN --score --out DIR adds it*" in text
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}


def test_the_command_writes_them_and_replaces_only_its_own(
    tmp_path: Path, call: Call, refused: Refused
) -> None:
    kept = (
        "model=efficientnet_lite0,seed=0,data=kermany,experiment=comparison,model.pretrained=True"
    )
    out = tmp_path / "new" / "lists.md"
    call("export", RUNS / kept, "--to", "checklists", "--out", out)
    assert "| filled | ImageNet weights of Google's efficientnet_lite0, from" in out.read_text()
    words = ("pretrained:compact-robust", "--to", "checklists", "--out", out)
    assert call("export", *words).out == f"{out}\n"  # in place of the other
    ends = Run.open(words[0]).assessment["operating_point"]["sensitivity"]
    value, low, high = (f"{ends[key]:.3f}" for key in ("value", "low", "high"))
    assert f"sensitivity {value} ({low} to {high})" in out.read_text()
    out.write_text("mine")
    baseline = RUNS / "model=file_header,seed=0,data=kermany"
    refused("is a baseline", "export", baseline, "--to", "checklists", keeps=RUNS)
    refused("must not replace other files", "export", *words, keeps=tmp_path)
