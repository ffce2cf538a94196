"""Decoding: every file kind to the exact samples that were written."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from jssl.data import DataError, Undecodable
from jssl.data.decode import canonical, decode, to_channels, to_square


def saved(image, kind, **options):
    file = io.BytesIO()
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(image, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


def png16(image: np.ndarray) -> bytes:
    """A 16-bit PNG of 1 to 4 channels, rows filtered by Sub (PNG specification, type 1)."""
    height, width, channels = image.shape
    rows = image.astype(">u2").view(np.uint8).reshape(height, width, 2 * channels)
    left = np.pad(rows, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    lines = b"".join(b"\x01" + (rows - left)[y].tobytes() for y in range(height))
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# What each orientation asks a viewer to do, TIFF 6.0 p. 36 (EXIF 2.3 has the same table).
SHOWN = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_8_bit_png_and_alpha(rng, channels):
    image = rng.integers(0, 256, (5, 7, channels), dtype=np.uint8)
    got = decode(saved(image.squeeze(), "PNG"), "x")
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, image)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png(rng, channels):
    image = rng.integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    got = decode(png16(image), "x")
    assert got.dtype == np.uint16
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, image)


@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_webp(rng, channels):
    image = rng.integers(1, 256, (5, 7, channels), dtype=np.uint8)
    got = decode(saved(image, "WEBP", lossless=True, exact=True), "x")
    np.testing.assert_array_equal(got, image)


def test_jpeg_is_close_and_three_channels():
    ramp = np.linspace(0, 255, 32, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (32, 1))] * 3, -1)
    got = decode(saved(image, "JPEG", quality=95), "x")
    assert got.shape == (32, 32, 3)
    assert np.abs(got.astype(int) - image).max() < 8
    cmyk = Image.fromarray(image).convert("CMYK")
    assert decode(saved(cmyk, "JPEG"), "x").shape == (32, 32, 3)


def test_palette_and_bilevel():
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    colours = [[[10, 20, 30], [40, 50, 60]]]
    np.testing.assert_array_equal(decode(saved(palette, "PNG"), "x"), colours)
    got = decode(saved(palette, "PNG", transparency=0), "x")
    np.testing.assert_array_equal(got, [[[10, 20, 30, 0], [40, 50, 60, 255]]])
    np.testing.assert_array_equal(decode(saved(palette, "TIFF"), "x"), colours)
    bits = Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(decode(saved(bits, "PNG"), "x")[..., 0], [[0, 255, 255]])
    np.testing.assert_array_equal(decode(saved(bits, "TIFF"), "x")[..., 0], [[0, 255, 255]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(rng, orientation):
    image = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    wanted = SHOWN[orientation](image)
    np.testing.assert_array_equal(decode(saved(image, "PNG", exif=exif), "x"), wanted)
    tag = [(274, "H", 1, orientation, True)]
    got = decode(tiff(image, photometric="rgb", extratags=tag), "x")
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_of_many_channels_in_every_layout(rng, dtype):
    image = (rng.random((6, 8, 7)) * 200).astype(dtype)
    planes = np.ascontiguousarray(np.moveaxis(image, -1, 0))
    layouts = {
        "interleaved": tiff(image, photometric="minisblack", planarconfig="contig"),
        "planar": tiff(planes, photometric="minisblack", planarconfig="separate"),
        "pages": tiff(planes, photometric="minisblack"),
        "big": tiff(image, photometric="minisblack", planarconfig="contig", bigtiff=True),
        "big-endian": tiff(image, photometric="minisblack", planarconfig="contig", byteorder=">"),
    }
    for name, data in layouts.items():
        got = decode(data, name)
        assert got.dtype == dtype, name
        np.testing.assert_array_equal(got, image, err_msg=name)


def test_tiff_compressed_as_pillow_can(rng):
    image = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        got = decode(saved(image, "TIFF", compression=compression), compression)
        np.testing.assert_array_equal(got, image)


def test_tiff_where_white_is_zero(rng):
    image = rng.integers(0, 256, (3, 4), dtype=np.uint8)
    got = decode(tiff(image, photometric="miniswhite"), "x")
    np.testing.assert_array_equal(got[..., 0], 255 - image)


NOISE = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"this is no picture", "cannot identify image file"),
        (saved(NOISE, "JPEG")[:-100], "truncated"),
        (saved(NOISE, "PNG")[:80], "truncated"),
        (tiff(NOISE)[:3000], "failed to read"),
    ],
)
def test_damage_is_named_and_is_one_line(data, reason):
    with pytest.raises(Undecodable, match=reason) as caught:
        decode(data, "some/path.png")
    assert str(caught.value).startswith("cannot decode some/path.png: ")
    assert "\n" not in str(caught.value)


def test_dtypes_that_are_not_kept():
    np.testing.assert_array_equal(canonical(np.array([[True, False]])), [[[255], [0]]])
    for dtype in (np.float64, np.float16, np.int16, np.uint32):
        assert canonical(np.ones((2, 2), dtype)).dtype == np.float32


def test_channels(rng):
    rgb = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    alpha = rng.integers(0, 256, (3, 4, 1), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))[..., None]
    opaque = np.full_like(alpha, 255)
    rgba = np.concatenate([rgb, alpha], -1)
    assert np.abs(to_channels(rgb, 1, "x").astype(int) - grey).max() <= 1
    np.testing.assert_array_equal(to_channels(grey, 3, "x"), np.repeat(grey, 3, -1))
    np.testing.assert_array_equal(to_channels(rgba, 3, "x"), rgb)
    np.testing.assert_array_equal(to_channels(rgb, 4, "x"), np.concatenate([rgb, opaque], -1))
    np.testing.assert_array_equal(to_channels(rgba, 2, "x")[..., 1:], alpha)
    np.testing.assert_array_equal(to_channels(rgba, 4, "x"), rgba)
    deep = to_channels(np.zeros((1, 1, 3), np.uint16), 4, "x")
    assert deep.dtype == np.uint16
    assert deep[0, 0, 3] == 65535
    floating = to_channels(np.full((1, 1, 3), 0.5, np.float32), 1, "x")
    assert floating.dtype == np.float32
    assert floating[0, 0, 0] == pytest.approx(0.5)
    with pytest.raises(DataError, match=r"channels=3 asked but here\.tif has 7"):
        to_channels(np.zeros((1, 1, 7), np.uint8), 3, "here.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_square_is_the_mean_of_the_central_square(rng, dtype, channels):
    # Bilinear with antialias by a factor 4 weighs a triangle; of a constant block in constant
    # surroundings it is that constant, and of a ramp it is the ramp at the pixel's centre.
    ramp = np.arange(64, dtype=np.float64)
    image = np.broadcast_to(ramp[None, :, None], (32, 64, channels)) * 2 + 16
    got = to_square(image.astype(dtype), 8)
    assert got.shape == (8, 8, channels)
    assert got.dtype == dtype
    centres = 16 + 4 * (np.arange(8) + 0.5) - 0.5
    np.testing.assert_allclose(got[3, 1:7, -1], centres[1:7] * 2 + 16, atol=0.51)


def test_square_of_the_right_size_is_untouched(rng):
    image = rng.integers(0, 65536, (9, 9, 5), dtype=np.uint16)
    assert to_square(image, 9) is image


def test_large_jpeg_is_reduced_while_decoding():
    y, x = np.mgrid[:512, :640]
    image = (127 + 100 * np.sin(x / 40) * np.cos(y / 50)).astype(np.uint8)
    data = saved(image, "JPEG", quality=95)
    assert decode(data, "x").shape == (512, 640, 1)
    reduced = decode(data, "x", 64)
    assert reduced.shape == (128, 160, 1)  # the smallest scale of at least 2 * 64
    assert decode(data, "x", 200).shape == (512, 640, 1)
    whole = to_square(decode(data, "x"), 64).astype(int)
    assert np.abs(to_square(reduced, 64).astype(int) - whole).max() <= 3
