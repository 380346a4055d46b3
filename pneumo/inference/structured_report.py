"""The predictions for a DICOM image as a DICOM structured report that refers to it.

One Comprehensive SR by TID 1500 for each image (highdicom): probability, threshold, decision and
the other cells of its row, under private codes (99PNEUMO), since no standard code means "predicted
by a network". It is preliminary, unverified, and marked for research.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pneumo import atomic
from pneumo.data import dicom, reader
from pneumo.data.reader import Radiograph
from pneumo.inference.prediction import Row
from pneumo.runs import output

SCHEME = "99PNEUMO"  # 99: private, PS3.16, section 8.2
MARK = "RESEARCH USE ONLY. Not a medical device. No decision about a person may rest on it."
SERIES = "RESEARCH USE ONLY: prediction of a network"  # at most 64 characters
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
PATIENT = (  # type 2 of an SR: present, but empty without --keep-patient
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
UTF8 = "ISO_IR 192"  # PS3.3, C.12.1.1.2
# By column of the table: code (at most 16 characters) and meaning (64)
MEASURED = {
    "p_pneumonia": ("p_pneumonia", "Probability of PNEUMONIA, raw"),
    "p_pneumonia_calibrated": ("p_calibrated", "Probability of PNEUMONIA, calibrated"),
    "threshold": ("threshold", "Threshold of the decision on the raw probability"),
    "ood_score": ("ood_score", "Distance from the network's own images, in units of the limit"),
}
EVALUATED = {
    "decision": ("decision", "Predicted by the network"),
    "threshold_from": ("threshold_from", "Origin of the threshold"),
    "prediction_set": ("prediction_set", "Labels in the prediction set"),
    "ood": ("ood", "Out of the distribution of the network's own images"),
}


@dataclass
class Reports:
    """Writes a report for each image into a folder."""

    folder: Path
    algorithm: str  # the network that predicts
    keep_patient: bool
    column: str = "dicom_sr"
    kind: str = "report"

    def add(self, radiograph: Radiograph, row: Row) -> str:
        """Writes the report of a DICOM file and its row; returns the name of the report's file.

        Raises:
            ValueError: the image lacks a UID that a report needs, a tag of it is broken, or the
                image is missing.
            OSError: the report cannot be written.
        """
        import pydicom

        name = radiograph.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of values that break the standard's form
                warnings.filterwarnings("error", ".*encoding")  # of an unknown character set
                source = pydicom.dcmread(name, stop_before_pixels=True, force=True)
                report = build(source, row, self.algorithm, keep_patient=self.keep_patient)
        except (TypeError, AttributeError, ValueError, UserWarning) as error:  # by a tag
            raise ValueError(f"{name}: {' '.join(str(error).split())}") from None
        except OSError as error:  # it could be read a moment ago
            raise ValueError(f"{name}: it can no longer be read ({output.reason(error)})") from None
        path = self.folder / f"{report.SOPInstanceUID}.dcm"
        report.save_as(path, enforce_file_format=True)
        return path.name


@contextmanager
def reports(
    out: Path, names: Sequence[str], *, algorithm: str, keep_patient: bool = False
) -> Iterator[Reports]:
    """Yields a writer of reports of DICOM files; at the end their folder becomes ``out``.

    Raises:
        ValueError: ``out`` is in use or cannot be written, or a file is not a DICOM file.
    """
    if others := [name for name in names if not _is_dicom(name)]:
        raise ValueError(
            f"--dicom-sr writes reports that refer to DICOM images; {others[0]} is not one "
            f"({len(others):,} of {len(names):,} files). Leave it out, or leave --dicom-sr out"
        )
    output.check_folder(out, name="--dicom-sr")
    with atomic.replacing_folder(out, keep=True) as folder:
        yield Reports(folder, algorithm, keep_patient)


def build(source: Any, row: Mapping[str, Any], algorithm: str, *, keep_patient: bool) -> Any:
    """Returns the report (highdicom.sr.ComprehensiveSR) of one image.

    It refers to study, series and image by their UIDs. ``source`` is the image's dataset, without
    pixels, ``algorithm`` the network that predicts; ``keep_patient``: whether name, dates and
    numbers of patient and study are copied.
    """
    import highdicom as hd
    from pydicom import Dataset

    if missing := [tag for tag in NEEDED if not source.get(tag)]:
        raise ValueError(f"a report needs the image's {', '.join(missing)}")
    evidence = Dataset()  # of the image, for the report
    for tag in (*NEEDED, *PATIENT):
        kept = keep_patient or tag in NEEDED
        setattr(evidence, tag, source.get(tag, "") if kept else "")
    if keep_patient:
        evidence.SpecificCharacterSet = UTF8  # pydicom decoded by the image's own
    return hd.sr.ComprehensiveSR(
        evidence=[evidence],
        content=_content(source, row, algorithm)[0],
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="pneumo",
        manufacturer_model_name=algorithm[:64],
        software_versions=version("pneumo"),
        series_description=SERIES,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )


def _content(source: Any, row: Mapping[str, Any], algorithm: str) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    values = {column: value for column, value in row.items() if value is not None}
    values |= {"ood": "yes" if row.get("ood") else "no"} if "ood" in values else {}
    observer = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=hd.UID(), name="pneumo", model_name=algorithm
    )
    numbers, words = (
        [(_code(*code), values[column]) for column, code in codes_of.items() if column in values]
        for codes_of in (MEASURED, EVALUATED)
    )
    image = hd.sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(hd.UID(), "prediction"),
        algorithm_id=hd.sr.AlgorithmIdentification(
            name="pneumo", version=version("pneumo"), parameters=[algorithm]
        ),
        source_images=[image],
        measurements=[hd.sr.Measurement(c, float(v), codes.UCUM.NoUnits) for c, v in numbers],
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(c, _code(v, v)) for c, v in words],
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_device_context=hd.sr.ObserverContext(codes.DCM.Device, observer)
        ),
        procedure_reported=_code("chest-radiograph", "Radiograph of the chest"),
        imaging_measurements=[group],
    )
    mark = hd.sr.TextContentItem(codes.DCM.Comment, MARK, hd.sr.RelationshipTypeValues.CONTAINS)
    content[0].ContentSequence.append(mark)
    return content


def _code(value: str, meaning: str) -> Any:
    from pydicom.sr.coding import Code

    return Code(value, SCHEME, meaning)


def _is_dicom(name: str) -> bool:
    if name == reader.STANDARD_INPUT or "\0" in name or not Path(name).is_file():
        return False
    with Path(name).open("rb") as file:
        return dicom.is_dicom(file.read(dicom.HEADER_BYTES))
