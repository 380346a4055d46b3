import itertools
from pathlib import Path

import pandas as pd
import pytest

from pneumo.data.kermany import Kermany, index, index_names, parse_name, pneumonia_share, targets
from pneumo.data.labelled import join_duplicates

KEYS = {"person": 1674, "split_person": 1844, "series": 2653}  # facts.md
NAMES = ("train/NORMAL/IM-0001-0001.jpeg", "test/PNEUMONIA/person1_virus_2.jpeg")


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_counts_and_patients_of_the_real_names(kermany_names: list[str]) -> None:
    tables = {key: index_names(kermany_names, patient_key=key) for key in KEYS}
    table = tables["person"]
    in_test = table["source"] == "test"
    counts = {part: rows["subtype"].value_counts() for part, rows in table.groupby(in_test)}
    assert dict(counts[False]) == {"bacteria": 2538, "normal": 1349, "virus": 1345}
    assert dict(counts[True]) == {"bacteria": 242, "normal": 234, "virus": 148}
    normal = table[table["label"] == "NORMAL"].groupby("patient").size()
    assert (len(normal), (normal > 1).sum(), normal.max()) == (1444, 75, 4)
    patients = (each.loc[each["label"] == "PNEUMONIA", "patient"] for each in tables.values())
    assert [each.nunique() for each in patients] == list(KEYS.values())
    # coarser keys only merge
    for coarse, fine in itertools.pairwise(table["patient"] for table in tables.values()):
        assert (coarse.groupby(fine).nunique() == 1).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/PNEUMONIA/person447_virus_921_1.jpeg", ("virus", "person447", "train")),
        ("test/NORMAL/NORMAL2-IM-0095-0001-0002.jpeg", ("normal", "test/NORMAL2-IM-95", "test")),
        ("val/NORMAL/IM-0095-0001.jpeg", ("normal", "train/IM-95", "val")),
        ("train/PNEUMONIA/BACTERIA-1008087-0001.jpeg", ("bacteria", "person1008087", "train")),
        ("train/NORMAL/NORMAL-1049278-0001.jpeg", ("normal", "train/NORMAL-1049278", "train")),
        ("train/NORMAL/person1_virus_1.jpeg", None),
        ("train/PNEUMONIA/IM-0001-0001.jpeg", None),
        ("train/PNEUMONIA/person1_virus_1 (copy).jpeg", None),
        ("elsewhere/NORMAL/IM-0001-0001.jpeg", None),
        ("train/NORMAL/xIM-0001-0001.jpeg", None),
    ],
)
def test_names_parse_or_not(name: str, expected: tuple[str, str, str] | None) -> None:
    row = parse_name(name)
    assert (row and row[2:]) == expected


def test_unknown_names_are_an_error_or_skipped_with_the_count() -> None:
    names = [f"train/NORMAL/scan{n}.png" for n in range(9)] + ["train/NORMAL/IM-0001-0001.jpeg"]
    with pytest.raises(ValueError, match=r"scan0\.png.*and 4 more.*on_unknown_name=skip"):
        index_names(names)
    assert len(index_names(names, on_unknown_name="skip")) == 1
    with pytest.raises(ValueError, match=r"data\.patient_key must be one of person.*got 'name'"):
        index_names([], patient_key="name")


@pytest.mark.parametrize("folder", [".", "chest_xray", "chest_xray/chest_xray"])
def test_folders_of_kaggle_and_mendeley(tmp_path: Path, folder: str) -> None:
    make(tmp_path / folder, *NAMES)
    assert sorted(index(tmp_path)["path"]) == sorted(NAMES)
    assert Kermany.open(str(tmp_path)).root == tmp_path / folder


def test_missing_empty_and_one_sided_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds train/ and test/.*pneumo\.download"):
        Kermany.open(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="got none of NORMAL"):
        index(tmp_path / "missing")
    make(tmp_path, NAMES[0], "set.zip")
    with pytest.raises(FileNotFoundError, match="got none of PNEUMONIA"):
        index(tmp_path)
    with pytest.raises(ValueError, match=r"is an archive. Unpack it, by: python -m zipfile -e"):
        Kermany.open(str(tmp_path / "set.zip"))


def test_groups_join_patients_who_share_an_image_and_targets_have_two_or_three_classes() -> None:
    for patients, images, joined in (("dcbae", "12123", "babae"), ("abbc", "xxyy", "aaaa")):
        groups = join_duplicates(pd.DataFrame({"patient": list(patients)}), list(images))
        assert list(groups) == list(joined)
    labels = ["NORMAL", "PNEUMONIA", "PNEUMONIA"]
    table = pd.DataFrame({"label": labels, "subtype": ["normal", "bacteria", "virus"]})
    assert list(targets(table, num_classes=2)) == [0, 1, 1]
    assert list(targets(table, num_classes=3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="distinguish bacterial from viral"):
        targets(table.assign(subtype=""), num_classes=3)


def test_unused_names_are_named_and_second_copies_left_out(tmp_path: Path) -> None:
    for folder in (".", "chest_xray", "__MACOSX"):
        make(tmp_path / folder, *NAMES)
    make(tmp_path, "train/NORMAL/._IM-0001-0001.jpeg", "train/NORMAL/.DS_Store")
    make(tmp_path, "train/NORMAL/IM-0002-0001.tiff", "train/NORMAL/more/IM-0003-0001.jpeg")
    make(tmp_path, "valid/NORMAL/IM-0004-0001.jpeg", "train/VIRUS/person9_virus_1.jpeg", "top.png")
    (tmp_path / "train/NORMAL/IM-0005-0001.jpeg").symlink_to(tmp_path / "gone")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "README.txt").touch()
    assert len(index(tmp_path)) == 2
    (tmp_path / "train/NORMAL/x.jpeg").touch()
    assert Kermany(tmp_path).unused() == [
        *("top.png", "valid/", "train/NORMAL/IM-0002-0001.tiff", "train/NORMAL/IM-0005-0001.jpeg"),
        *("train/NORMAL/more", "train/VIRUS/", "train/NORMAL/x.jpeg"),
    ]


@pytest.mark.realdata
def test_real_folder_is_the_fixture(real_data: Path, kermany_names: list[str]) -> None:
    assert list(index(real_data)["path"]) == sorted(kermany_names)


def test_class_weights_change_the_share_that_probabilities_are_for() -> None:
    subtypes = ["normal"] * 2 + ["bacteria"] * 6 + ["virus"] * 2
    table = pd.DataFrame({"subtype": subtypes, "label": ["NORMAL"] * 2 + ["PNEUMONIA"] * 8})
    assert pneumonia_share(table) == 0.8
    assert pneumonia_share(table, class_weights="balanced") == 0.5
    assert pneumonia_share(table, class_weights=[4, 1]) == 0.5
    three = {"num_classes": 3, "class_weights": "balanced"}
    assert pneumonia_share(table, **three) == pytest.approx(2 / 3)  # type: ignore[arg-type]
