import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo.data.reader import Radiograph
from pneumo.inference import structured_report
from tests.conftest import Call, Refused
from tests.data.test_dicom import dataset, encode

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

SECRET = {
    **{"PatientName": "Doe^Jané", "PatientID": "P-4711", "PatientBirthDate": "20200317"},
    **{"PatientSex": "F", "AccessionNumber": "A-99", "StudyID": "S-1", "StudyTime": "101112"},
    **{"StudyDate": "20240229", "ReferringPhysicianName": "House^Gregory"},
    **{"InstitutionName": "St. Elsewhere", "PatientComments": "calls every day"},
    **{"SpecificCharacterSet": "ISO_IR 192"},
}
UIDS = {"StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.10"}
ROW = {"p_pneumonia": 0.7, "threshold": 0.5, "decision": "PNEUMONIA", "ood": False}


def pixels() -> np.ndarray:
    y, x = np.mgrid[:96, :80]
    return np.asarray((x * y) % 4096, dtype=np.uint16)


def written(path: Path, **tags: Any) -> str:
    path.write_bytes(encode(dataset(pixels(), **{**SECRET, **UIDS, **tags})))
    return str(path)


def answers(report: Any) -> dict[str, Any]:
    """Code value to number or word, of a report's one measurement group."""
    names = {part.ConceptNameCodeSequence[0].CodeMeaning: part for part in report.ContentSequence}
    found: dict[str, Any] = {}
    for one in names["Imaging Measurements"].ContentSequence[0].ContentSequence:
        code = one.ConceptNameCodeSequence[0].CodeValue
        if one.ValueType == "NUM":
            found[code] = one.MeasuredValueSequence[0].FloatingPointValue
        elif one.ValueType == "CODE":
            found[code] = one.ConceptCodeSequence[0].CodeValue
    return found


@pytest.mark.parametrize("keep", [False, True])
def test_reports_say_what_the_table_says_and_no_more(
    keep: bool, validated: Path, tmp_path: Path, call: Call
) -> None:
    name, folder = written(tmp_path / "a.dcm"), tmp_path / "reports"
    more = ("--coverage", "0.9", "--format", "jsonl", *["--keep-patient"] * keep)
    row = json.loads(call("predict", validated, name, "--dicom-sr", folder, *more).out)
    (path,) = folder.iterdir()
    assert row["dicom_sr"] == path.name
    report = pydicom.dcmread(path)
    found = answers(report)
    for column in ("p_pneumonia", "threshold", "ood_score", "decision", "prediction_set"):
        assert found[column] == row[column]
    assert found["ood"] == ("yes" if row["ood"] else "no")
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == ("1.2.9", "1.2.10")
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3"
    assert "RESEARCH USE ONLY" in report.SeriesDescription
    assert report.ContentSequence[-1].TextValue == structured_report.MARK
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    for tag in structured_report.PATIENT:
        assert str(report[tag].value) == (SECRET[tag] if keep else "")
    text = path.read_bytes().decode("utf-8", "replace")
    secrets = ("Elsewhere", "calls", *(() if keep else ("Doe", "P-4711", "House", "20240229")))
    assert [secret for secret in secrets if secret in text] == []


def test_other_files_and_folders_in_use_are_refused(tmp_path: Path, refused: Refused) -> None:
    one, other, new = written(tmp_path / "a.dcm"), tmp_path / "b.png", tmp_path / "new"
    other.write_bytes(b"\x89PNG")
    for message, *words in (
        ("refer to DICOM images; ", one, other, "--dicom-sr", new),
        ("refer to DICOM images; - is not one", "-", "--dicom-sr", new),
        ("must be new or empty", one, "--dicom-sr", tmp_path),
        ("--keep-patient is an option of --dicom-sr", one, "--keep-patient"),
    ):
        refused(str(message), "predict", "pretrained:compact-robust", *words, keeps=tmp_path)


def test_an_image_without_uids_has_no_report_and_a_code(tmp_path: Path, call: Call) -> None:
    bad = written(tmp_path / "a.dcm", StudyInstanceUID=None)
    names = (bad, written(tmp_path / "b.dcm"))
    given = ("--dicom-sr", tmp_path / "reports", "--format", "jsonl")
    shown = call("predict", "pretrained:compact-robust", *names, *given, code=3)
    assert f"no report of {bad}: a report needs the image's StudyInstanceUID" in shown.err
    first, second = map(json.loads, shown.out.splitlines())
    assert first["dicom_sr"] is None
    assert (tmp_path / "reports" / second["dicom_sr"]).is_file()


def kept(tmp_path: Path, **tags: Any) -> Any:
    """The report, with the patient's tags, of an image that has these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of values that break the standard
        name = written(tmp_path / "a.dcm", **tags)
    made = structured_report.reports(tmp_path / "r", [name], algorithm="a", keep_patient=True)
    with made as reports:
        file = reports.add(Radiograph(name), ROW)
    return pydicom.dcmread(tmp_path / "r" / file)


def test_names_of_all_character_sets_are_kept_and_broken_tags_or_images_are_one_line(
    tmp_path: Path,
) -> None:
    for tags, message in (
        ({"PatientSex": "UNSURE"}, "UNSURE"),
        ({"SpecificCharacterSet": "ISO_IR 999", "PatientName": "A^B"}, "ISO_IR 999"),
    ):
        with pytest.raises(ValueError, match=rf"a\.dcm: [^\n]*{message}[^\n]*$"):
            kept(tmp_path, **tags)
    assert not (tmp_path / "r").exists()
    for character_set, name in (
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Müller^Jörg"),
    ):
        report = kept(tmp_path, SpecificCharacterSet=character_set, PatientName=name)
        assert (report.PatientName, report.SpecificCharacterSet) == (name, "ISO_IR 192")
        shutil.rmtree(tmp_path / "r")
    made = structured_report.reports(tmp_path / "r", [str(tmp_path / "a.dcm")], algorithm="a")
    with pytest.raises(ValueError, match=r"no longer be read \(No such file"), made as reports:
        (tmp_path / "a.dcm").unlink()
        reports.add(Radiograph(str(tmp_path / "a.dcm")), ROW)
