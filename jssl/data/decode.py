"""Image files to arrays [h w c]: JPEG, PNG, WebP, TIFF; any channel count; 8 and 16 bit, float."""

import io

import numpy as np
from jaxtyping import Shaped

from jssl.data.bad import DataError, Undecodable

Image = Shaped[np.ndarray, "h w c"]

# Little- and big-endian TIFF and BigTIFF.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Bytes of a decoded TIFF: a damaged header may ask for any number. Pillow has a limit of its own.
LARGEST = 2**32

# Pillow modes that are not plain channels of samples, and the mode that is.
_PLAIN_MODE = {
    "1": "L",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
}


def decode(data: bytes, place: str, size: int | None = None) -> Image:
    """Decodes one image file.

    Palettes, CMYK and bilevel images become RGB(A) or grey; alpha is kept as the last channel; the
    orientation tag is applied. Pages and planes of a TIFF become channels. Of an animation the
    first frame is taken.

    Args:
        data: the file's bytes.
        place: its path or row, for errors.
        size: the side the image will later be reduced to; a JPEG more than twice as large is then
            decoded at a half, quarter or eighth of its scale, never below ``2 * size``.

    Returns:
        [h w c], uint8, uint16 or float32 (see `canonical`).

    Raises:
        Undecodable: whatever went wrong inside the decoder.
    """
    try:
        if not data:
            raise ValueError("empty file")
        image = _tiff(data) if data[:4] in _TIFF else _pillow(data, size)
        return canonical(image)
    except MemoryError:
        raise
    except Exception as error:  # Decoders answer damaged bytes with nearly any exception.
        reason = " ".join(str(error).split(" <_io.")[0].split())
        raise Undecodable(place, f"{type(error).__name__}: {reason}") from error


def canonical(image: np.ndarray) -> Image:
    """Gives [h w] a channel axis and keeps to three dtypes.

    uint8 and uint16 stay; bool becomes uint8 {0, 255}; every other dtype becomes float32.
    """
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype == np.bool_:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind == "u" and image.dtype.itemsize == 2:
        return image.astype(np.uint16, copy=False)  # also big-endian to native
    return image.astype(np.float32, copy=False)


def _pillow(data: bytes, size: int | None) -> np.ndarray:
    from PIL import Image as pil

    with pil.open(io.BytesIO(data)) as image:
        if size is not None:
            image.draft(None, (2 * size, 2 * size))
        raw = image.tile[0][3] if image.format == "PNG" and image.tile else None
        if raw in ("LA;16B", "RGB;16B", "RGBA;16B"):
            return _deep_png(data, raw)
        image = _upright(image)
        if image.mode == "P":
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        elif image.mode in _PLAIN_MODE:
            image = image.convert(_PLAIN_MODE[image.mode])
        return np.asarray(image)


def _upright(image):
    from PIL import ImageOps

    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _deep_png(data: bytes, raw: str) -> np.ndarray:
    # Pillow has no image of 16-bit colour and keeps the high byte of each big-endian sample. Read
    # as little-endian the same unpacker keeps the low byte; two 16-bit samples of grey + alpha
    # fill exactly the four bytes of an RGBA pixel.
    from PIL import Image as pil

    def unpack(mode: str) -> np.ndarray:
        with pil.open(io.BytesIO(data)) as image:
            image.tile = [image.tile[0]._replace(args=mode)]
            return np.asarray(_upright(image))

    if raw == "LA;16B":
        return unpack("RGBA").view(">u2")
    high, low = unpack(raw), unpack(raw.replace("16B", "16L"))
    return high.astype(np.uint16) << 8 | low


def _tiff(data: bytes) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page, series = tiff.pages[0], tiff.series[0]
        samples, bits = page.samplesperpixel, page.bitspersample
        space = getattr(page.photometric, "name", str(page.photometric))
        # Pillow converts colour spaces and palettes, but sees one page, 8 bits, 4 samples.
        convertible = len(tiff.pages) == 1 and bits <= 8 and samples <= 4
        if convertible and (bits < 8 or space in ("PALETTE", "SEPARATED", "YCBCR", "CIELAB")):
            return _pillow(data, None)
        if series.size * series.dtype.itemsize > LARGEST:
            raise ValueError(f"it says that it is {list(series.shape)} {series.dtype}")
        try:
            array = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            if len(tiff.pages) == 1 and (convertible or samples == 1):
                return _pillow(data, None)
            raise ValueError(f"{error}: pip install imagecodecs") from error
        # Y and X first; pages, planes and samples become channels in the order they are stored.
        rows, columns = series.axes.index("Y"), series.axes.index("X")
        array = np.moveaxis(array, (rows, columns), (0, 1))
        array = array.reshape(*array.shape[:2], -1)
        if space == "MINISWHITE" and array.dtype.kind == "u":
            array = np.iinfo(array.dtype).max - array
        tag = page.tags.get(274)
        return _orient(array, 1 if tag is None else int(tag.value))


def _orient(image: np.ndarray, orientation: int) -> np.ndarray:
    # TIFF 6.0 tag 274: 5 to 8 are stored with rows and columns exchanged.
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def to_channels(image: Image, channels: int, place: str) -> Shaped[np.ndarray, "h w k"]:
    """Converts between grey (1), grey + alpha (2), RGB (3) and RGB + alpha (4).

    Alpha is dropped or added opaque; grey is repeated; RGB becomes grey by the ITU-R 601 weights,
    rounded for integers.

    Raises:
        DataError: for any other pair of channel counts.
    """
    have = image.shape[-1]
    if have == channels:
        return image
    if have > 4 or channels > 4:
        raise DataError(
            f"channels={channels} asked but {place} has {have}; only 1 to 4 channels convert"
        )
    opaque = 1 if image.dtype.kind == "f" else np.iinfo(image.dtype).max
    alpha = image[..., -1:] if have in (2, 4) else np.full_like(image[..., :1], opaque)
    colour = image[..., : have - 1] if have in (2, 4) else image
    if channels <= 2 and colour.shape[-1] == 3:
        grey = colour.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        grey = np.rint(grey) if image.dtype.kind == "u" else grey
        colour = grey.astype(image.dtype)[..., None]
    elif channels >= 3 and colour.shape[-1] == 1:
        colour = np.repeat(colour, 3, axis=-1)
    return np.concatenate([colour, alpha], axis=-1) if channels in (2, 4) else colour


def to_square(image: Image, size: int) -> Shaped[np.ndarray, "{size} {size} c"]:
    """The central square of an image, resized to [size size c].

    As resizing the shorter side to ``size`` and cropping the centre. Bilinear, antialiased when it
    shrinks (Pillow's filter). Each channel on its own: alpha does not weigh the colours.
    """
    from PIL import Image as pil

    height, width, channels = image.shape
    if height == width == size:
        return image
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)

    def resize(array: np.ndarray) -> np.ndarray:
        picture = pil.fromarray(np.ascontiguousarray(array))
        return np.asarray(picture.resize((size, size), pil.Resampling.BILINEAR, box=box))

    if image.dtype == np.uint8:
        if channels == 3:
            return resize(image)
        return np.stack([resize(image[..., c]) for c in range(channels)], axis=-1)
    floats = image.astype(np.float32)
    out = np.stack([resize(floats[..., c]) for c in range(channels)], axis=-1)
    if image.dtype.kind == "u":  # float32 holds every uint16, and averages stay in range
        out = np.rint(out)
    return out.astype(image.dtype)
