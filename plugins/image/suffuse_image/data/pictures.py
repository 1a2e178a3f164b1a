"""From the bytes of any picture file to uint8 pixels of one size and one colour mode, and back to Pillow.

Picture files come from strangers. This is the only place that opens them: with an explicit list of formats
(Pillow knows fifty, some of which call other programs), with the size checked before anything is decoded, and
with every failure turned into one line that names the file.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from suffuse.errors import ConfigError, DataError, suggest

__all__ = [
    "CROPS",
    "FORMATS",
    "MAX_PIXELS",
    "MODES",
    "SUFFIXES",
    "Pixels8",
    "Preparation",
    "centre",
    "check_colour",
    "fit",
    "flatten",
    "no_bomb_warnings",
    "open_picture",
    "to_array",
    "to_image",
]

Pixels8 = NDArray[np.uint8]
"""An image as ``[C, H, W]`` of uint8."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif"})
MODES = {"rgb": "RGB", "grey": "L"}
CROPS = ("centre", "random")
MAX_PIXELS = 80_000_000
_BAND = 1 << 20
"""Pixels whose colours are changed at a time."""
_LONGEST = 4
"""Of a very long picture only this many times its shorter side is kept for random crops."""


@contextmanager
def no_bomb_warnings() -> Iterator[None]:
    """Silence Pillow's warning about huge pictures, which `open_picture` refuses with an error of its own.

    Enter it in the thread that starts the work: filters of warnings belong to the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def open_picture(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, near: int | None = None, decode: bool = True
) -> Image.Image:
    """The first frame of a picture, turned upright by its EXIF orientation.

    Args:
        data: the bytes of the file.
        name: of the file, for messages.
        max_pixels: the largest width x height that is decoded (a bomb of 300 kB can unpack to gigabytes).
        near: the size in pixels that is wanted in the end; a JPEG is then decoded at a fraction of its size.
        decode: False looks at the header alone.

    Raises:
        DataError: it is no picture of a known format, is damaged, or is too large.
    """
    if not data:
        raise DataError(f"{name!r} is an empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > max_pixels:
            raise DataError(f"{name!r} has {width} x {height} pixels, more than max_pixels={max_pixels}")
        if decode:
            if near is not None:
                image.draft("", (2 * near, 2 * near))
            image.load()
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{name!r} has far more pixels than max_pixels={max_pixels}") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise DataError(f"{name!r} is not a readable {', '.join(FORMATS)} picture ({_reason(error)})") from error
    return _upright(image) if decode else image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "unknown format"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _upright(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # a damaged EXIF block says nothing of the pixels
        ImageOps.exif_transpose(image, in_place=True)
    return image


def check_colour(colour: str, key: str) -> str:
    """``colour`` itself.

    Raises:
        ConfigError: it is no colour; the message names ``key``.
    """
    try:
        ImageColor.getrgb(colour)
    except ValueError:
        raise ConfigError(f"{key}={colour}: not a colour; use a CSS name such as white, or #rrggbb") from None
    return colour


def flatten(image: Image.Image, mode: str, background: str) -> Image.Image:
    """Any mode of Pillow to ``rgb`` or ``grey``; what is transparent shows ``background``."""
    wanted = MODES[mode]
    if image.mode == wanted and not image.has_transparency_data:
        return image
    flat, rows = Image.new(wanted, image.size), max(_BAND // image.width, 1)
    for top in range(0, image.height, rows):  # band by band: a large picture in several modes would fill the memory
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        flat.paste(_flattened(band, wanted, background), (0, top))
    return flat


def _flattened(band: Image.Image, wanted: str, background: str) -> Image.Image:
    if band.mode == "I" or band.mode.startswith("I;16"):
        # Pillow clips 16 bits to 255 here instead of scaling them.
        values = np.asarray(band, np.int32).clip(0, 65535)
        band = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if band.has_transparency_data:
        band = band.convert("RGBA")
        band = Image.alpha_composite(Image.new("RGBA", band.size, ImageColor.getrgb(background)), band)
    return band.convert(wanted)


def fit(image: Image.Image, height: int, width: int, *, nearest: bool = False) -> Image.Image:
    """The largest centred part with the aspect of ``height`` x ``width``, resized to it (Lanczos, or nearest)."""
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    return _resize(image, height, width, scale, nearest)


def _cover(image: Image.Image, size: int) -> Image.Image:
    """The shorter side resized to ``size``; the longer one follows, up to ``_LONGEST`` times that."""
    scale = min(image.size) / size
    width = min(max(round(image.width / scale), size), _LONGEST * size)
    height = min(max(round(image.height / scale), size), _LONGEST * size)
    return image if image.size == (width, height) else _resize(image, height, width, scale, False)


def _resize(image: Image.Image, height: int, width: int, scale: float, nearest: bool) -> Image.Image:
    wide, high = min(width * scale, image.width), min(height * scale, image.height)
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (left, top, left + wide, top + high)
    if nearest:
        return image.resize((width, height), Image.Resampling.NEAREST, box=box)
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def to_array(image: Image.Image) -> Pixels8:
    """A picture of mode L or RGB as uint8 ``[C, H, W]``."""
    values = np.asarray(image, dtype=np.uint8)
    return values[None].copy() if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def to_image(value: Pixels8) -> Image.Image:
    """The inverse of `to_array`.

    Raises:
        DataError: the array is not uint8 ``[1, H, W]`` or ``[3, H, W]``.
    """
    if value.dtype != np.uint8 or value.ndim != 3 or value.shape[0] not in (1, 3):
        raise DataError(f"an image is uint8 [1 or 3, H, W]; this one is {value.dtype} {list(value.shape)}")
    return Image.fromarray(np.ascontiguousarray(value[0] if value.shape[0] == 1 else value.transpose(1, 2, 0)))


def centre(value: Pixels8, height: int, width: int) -> Pixels8:
    """The middle ``height`` x ``width`` of ``[C, h, w]``."""
    top, left = (value.shape[1] - height) // 2, (value.shape[2] - width) // 2
    return value[:, top : top + height, left : left + width]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How pictures of any size and mode become pixels of one: the settings that every source of pictures
    shares.

    Args:
        size: side of the square image in pixels.
        crop: ``centre`` keeps the middle square; ``random`` keeps the whole picture at that height (or
            width), from which training draws a square anew each time.
        mode: ``rgb`` or ``grey``.
        background: the colour behind transparent pixels, a CSS name or ``#rrggbb``.
        max_pixels: larger pictures are refused; never more than Pillow's own limit of about 178 million.
    """

    size: int
    crop: str = "centre"
    mode: str = "rgb"
    background: str = "white"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"data.size={self.size}: the side of an image is a whole number of pixels from 1")
        for key, value, known in (("crop", self.crop, CROPS), ("mode", self.mode, tuple(MODES))):
            if value not in known:
                raise ConfigError(f"data.{key}={value}: allowed are {' and '.join(known)}{suggest(value, known)}")
        check_colour(self.background, "data.background")

    @property
    def channels(self) -> int:
        """3 for ``rgb``, 1 for ``grey``."""
        return 3 if self.mode == "rgb" else 1

    def read(self, data: bytes, name: str) -> Pixels8:
        """The bytes of a file as pixels; see `convert`.

        Raises:
            DataError: as `open_picture`.
        """
        return self.convert(open_picture(data, name, max_pixels=self.max_pixels, near=self.size))

    def probe(self, data: bytes, name: str) -> None:
        """A look at the header alone.

        Raises:
            DataError: as `open_picture`.
        """
        open_picture(data, name, max_pixels=self.max_pixels, decode=False)

    def convert(self, image: Image.Image) -> Pixels8:
        """``[C, size, size]``; with random crops ``[C, h, w]`` whose shorter side is ``size``."""
        flat = flatten(image, self.mode, self.background)
        return to_array(fit(flat, self.size, self.size) if self.crop == "centre" else _cover(flat, self.size))
