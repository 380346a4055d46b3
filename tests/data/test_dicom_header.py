import warnings
from pathlib import Path
from typing import Any

import pytest

from pneumo.data import dicom_header, reader
from pneumo.data.dicom_header import Header
from tests.data import test_dicom as files

pytest.importorskip("pydicom")

from pydicom.dataset import Dataset


def header(**tags: Any) -> Header:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break the standard's form
        data = files.encode(files.dataset(**tags))
    return dicom_header.read(data)


def code(meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeMeaning = meaning
    return [item]


@pytest.mark.parametrize(
    ("tags", "age"),
    [
        ({}, None),
        *(({"PatientAge": text}, None) for text in ("", "adult", ["003Y", "071Y"])),
        *(({"PatientAge": text}, 71) for text in ("071Y", "71")),  # RSNA's have no unit
        *(({"PatientAge": text}, 0) for text in ("011M", "364D")),
        *(({"PatientAge": text}, age) for text, age in (("071M", 5), ("052W", 1))),
        ({"PatientBirthDate": "20150615", "StudyDate": "20200614"}, 4),
        ({"PatientBirthDate": "20150615", "StudyDate": "20200615"}, 5),
        ({"PatientBirthDate": "20150615", "StudyDate": "", "ContentDate": "20200615"}, 5),
        ({"PatientBirthDate": "20150615"}, None),
        ({"PatientBirthDate": "20150615", "StudyDate": "20100101"}, None),
    ],
)
def test_age_in_whole_years(tags: dict[str, Any], age: int | None) -> None:
    assert header(**tags).age == age


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ViewPosition": "LL"}, "lateral view: LL"),
        ({"ViewPosition": "lateral"}, "lateral view: lateral"),
        ({"ViewPosition": ["PA", "LL"]}, "lateral view: PA\\LL"),
        ({"ViewPosition": "LAO"}, "oblique view: LAO"),
        ({"ViewPosition": "LLD"}, "decubitus view: LLD"),
        ({"ViewCodeSequence": code("left lateral")}, "lateral view: left lateral"),
        ({"PatientOrientation": ["A", "F"]}, "lateral view: LATERAL by PatientOrientation A\\F"),
        ({"BodyPartExamined": "HAND"}, "body part: HAND, expected the chest"),
        ({"BodyPartExamined": "TSPINE"}, "body part: TSPINE, expected the chest"),
        ({"AnatomicRegionSequence": code("Hand")}, "body part: Hand, expected the chest"),
        ({"Modality": "CT"}, "modality: CT, expected a radiograph"),
    ],
)
def test_what_is_no_frontal_chest_radiograph_is_named(tags: dict[str, Any], reason: str) -> None:
    assert header(**tags).odd == [reason]


def test_frontal_chest_radiographs_and_empty_tags_are_not_flagged() -> None:
    empty = ("ViewPosition", "BodyPartExamined", "Modality", "PatientOrientation")
    cases: list[dict[str, Any]] = [
        {},
        dict.fromkeys(empty, ""),
        {"ViewCodeSequence": [], "AnatomicRegionSequence": []},
        *({"ViewPosition": view} for view in ("AP", "PA", "PORTABLE AP", "UNKNOWN")),
        {"ViewCodeSequence": code("postero-anterior")},
        {"PatientOrientation": ["L", "F"]},
        *({"BodyPartExamined": part} for part in ("CHEST", "Thorax", "LUNG", "PORT CHEST", "N/A")),
        {"BodyPartExamined": ["CHEST", "ABDOMEN"]},
        {"AnatomicRegionSequence": code("Thoracic structure")},
        *({"Modality": modality} for modality in ("CR", "DX", "RG", "OT", "SC")),
    ]
    assert [header(**tags).odd for tags in cases] == [[]] * len(cases)


def test_identifiers_are_one_line_each_and_broken_headers_empty(tmp_path: Path) -> None:
    ids = header(AccessionNumber="A\n12", StudyInstanceUID="").ids
    assert [ids[name] for name in dicom_header.IDS] == ["1.2.3", None, "A 12"]
    whole = files.encode(files.dataset(PatientAge="071Y"))
    for data in (whole[:140], b"\0" * 128 + b"DICM" + b"\xff" * 50):
        assert dicom_header.read(data) == Header()
    (tmp_path / "a.dcm").write_bytes(files.encode(files.dataset(Modality="CT")))
    radiograph = reader.read(str(tmp_path / "a.dcm"), shapes=[])
    assert "must be one of CR, DX" in radiograph.error
    assert radiograph.odd == ("modality: CT, expected a radiograph",)
