import io
import resource
import struct
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


def test_grey_png_is_read_as_it_is(grey: np.ndarray) -> None:
    assert (image.decode(encode(Image.fromarray(grey))) == grey).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_of_equal_channels_is_its_grey(grey: np.ndarray, mode: str) -> None:
    assert (image.decode(encode(Image.fromarray(grey).convert(mode))) == grey).all()


def test_palette_is_looked_up(grey: np.ndarray) -> None:
    picture = Image.fromarray(grey // 16).convert("P")
    picture.putpalette([level for n in range(256) for level in 3 * [255 - n]])
    assert (image.decode(encode(picture)) == 255 - grey // 16).all()


def test_cmyk_jpeg_is_read(grey: np.ndarray) -> None:
    smooth = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    found = image.decode(encode(Image.fromarray(smooth).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - smooth).mean() < 4


@pytest.mark.parametrize(("colours", "most"), [(1, 0), (3, 3)])
def test_luma_of_a_jpeg_is_that_of_its_colours(colours: int, most: int) -> None:
    values = np.random.default_rng(0).integers(60, 200, (5, 8, colours)).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(values.repeat(8, 0).repeat(8, 1), (40, 64, 3)))
    data = encode(picture, "JPEG", quality=95, subsampling=0)
    by_colours = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert np.abs(image.decode(data).astype(int) - by_colours).max() <= most


def test_transparency_lies_on_black(grey: np.ndarray) -> None:
    clear = np.dstack([grey, np.zeros_like(grey)])
    assert (image.decode(encode(Image.fromarray(clear, "LA"))) == 0).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_more_bits_are_scaled_from_those_in_use(bits: int) -> None:
    ramp = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16)
    found = image.decode(encode(Image.fromarray(np.tile(ramp, (4, 1)))))
    assert np.abs(found[0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_few_bright_pixels_do_not_change_the_depth(
    bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    ramp = np.tile(np.linspace(0, 2**bits - 1, 64).astype(np.uint16), (64, 1))
    plain = image.decode(encode(Image.fromarray(ramp)))
    marked = ramp.copy()
    marked[0, 0] = 2**bits + 900
    caplog.set_level("DEBUG", logger=image.log.name)
    found = image.decode(encode(Image.fromarray(marked)), name="radiograph.png")
    assert (found[1:] == plain[1:]).all()
    assert found[0, 0] == 255
    assert (
        f"radiograph.png: taken as {bits} bits; 1 pixels are brighter and become white"
        in caplog.text
    )


@pytest.mark.parametrize("channels", [3, 4])
def test_twelve_bits_in_colour_are_as_bright_as_in_grey(channels: int) -> None:
    ramp = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (64, 1))
    plain = image.decode(encode(Image.fromarray(ramp)))
    colour = np.repeat(ramp[..., None], channels, 2)
    colour[..., 3:] = 65535  # opaque
    data = cv2.imencode(".png", colour)[1].tobytes()
    assert np.abs(image.decode(data).astype(int) - plain).max() <= 1
    with pytest.raises(ValueError, match=r"^radiograph\.png: the image is damaged or cut off"):
        image.decode(data[: len(data) // 2], name="radiograph.png")


def test_of_a_cameras_jpeg_the_first_picture_counts(grey: np.ndarray) -> None:
    first, second = Image.fromarray(grey), Image.fromarray(255 - grey)
    data = encode(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert np.abs(image.decode(data).astype(int) - grey).mean() < 8


def test_what_a_decoder_raises_carries_the_name(
    grey: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise struct.error("unpack requires a buffer")

    monkeypatch.setattr(image, "_luma", fails)
    with pytest.raises(ValueError, match=r"^radiograph\.png: .*\(unpack requires a buffer\)"):
        image.decode(encode(Image.fromarray(grey)), name="radiograph.png")


def test_a_large_picture_is_held_once() -> None:
    data = encode(Image.new("RGBA", (4000, 4000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image.decode(data)
    # 64 MB of pixels and 16 of grey values; five copies of the pixels were held before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 160_000


def test_orientation_tag_is_followed(grey: np.ndarray) -> None:
    picture = Image.fromarray(grey)
    exif = picture.getexif()
    exif[0x0112] = 6  # Orientation: turned by a quarter
    assert image.decode(encode(picture, "JPEG", exif=exif)).shape == (60, 40)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "radiograph.png: an image must not be empty"),
        (b"no image at all", "radiograph.png: must be a PNG or JPEG image"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image.decode(data, name="radiograph.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated_images_are_named(grey: np.ndarray, kind: str) -> None:
    data = encode(Image.fromarray(np.tile(grey, (8, 8))), kind)
    with pytest.raises(ValueError, match=r"radiograph\.x: the image is damaged or cut off"):
        image.decode(data[: len(data) // 2], name="radiograph.x")


def test_decompression_bombs_are_refused() -> None:
    data = encode(Image.new("1", (12_000, 12_000)))
    with pytest.raises(ValueError, match=r"bomb: an image may have at most 100,000,000 pixels"):
        image.decode(data, name="bomb")


def test_several_frames_are_refused(grey: np.ndarray) -> None:
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="must hold one picture; got 2 frames"):
        image.decode(data)


def test_other_formats_are_refused(grey: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be a PNG or JPEG image"):
        image.decode(encode(Image.fromarray(grey), "TIFF"))


def test_resize_stretches_or_pads() -> None:
    white = np.full((40, 80), 255, np.uint8)
    assert (image.resize(white, size=32) == 255).all()
    padded = image.resize(white, size=32, aspect="pad")
    assert (padded[8:24] == 255).all()
    assert (padded[:8] == 0).all()
    assert (padded[24:] == 0).all()
    with pytest.raises(ValueError, match=r"data\.aspect must be one of stretch, pad; got 'crop'"):
        image.resize(white, size=32, aspect="crop")


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (40, 60), (60, 41), (50, 50)])
def test_padding_is_that_of_pillow_and_takes_any_shape(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)
    found = image.resize(picture, size=64, aspect="pad")
    assert found.shape == (64, 64)
    assert (found > 0).any()
    if 1 not in shape:
        bilinear = Image.Resampling.BILINEAR
        expected = ImageOps.pad(Image.fromarray(picture), (64, 64), method=bilinear)
        assert (found == np.asarray(expected)).all()


def test_resize_keeps_the_mean_and_an_image_of_its_own_size(grey: np.ndarray) -> None:
    large = np.tile(grey, (10, 10))
    assert image.resize(large, size=64).mean() == pytest.approx(large.mean(), abs=1)
    square = grey[:40, :40]
    assert (image.resize(square, size=40) == square).all()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.png: cannot be read"):
        image.read(tmp_path / "gone.png")
