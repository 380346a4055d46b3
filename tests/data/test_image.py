import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pneumo.data import image


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_grey_is_read_as_it_is_in_any_mode(grey: np.ndarray, mode: str) -> None:
    assert (image.decode(encode(Image.fromarray(grey).convert(mode))) == grey).all()


@pytest.mark.parametrize(("colours", "most"), [(1, 0), (3, 3)])
def test_luma_of_a_jpeg_is_that_of_its_colours(colours: int, most: int) -> None:
    values = np.random.default_rng(0).integers(60, 200, (5, 8, colours)).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(values.repeat(8, 0).repeat(8, 1), (40, 64, 3)))
    data = encode(picture, "JPEG", quality=95, subsampling=0)
    by_colours = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert np.abs(image.decode(data).astype(int) - by_colours).max() <= most


def test_palettes_are_looked_up_and_transparency_lies_on_black(grey: np.ndarray) -> None:
    picture = Image.fromarray(grey // 16).convert("P")
    picture.putpalette([level for n in range(256) for level in 3 * [255 - n]])
    assert (image.decode(encode(picture)) == 255 - grey // 16).all()
    clear = np.dstack([grey, np.zeros_like(grey)])
    assert (image.decode(encode(Image.fromarray(clear, "LA"))) == 0).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_more_bits_are_scaled_from_those_in_use_but_for_a_few_pixels(bits: int) -> None:
    ramp = np.tile(np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16), (4, 1))
    ramp[0, 0] = min(2**bits + 900, 65535)
    decoded = image.decode(encode(Image.fromarray(ramp)))
    assert decoded[0, 0] == 255
    assert np.abs(decoded[1:].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("channels", [3, 4])
def test_twelve_bits_in_colour_are_as_bright_as_in_grey(channels: int) -> None:
    ramp = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (64, 1))
    plain = image.decode(encode(Image.fromarray(ramp)))
    colour = np.repeat(ramp[..., None], channels, 2)
    colour[..., 3:] = 65535  # opaque
    data = cv2.imencode(".png", colour)[1].tobytes()
    assert np.abs(image.decode(data).astype(int) - plain).max() <= 1
    with pytest.raises(ValueError, match=r"^a\.png: the image is damaged or truncated"):
        image.decode(data[: len(data) // 2], name="a.png")


def test_the_orientation_tag_is_applied(grey: np.ndarray) -> None:
    picture = Image.fromarray(grey)
    exif = picture.getexif()
    exif[0x0112] = 6  # Orientation: turned by a quarter
    assert image.decode(encode(picture, "JPEG", exif=exif)).shape == (60, 40)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (320, 480), dtype=np.uint8))
    frames = encode(picture, "PNG", save_all=True, append_images=[picture.rotate(90)])
    bomb = encode(Image.new("1", (12_000, 12_000)))
    halves = (data[: len(data) // 2] for data in (encode(picture), encode(picture, "JPEG")))
    for message, files in {
        "must be a PNG, JPEG or DICOM image": (b"", b"no image", encode(picture, "TIFF")),
        "the image is damaged or truncated": halves,
        "must have 1 to 100,000,000 pixels": [bomb],
        "must hold one frame; got 2": [frames],
    }.items():
        for data in files:
            with pytest.raises(image.ImageError, match=f"^a.png: .*{message}"):
                image.decode(data, name="a.png")
                pytest.fail(message)
    with pytest.raises(ValueError, match=r"gone\.png: cannot be read"):
        image.read(tmp_path / "gone.png")


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (40, 60), (60, 41), (50, 50)])
def test_padding_is_that_of_pillow_and_takes_any_shape(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)
    padded = image.resize(picture, size=64, aspect="pad")
    assert padded.shape == (64, 64)
    assert padded.any()
    if 1 not in shape:
        bilinear = Image.Resampling.BILINEAR
        expected = ImageOps.pad(Image.fromarray(picture), (64, 64), method=bilinear)
        assert (padded == np.asarray(expected)).all()
    white = np.full(shape, 255, np.uint8)
    assert (image.resize(white, size=32) == 255).all()
    with pytest.raises(ValueError, match=r"data\.aspect must be one of stretch, pad; got 'crop'"):
        image.resize(white, size=32, aspect="crop")
