"""Patients that only the images know: PatientID of DICOM files."""

import logging
import warnings
from pathlib import Path

import pandas as pd

from pneumo.data.dicom import DEFLATED, HEADER_BYTES, is_dicom
from pneumo.data.labelled import normalised

log = logging.getLogger(__name__)


def with_patients(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Returns ``table`` with a patient in each row.

    Where it has none, DICOM files of one PatientID are one patient, called by the path of the
    first: no PatientID is kept. Any other image is its own patient, called by its path.

    Args:
        table: path, patient ("" where unknown) and known_by, which becomes ``PatientID`` there.
        root: the folder of the images.
    """
    unknown = table["patient"] == ""
    found = [_patient_id(root / path) for path in table["path"][unknown]]
    patient_id = pd.Series(found, index=table.index[unknown], dtype="str")
    patient_id = patient_id[patient_id != ""]
    if len(patient_id) > 1 and patient_id.nunique() == 1:
        log.warning(
            "All %d DICOM files have the same PatientID, so they count as one patient; if it is a "
            "placeholder, give each patient's files one of their own",
            len(patient_id),
        )
    first = table["path"][patient_id.index].groupby(patient_id).transform("first")
    patient = table["patient"].mask(unknown, table["path"])
    known_by = table["known_by"].copy()
    patient[first.index], known_by[first.index] = first, "PatientID"
    return table.assign(patient=patient, known_by=known_by)


def _patient_id(path: Path) -> str:
    """PatientID (0010,0020) of a DICOM file; "" of others, and where it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
        if not is_dicom(start) or DEFLATED in start:  # which would be inflated whole
            return ""
        import pydicom  # late: an extra

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=["PatientID"], force=True
            )
            return normalised(str(header.get("PatientID") or ""))
    except Exception:  # of many kinds on broken files; reading the image says which
        return ""
