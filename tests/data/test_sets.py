"""The facts of data sets: each on its class, found by a run's kind, folder or configuration."""

from pathlib import Path

import pytest
import yaml

from pneumo import choices
from pneumo.data import phantom_drawing
from pneumo.data.base import CHECKLIST_FACTS, DataSet
from pneumo.data.folder import Folder
from pneumo.data.kermany import Kermany
from pneumo.data.phantom import Phantoms
from pneumo.data.rsna import Rsna
from pneumo.data.sets import SETS, class_of, images_of, recognise
from tests.conftest import ROOT


def test_each_kind_has_one_class_and_each_choice_a_kind() -> None:
    kinds = [each.kind for each in SETS]
    assert len(set(kinds)) == len(kinds)
    assert set(choices.DATA_SETS) <= set(kinds)
    assert all(class_of(each.kind) is each for each in SETS)
    assert class_of("another package's") is DataSet
    assert all(set(each.checklist) in (set(), set(CHECKLIST_FACTS)) for each in SETS)


def test_a_set_is_recognised_by_its_layout(phantoms: Path, rsna_set: Path, tmp_path: Path) -> None:
    name = "train/NORMAL/IM-0001-0001.jpeg"
    for folder, file in (("real", name), ("own", "train/NORMAL/anna.jpeg"), ("bare", "a.txt")):
        (tmp_path / folder / file).parent.mkdir(parents=True)
        (tmp_path / folder / file).touch()
    places = (*(tmp_path / folder for folder in ("real", "own", "bare")), phantoms, rsna_set)
    assert [*map(recognise, places)] == [Kermany, Folder, None, Phantoms, Rsna]


@pytest.mark.parametrize("name", ["auto", "folder", "kermany", "phantom", "rsna"])
def test_images_of_a_configuration_are_found_and_not_made(name: str, tmp_path: Path) -> None:
    source = yaml.safe_load((ROOT / "conf" / "data" / f"{name}.yaml").read_text())["source"]
    drawn = tmp_path / f"phantom-{phantom_drawing.VERSION}-400-0"
    values: dict[str, object] = {"root": str(tmp_path / "set"), "cache_dir": str(tmp_path)}
    if name == "phantom":
        values |= {"num_images": 400, "seed": 0}
    is_drawn = name in ("auto", "phantom")
    assert images_of(source | values) == (drawn if is_drawn else tmp_path / "set")
    (tmp_path / "set" / "chest_xray" / "train").mkdir(parents=True)
    real = tmp_path / "set" / ("chest_xray" if name in ("auto", "kermany") else ".")
    assert images_of(source | values) == (drawn if name == "phantom" else real)
