import io
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pneumo.data import dicom, reader
from tests.conftest import Patch

pydicom = pytest.importorskip("pydicom")

from pydicom import uid  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402

RAMP = np.tile(np.linspace(0, 4095, 64).round().astype(np.uint16), (40, 1))  # 12 bits
DAMAGED = "the DICOM file is damaged"
SIZED = ("Baseline8Bit", "2000Lossless")  # transfer syntaxes whose streams say their size
GREY = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))  # 8 bits


def dataset(pixels: np.ndarray = RAMP, *, bits: int = 12, **tags: Any) -> Any:
    """A radiograph of (H, W) stored values; a tag of None is left out."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = uid.UID("1.2.3")
    file.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    values = {
        "Modality": "DX",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "BitsAllocated": pixels.dtype.itemsize * 8,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    }
    for name, value in (values | tags).items():
        if value is not None:
            setattr(file, name, value)
    if "PixelData" in file:  # as pydicom would infer from BitsAllocated
        file["PixelData"].VR = "OW"
    return file


def encode(dataset: Any) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def decoded(pixels: np.ndarray = RAMP, *, bits: int = 12, **tags: Any) -> np.ndarray:
    return dicom.decode(encode(dataset(pixels, bits=bits, **tags)), name="a.dcm")


def lut(*, first: int, values: np.ndarray, bits: int, vr: str = "US", size: int = 0) -> Any:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [size or values.size, first, bits])
    entries = values.astype(np.uint8 if bits == 8 else "<u2")
    item.add_new("LUTData", vr, values.tolist() if vr == "US" else entries.tobytes())
    return item


def compressed(stream: bytes, *, syntax: str, **tags: Any) -> bytes:
    """A DICOM file of a (40, 60) picture around a compressed stream."""
    file = dataset(np.zeros((40, 60), np.uint8), bits=8, **tags)
    file.file_meta.TransferSyntaxUID = getattr(uid, syntax)
    file.PixelData = encapsulate([stream])
    file["PixelData"].VR = "OB"
    return encode(file)


def stream(kind: str, pixels: np.ndarray | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    if kind == "JPEG2000":
        options = {"no_jp2": True, "irreversible": False} | options
    Image.fromarray(noise if pixels is None else pixels).save(file, kind, **options)
    return file.getvalue()


def test_values_are_spread_from_least_to_most_whatever_their_kind() -> None:
    for bits in (9, 12, 16):
        pixels = (RAMP.astype(np.int64) * (2**bits - 1) // 4095).astype(np.uint16)
        assert np.abs(decoded(pixels, bits=bits)[0] - np.linspace(0, 255, 64)).max() <= 1.5
    signed = (RAMP.astype(np.int64) - 2048).astype(np.int16)
    assert (decoded(signed) == decoded()).all()
    assert (decoded(RescaleSlope="0.5", RescaleIntercept="-100") == decoded()).all()
    assert (decoded(RescaleSlope="-1", RescaleIntercept="4095") == 255 - decoded()).all()
    assert (decoded(PhotometricInterpretation="MONOCHROME1") == 255 - decoded()).all()
    eight = np.arange(50, 170, dtype=np.uint8).reshape(10, 12)  # stay as they are
    assert (decoded(eight, bits=8) == eight).all()
    signed = np.tile(np.arange(-128, 128, dtype=np.int16).astype(np.int8), (40, 1))
    assert (decoded(signed, bits=8) == np.arange(256)).all()


def test_the_first_window_cuts_and_spreads_and_its_function_is_followed() -> None:
    expected = np.clip((RAMP[0].astype(float) - 1500) / 1000 * 255, 0, 255)
    window: dict[str, Any] = {"WindowCenter": "2000", "WindowWidth": "1000"}
    rescaled = {"RescaleSlope": "2", "RescaleIntercept": "-1000"}
    for tags in (
        window | {"VOILUTFunction": ""},
        {"WindowCenter": ["2000", "10"], "WindowWidth": ["1000", "5"]},
        rescaled | {"WindowCenter": "3000", "WindowWidth": "2000"},
    ):
        assert np.abs(decoded(**tags)[0] - expected).max() <= 1.5
    sigmoid = decoded(**window, VOILUTFunction="SIGMOID")
    assert (np.diff(sigmoid[0].astype(int)) >= 0).all()
    assert sigmoid.max() == 255


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_lookup_tables_of_any_width_are_followed_and_preferred_to_the_window(sequence: str) -> None:
    falling = lut(first=0, values=np.arange(4095, -1, -1), bits=12)
    tags: dict[str, Any] = {"WindowCenter": "1", "WindowWidth": "2"} if sequence[0] == "V" else {}
    inverted = decoded(**tags | {sequence: [falling]})
    assert np.abs(inverted.astype(int) - (255 - decoded().astype(int))).max() <= 1
    for bits, vr in itertools.product((8, 16), ("US", "OW")):  # white is the largest value
        tags = {sequence: [lut(first=0, values=np.arange(4096) // 16, bits=bits, vr=vr)]}
        assert np.abs(decoded(**tags).astype(int) - decoded()).max() <= 1


@pytest.mark.parametrize(
    ("tag", "empty"), [*((tag, "") for tag in dicom.OPTIONAL), ("WindowCenter", ["", "10"])]
)
def test_an_empty_number_is_missing_and_a_missing_one_neutral(tag: str, empty: Any) -> None:
    tags: dict[str, Any] = {"RescaleSlope": "2", "RescaleIntercept": "-100"}
    tags |= {"WindowCenter": "4000", "WindowWidth": "6000", "NumberOfFrames": "1"}
    tags |= {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 65}
    without = decoded(**tags | {tag: None})
    assert (decoded(**tags | {tag: empty}) == without).all()
    neutral = {"RescaleSlope": "1", "RescaleIntercept": "0"}
    assert tag not in neutral or (decoded(**tags | {tag: neutral[tag]}) == without).all()


def test_padding_is_black_and_does_not_count() -> None:
    pixels = np.clip(RAMP, 1000, 3000)
    pixels[:, :8] = 4095
    for kind in dicom.GREY:
        grey = decoded(pixels, PixelPaddingValue=4095, PhotometricInterpretation=kind)
        assert (grey[:, :8] == 0).all()
        assert set(np.unique(grey[:, 8:])[[0, -1]]) == {0, 255}


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless", "JPEG2000Lossless"])
def test_compressed_files_are_the_same_picture(syntax: str) -> None:
    file = dataset()
    file.compress(getattr(uid, syntax), generate_instance_uid=False)
    assert (dicom.decode(encode(file)) == decoded()).all()


def test_grey_in_three_channels_is_read_and_colour_refused() -> None:
    tags: dict[str, Any] = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    of_rgb = {"PhotometricInterpretation": "RGB", "Rows": 40, "Columns": 60, "Modality": "SC"}
    rgb = np.repeat(GREY[..., None], 3, axis=2)
    assert (decoded(rgb, bits=8, **tags, **of_rgb) == GREY).all()
    rgb[..., 0] = 255
    with pytest.raises(ValueError, match="must be a grey radiograph; this one is in colour"):
        decoded(rgb, bits=8, **tags, **of_rgb)
    files = [compressed(stream("JPEG", GREY, quality=95), syntax="JPEGBaseline8Bit")]
    for kind, syntax in (("YBR_RCT", "JPEG2000Lossless"), ("YBR_ICT", "JPEG2000")):
        picture = stream("JPEG2000", np.dstack([GREY] * 3), mct=1, irreversible=kind == "YBR_ICT")
        files.append(compressed(picture, syntax=syntax, PhotometricInterpretation=kind, **tags))
    for data in files:
        assert np.abs(dicom.decode(data).astype(int) - GREY).max() <= 4


def test_a_file_without_preamble_is_read_and_the_index_of_a_disk_left_out(tmp_path: Path) -> None:
    for implicit in (True, False):
        bare, file = dataset(), io.BytesIO()
        del bare.file_meta
        pydicom.dcmwrite(file, bare, implicit_vr=implicit, little_endian=True)
        assert dicom.is_dicom(file.getvalue())
        assert (dicom.decode(file.getvalue()) == decoded()).all()
    listing = b"\0" * 128 + b"DICM" + dicom.DIRECTORY
    (tmp_path / "DICOMDIR").write_bytes(listing)
    (tmp_path / "IM000001").write_bytes(encode(dataset()))
    names, others = reader.find([str(tmp_path)])
    assert ([Path(name).name for name in names], others) == (["IM000001"], 1)
    with pytest.raises(ValueError, match="it is a DICOMDIR, the index of a disk"):
        dicom.decode(listing)


def hostile() -> Iterator[tuple[bytes, str]]:
    """Files that must be refused, and why."""
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"Modality": "CT"}, r"Modality \(0008,0060\) must be one of CR, DX.*got 'CT'"),
        ({"NumberOfFrames": 2}, r"must hold one frame; got 2"),
        ({"PhotometricInterpretation": "RGB"}, "must be one of MONO.* got 'RGB' of 1 samples"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "must be one of MONOCHROME1"),
        ({"Rows": 60000, "Columns": 60000}, "at most 100,000,000 pixels; this one has 60,000"),
        ({"PixelData": b"\0\0\0\0"}, DAMAGED),
        ({"BitsAllocated": 32}, "must have 8 or 16 bits allocated; got 32"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "PRESENTATION; this one is FOR PROCESSING"),
        ({"SOPClassUID": dicom.RAW}, "must be FOR PRESENTATION; this one is FOR PROCESSING"),
        (
            {"VOILUTSequence": [lut(first=0, values=np.arange(99), bits=16, size=4096)]},
            "99 entries",
        ),
        *(({tag: None}, "") for tag in ("PixelData", "PhotometricInterpretation", "Rows")),
        *(({tag: None}, "") for tag in ("SamplesPerPixel", "Columns", "BitsAllocated")),
        *(({tag: None}, "") for tag in ("BitsStored", "PixelRepresentation")),
    )
    yield from ((encode(dataset(**tags)), message) for tags, message in cases)
    whole, number = encode(dataset()), encode(dataset(RescaleSlope="12345"))
    yield from ((whole[:end], "") for end in range(132, len(whole), 301))
    for text in (b"1e999", b"nan", b"1,5"):
        yield number.replace(b"12345", text.ljust(5)), DAMAGED
    for kind, syntax in (
        *(("JPEG", "JPEGBaseline8Bit"), ("JPEG2000", "JPEG2000Lossless")),
        *(("JPEG", "JPEGLossless"), ("JPEG", "JPEGExtended12Bit"), ("JPEG", "JPEGLSLossless")),
    ):
        picture = stream(kind)
        for share in (0.5, 0.99):
            cut = picture[: int(len(picture) * share)]
            yield compressed(cut, syntax=syntax), "its compressed picture is truncated"
        for tag in ("Columns", "Rows") if syntax[4:] in SIZED else ():
            yield compressed(picture, syntax=syntax, **{tag: 50}), f"{DAMAGED} or truncated"
    file = dataset()
    file.compress(uid.RLELossless, generate_instance_uid=False)
    broken = bytearray(encode(file))
    start = broken.index(bytes.fromhex("feff00e0"), broken.index(bytes.fromhex("e07f1000")) + 20)
    broken[start + 8 : start + 72] = b"\xff" * 64  # the header of the first frame's segments
    yield bytes(broken), DAMAGED
    file = dataset()
    file.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    yield encode(file), "must not be a deflated DICOM file"


def test_other_files_are_refused_in_one_line() -> None:
    for data, message in hostile():
        with pytest.raises(ValueError, match=rf"^a\.dcm: [^\n]*{message}[^\n]*$"):
            dicom.decode(data, name="a.dcm")
            pytest.fail(f"not refused: {message}")
    assert (decoded(Modality=None) == decoded()).all()


def test_a_radiograph_is_read_from_a_file_by_pydicom(monkeypatch: Patch, tmp_path: Path) -> None:
    path = tmp_path / "1.2.840.7"
    path.write_bytes(encode(dataset()))
    radiograph = reader.read(str(path), shapes=[(32, "stretch"), (64, "pad")])
    assert (radiograph.error, radiograph.size) == ("", (64, 40))
    assert [pixels.shape for pixels in radiograph.prepared.values()] == [(32, 32), (64, 64)]
    assert radiograph.odd == ("small: 64 x 40 pixels",)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    error = reader.read(str(path), shapes=[(32, "stretch")]).error
    assert error.startswith("DICOM needs pydicom")
    assert error.endswith("pip install 'pneumo[dicom]'")
