import builtins
import io
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pneumo.data import dicom, reader

pydicom = pytest.importorskip("pydicom")

from pydicom import uid  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402

RAMP = np.tile(np.linspace(0, 4095, 64).round().astype(np.uint16), (40, 1))  # 12 bits


def dataset(pixels: np.ndarray = RAMP, *, bits: int = 12, **tags: Any) -> Any:
    """A radiograph of (H, W) stored values; a tag of None is left out."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = uid.UID("1.2.3")
    found.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
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
            setattr(found, name, value)
    if "PixelData" in found:  # what pydicom would guess from BitsAllocated
        found["PixelData"].VR = "OW"
    return found


def encode(found: Any) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, found, enforce_file_format=True)
    return file.getvalue()


def decoded(pixels: np.ndarray = RAMP, *, bits: int = 12, **tags: Any) -> np.ndarray:
    return dicom.decode(encode(dataset(pixels, bits=bits, **tags)), name="a.dcm")


def lut(*, first: int, values: np.ndarray, bits: int) -> Any:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [values.size, first, bits])
    item.add_new("LUTData", "US", values.tolist())
    return item


def test_eight_bits_stay_as_they_are() -> None:
    pixels = np.arange(50, 170, dtype=np.uint8).reshape(10, 12)
    assert (decoded(pixels, bits=8) == pixels).all()


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_more_bits_are_spread_from_least_to_most(bits: int) -> None:
    pixels = (RAMP.astype(np.int64) * (2**bits - 1) // 4095).astype(np.uint16)
    found = decoded(pixels, bits=bits)
    assert np.abs(found[0].astype(int) - np.linspace(0, 255, 64)).max() <= 1.5


def test_signed_values_and_rescaling_keep_the_order() -> None:
    signed = (RAMP.astype(np.int64) - 2048).astype(np.int16)
    assert (decoded(signed) == decoded()).all()
    assert (decoded(RescaleSlope="0.5", RescaleIntercept="-100") == decoded()).all()
    assert (decoded(RescaleSlope="-1", RescaleIntercept="4095") == 255 - decoded()).all()


@pytest.mark.parametrize("absent", ["", None])  # an empty tag, and none
def test_a_slope_that_is_absent_is_1_and_an_intercept_0(absent: str | None) -> None:
    falling = decoded(RescaleSlope="-1", RescaleIntercept=absent)
    assert (falling == 255 - decoded()).all()
    window: dict[str, Any] = {"WindowCenter": "2000", "WindowWidth": "1000"}
    shifted = decoded(RescaleSlope=absent, RescaleIntercept="500", **window)
    assert (shifted == decoded(RescaleSlope="1", RescaleIntercept="500", **window)).all()
    assert (shifted != decoded(**window)).any()


@pytest.mark.parametrize(
    ("tag", "empty"),
    [(tag, "") for tag in dicom.OPTIONAL]
    + [(tag, ["", "10"]) for tag in dicom.OPTIONAL if not tag.startswith("Pixel")],
)
def test_an_empty_number_counts_as_missing(tag: str, empty: Any) -> None:
    tags: dict[str, Any] = {
        **{"RescaleSlope": "2", "RescaleIntercept": "-100", "NumberOfFrames": "1"},
        **{"WindowCenter": "4000", "WindowWidth": "6000"},
        **{"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 65},
    }
    assert (decoded(**tags | {tag: empty}) == decoded(**tags | {tag: None})).all()


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"])
@pytest.mark.parametrize("text", ["1e999", "nan", "1,5"])
def test_a_number_that_is_none_is_named(tag: str, text: str) -> None:
    tags: dict[str, Any] = {tag: "12345"}
    whole = encode(dataset(**tags))
    with pytest.raises(ValueError, match=rf"^a\.dcm: {tag} must be a number, empty or missing"):
        dicom.decode(whole.replace(b"12345", text.encode().ljust(5)), name="a.dcm")


def test_monochrome1_is_turned_around() -> None:
    found = decoded(PhotometricInterpretation="MONOCHROME1")
    assert (found == 255 - decoded()).all()


@pytest.mark.parametrize("extra", [{}, {"RescaleSlope": "2", "RescaleIntercept": "-1000"}])
def test_window_cuts_and_spreads(extra: dict[str, Any]) -> None:
    slope, intercept = float(extra.get("RescaleSlope", 1)), float(extra.get("RescaleIntercept", 0))
    centre, width = 2000 * slope + intercept, 1000 * slope
    found = decoded(WindowCenter=str(centre), WindowWidth=str(width), **extra)
    expected = np.clip((RAMP[0].astype(float) - 1500) / 1000 * 255, 0, 255)
    assert np.abs(found[0].astype(float) - expected).max() <= 1.5


def test_window_under_a_falling_rescale_is_not_turned_twice() -> None:
    window: dict[str, Any] = {"WindowCenter": "2048", "WindowWidth": "4096"}
    falling = decoded(RescaleSlope="-1", RescaleIntercept="4095", **window)
    assert np.abs(falling.astype(int) - (255 - decoded(**window).astype(int))).max() <= 1


def test_first_of_several_windows_counts_and_sigmoid_rises() -> None:
    both = decoded(WindowCenter=["2000", "10"], WindowWidth=["1000", "5"])
    assert (both == decoded(WindowCenter="2000", WindowWidth="1000")).all()
    sigmoid = decoded(WindowCenter="2000", WindowWidth="1000", VOILUTFunction="SIGMOID")
    assert (np.diff(sigmoid[0].astype(int)) >= 0).all()
    assert sigmoid.max() == 255


def test_lookup_table_is_preferred_to_the_window() -> None:
    falling = lut(first=0, values=np.arange(4095, -1, -1), bits=12)
    found = decoded(VOILUTSequence=[falling], WindowCenter="1", WindowWidth="2")
    assert np.abs(found.astype(int) - (255 - decoded().astype(int))).max() <= 1


def test_modality_lookup_table_is_applied() -> None:
    item = lut(first=0, values=np.arange(4095, -1, -1), bits=16)
    item.ModalityLUTType = "US"
    found = decoded(ModalityLUTSequence=[item])
    assert np.abs(found.astype(int) - (255 - decoded().astype(int))).max() <= 1


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count(kind: str) -> None:
    pixels = np.clip(RAMP, 1000, 3000)
    pixels[:, :8] = 4095
    found = decoded(pixels, PixelPaddingValue=4095, PhotometricInterpretation=kind)
    assert (found[:, :8] == 0).all()
    assert set(np.unique(found[:, 8:])[[0, -1]]) == {0, 255}


def test_uniform_and_wholly_padded_files_are_black_not_errors() -> None:
    assert (decoded(np.full_like(RAMP, 7)) == 0).all()
    assert (decoded(np.full_like(RAMP, 7), PixelPaddingValue=7) == 0).all()


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless", "JPEG2000Lossless"])
def test_compressed_files_are_the_same_picture(syntax: str) -> None:
    found = dataset()
    try:
        found.compress(getattr(uid, syntax), generate_instance_uid=False)
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"no encoder: {error}")
    assert (dicom.decode(encode(found)) == decoded()).all()


def test_jpeg_inside_dicom_is_decoded() -> None:
    from pydicom.encaps import encapsulate

    pytest.importorskip("pylibjpeg")
    grey = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=95)
    found = dataset(grey, bits=8)
    found.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    found.PixelData = encapsulate([file.getvalue()])
    found["PixelData"].VR = "OB"
    assert np.abs(dicom.decode(encode(found)).astype(int) - grey).max() <= 4


def compressed(stream: bytes, *, syntax: str, **tags: Any) -> bytes:
    """A DICOM file of a (40, 60) picture around a compressed stream."""
    from pydicom.encaps import encapsulate

    found = dataset(np.zeros((40, 60), np.uint8), bits=8, **tags)
    found.file_meta.TransferSyntaxUID = getattr(uid, syntax)
    found.PixelData = encapsulate([stream])
    found["PixelData"].VR = "OB"
    return encode(found)


def stream(kind: str, *, height: int = 40) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, 60), dtype=np.uint8)
    options = {"no_jp2": True, "irreversible": False} if kind == "JPEG2000" else {}
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "syntax"), [("JPEG", "JPEGBaseline8Bit"), ("JPEG2000", "JPEG2000Lossless")]
)
def test_a_picture_cut_inside_a_whole_file_is_refused(kind: str, syntax: str) -> None:
    whole = stream(kind)
    assert dicom.decode(compressed(whole, syntax=syntax)).shape == (40, 60)
    for share in (0.5, 0.9, 0.99):
        cut = compressed(whole[: int(len(whole) * share)], syntax=syntax)
        with pytest.raises(ValueError, match=r"^a\.dcm: its compressed picture is cut off"):
            dicom.decode(cut, name="a.dcm")


@pytest.mark.parametrize("syntax", ["JPEGLossless", "JPEGExtended12Bit", "JPEGLSLossless"])
def test_no_stream_without_its_end_reaches_a_decoder(syntax: str) -> None:
    half = stream("JPEG")[:600]
    with pytest.raises(ValueError, match=r"^a\.dcm: its compressed picture is cut off"):
        dicom.decode(compressed(half, syntax=syntax), name="a.dcm")


def test_fewer_lines_than_declared_are_refused() -> None:
    short = compressed(stream("JPEG", height=24), syntax="JPEGBaseline8Bit")
    with pytest.raises(ValueError, match=r"must have the 40 lines .*; it has 24 and 60"):
        dicom.decode(short)


@pytest.mark.parametrize(
    ("kind", "syntax"), [("JPEG", "JPEGBaseline8Bit"), ("JPEG2000", "JPEG2000Lossless")]
)
def test_another_size_than_declared_is_refused_before_decoding(
    kind: str, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom, "_stored", None)
    with pytest.raises(ValueError, match=r"and 50 columns that .*; it has 40 and 60$"):
        dicom.decode(compressed(stream(kind), syntax=syntax, Columns=50))


def test_compression_that_the_transfer_syntax_denies_is_refused() -> None:
    whole = compressed(stream("JPEG") * 2, syntax="JPEGBaseline8Bit")
    syntax = uid.JPEGBaseline8Bit.encode()
    denied = whole.replace(syntax, uid.ExplicitVRLittleEndian.encode().ljust(len(syntax), b"\0"))
    with pytest.raises(ValueError, match="its picture is compressed, but its transfer syntax"):
        dicom.decode(denied)


def test_fill_bytes_before_a_marker_are_no_marker() -> None:
    whole = stream("JPEG")
    filled = whole[:2] + b"\xff\xff" + whole[2:]
    found = dicom.decode(compressed(filled, syntax="JPEGBaseline8Bit"))
    assert (found == dicom.decode(compressed(whole, syntax="JPEGBaseline8Bit"))).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_lookup_tables_of_any_width_are_the_same_picture(sequence: str, vr: str, bits: int) -> None:
    item = lut(first=0, values=np.arange(4096) // 16, bits=bits)
    if vr == "OW":
        entries = (np.arange(4096) // 16).astype(np.uint8 if bits == 8 else "<u2")
        item.add_new("LUTData", "OW", entries.tobytes())
    tags: dict[str, Any] = {sequence: [item]}
    assert np.abs(decoded(**tags).astype(int) - decoded()).max() <= 1


def test_a_cut_lookup_table_is_refused() -> None:
    item = lut(first=0, values=np.arange(4096), bits=16)
    item.LUTData = list(range(100))
    with pytest.raises(ValueError, match="lookup table has 100 entries instead of 4096"):
        decoded(VOILUTSequence=[item])


def test_signed_eight_bits_keep_their_lower_half() -> None:
    signed = np.tile(np.arange(-128, 128, dtype=np.int16).astype(np.int8), (40, 1))
    assert (decoded(signed, bits=8) == np.arange(256)).all()


def test_an_empty_window_function_is_linear() -> None:
    window: dict[str, Any] = {"WindowCenter": 2000, "WindowWidth": 500}
    assert (decoded(**window, VOILUTFunction="") == decoded(**window)).all()


def test_a_large_picture_takes_no_floats() -> None:
    data = encode(dataset(np.zeros((4000, 4000), np.uint16)))  # 32 MB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dicom.decode(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # 640 MB before


def test_white_of_a_lookup_table_is_its_largest_value() -> None:
    twelve = lut(first=0, values=np.arange(4096), bits=16)
    assert np.abs(decoded(VOILUTSequence=[twelve]).astype(int) - decoded()).max() <= 1


def test_grey_in_three_channels_is_taken_and_colour_refused() -> None:
    grey = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    tags: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    tags |= {"PlanarConfiguration": 0, "Rows": 40, "Columns": 60, "Modality": "SC"}
    rgb = np.repeat(grey[..., None], 3, axis=2)
    assert (decoded(rgb, bits=8, **tags) == grey).all()
    rgb[..., 0] = 255
    with pytest.raises(ValueError, match="must be a grey radiograph; this one is in colour"):
        decoded(rgb, bits=8, **tags)


@pytest.mark.parametrize(
    ("photometric", "syntax"), [("YBR_RCT", "JPEG2000Lossless"), ("YBR_ICT", "JPEG2000")]
)
def test_grey_in_the_colours_of_jpeg_2000_is_taken(photometric: str, syntax: str) -> None:
    grey = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    file = io.BytesIO()
    lossy = photometric == "YBR_ICT"
    Image.fromarray(np.dstack([grey] * 3)).save(
        file, "JPEG2000", no_jp2=True, mct=1, irreversible=lossy
    )
    tags = {"PhotometricInterpretation": photometric, "SamplesPerPixel": 3}
    data = compressed(file.getvalue(), syntax=syntax, PlanarConfiguration=0, **tags)
    assert np.abs(dicom.decode(data).astype(int) - grey).max() <= 1


@pytest.mark.parametrize(
    "tags", [{"PresentationIntentType": "FOR PROCESSING"}, {"SOPClassUID": dicom.RAW}]
)
def test_raw_detector_values_are_refused(tags: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be FOR PRESENTATION; this one is FOR PROCESSING"):
        decoded(**tags)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_file_without_preamble_is_read(implicit: bool) -> None:
    found = dataset()
    del found.file_meta
    file = io.BytesIO()
    pydicom.dcmwrite(file, found, implicit_vr=implicit, little_endian=True)
    assert dicom.is_dicom(file.getvalue())
    assert (dicom.decode(file.getvalue()) == decoded()).all()


def test_the_index_of_a_disk_is_left_out(tmp_path: Path) -> None:
    listing = b"\0" * 128 + b"DICM" + dicom.DIRECTORY
    (tmp_path / "DICOMDIR").write_bytes(listing)
    (tmp_path / "IM000001").write_bytes(encode(dataset()))
    names, others = reader.find([str(tmp_path)])
    assert ([Path(name).name for name in names], others) == (["IM000001"], 1)
    with pytest.raises(ValueError, match="it is a DICOMDIR, the index of a disk"):
        dicom.decode(listing)


def test_what_a_decoder_raises_carries_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise IndexError("tuple index out of range")

    monkeypatch.setattr(dicom, "_shown", fails)
    with pytest.raises(ValueError, match=r"^a\.dcm: .*\(tuple index out of range\)"):
        dicom.decode(encode(dataset()), name="a.dcm")


@pytest.mark.parametrize("tag", dicom.NEEDED)
def test_missing_tags_are_named(tag: str) -> None:
    with pytest.raises(ValueError, match=rf"^a\.dcm: a DICOM image must have {tag}"):
        decoded(RAMP, bits=12, **{tag: None})


def test_missing_modality_is_taken_for_a_radiograph() -> None:
    assert (decoded(Modality=None) == decoded()).all()


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "CT"}, r"Modality \(0008,0060\) must be one of CR, DX.*got 'CT'"),
        ({"NumberOfFrames": 2}, r"must hold one picture; got 2 frames"),
        ({"PhotometricInterpretation": "RGB"}, "must be one of MONO.* got 'RGB' of 1 samples"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "must be one of MONOCHROME1"),
        ({"Rows": 60000, "Columns": 60000}, "at most 100,000,000 pixels; this one says 60,000"),
        ({"PixelData": b"\0\0\0\0"}, r"damaged or cut off"),
        ({"BitsAllocated": 32}, "must have 8 or 16 bits allocated; got 32"),
    ],
)
def test_what_cannot_be_used_is_named(tags: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^a\.dcm: .*{message}"):
        decoded(**tags)


def test_cut_files_are_named_wherever_they_are_cut() -> None:
    data = encode(dataset())
    for end in range(132, len(data), 301):
        with pytest.raises(ValueError, match=r"^a\.dcm: "):
            dicom.decode(data[:end], name="a.dcm")


def test_damaged_compression_is_named() -> None:
    found = dataset()
    found.compress(uid.RLELossless, generate_instance_uid=False)
    data = bytearray(encode(found))
    start = data.index(bytes.fromhex("feff00e0"), data.index(bytes.fromhex("e07f1000")) + 20)
    data[start + 8 : start + 72] = b"\xff" * 64  # the header of the first frame's segments
    with pytest.raises(ValueError, match=r"^a\.dcm: the DICOM file is damaged"):
        dicom.decode(bytes(data), name="a.dcm")


def test_deflated_files_are_refused_before_they_are_inflated() -> None:
    found = dataset()
    found.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    with pytest.raises(ValueError, match=r"a\.dcm: must not be a deflated DICOM file"):
        dicom.decode(encode(found), name="a.dcm")


def test_missing_pydicom_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = encode(dataset())
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("pydicom"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'pneumo\[dicom\]'"):
        dicom.decode(data)
    (tmp_path / "a.dcm").write_bytes(data)
    radiograph = reader.read(str(tmp_path / "a.dcm"), shapes=[(32, "stretch")])
    assert "DICOM needs pydicom" in radiograph.error


def test_a_radiograph_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "1.2.840.7"
    path.write_bytes(encode(dataset()))
    radiograph = reader.read(str(path), shapes=[(32, "stretch"), (64, "pad")])
    assert not radiograph.error
    assert radiograph.size == (64, 40)
    assert {k: v.shape for k, v in radiograph.prepared.items()} == {
        (32, "stretch"): (32, 32),
        (64, "pad"): (64, 64),
    }
    assert radiograph.odd == ("small: 64 x 40 pixels",)
    assert "pydicom" in sys.modules
