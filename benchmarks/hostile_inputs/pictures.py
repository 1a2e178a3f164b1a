"""Bad pictures beside good ones: what a decoder of pictures is given."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.hostile_inputs.case import ACT, Case
from benchmarks.hostile_inputs.entries import picture_folder
from benchmarks.hostile_inputs.files import chunk, encoded, inserted, picture

__all__ = ["pictures"]


def pictures() -> Iterator[Case]:
    """A folder with two good pictures and a bad one."""
    whole, jpeg = encoded(picture()), encoded(picture(), "JPEG")
    spoilt = bytearray(whole)
    spoilt[whole.index(b"IDAT") + 40] ^= 16
    header = bytearray(whole)
    header[29] ^= 1  # of the checksum of IHDR
    upright = Image.Exif()
    upright[0x0112] = 6
    float_tiff = Image.fromarray(np.full((8, 8), np.nan, np.float32))
    frames = [Image.new("RGB", (8, 8), (each, 0, 0)) for each in range(200)]
    tall = encoded(Image.new("L", (1, 60_000)))
    contents: dict[str, tuple[int | None, Callable[[], bytes]]] = {
        "an empty file": (1, lambda: b""),
        "text": (2, lambda: b"hello\n"),
        "a PNG cut short": (3, lambda: whole[: len(whole) // 2]),
        "a PNG with a flipped bit": (4, lambda: bytes(spoilt)),
        "a PNG whose header has another checksum": (5, lambda: bytes(header)),
        "a PNG of 10,000 x 10,000": (6, lambda: large_png(10_000, 2)),
        "a PNG of 20,000 x 20,000": (7, lambda: large_png(20_000, 0)),
        "a PNG of 0 x 0": (8, lambda: png(0, 0, b"")),
        "a PNG 2^31 - 1 wide": (9, lambda: png(2**31 - 1, 1, b"")),
        "text in a PNG that unpacks to 80 MB": (
            10,
            lambda: inserted(whole, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000)))),
        ),
        "a JPEG cut short": (16, lambda: jpeg[: len(jpeg) // 2]),
        "an SVG with a script": (
            19,
            lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        ),
        "an EPS": (
            20,
            lambda: f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%{ACT}) (w) file\n".encode(),
        ),
        "a TIFF of NaN": (22, lambda: encoded(float_tiff, "TIFF")),
    }
    odd: dict[str, tuple[int | None, Callable[[], bytes]]] = {
        "16 bits of grey": (11, lambda: encoded(Image.fromarray(np.full((8, 8), 40_000, np.uint16)))),
        "one bit": (12, lambda: encoded(picture().convert("1"))),
        "a palette": (12, lambda: encoded(picture().quantize())),
        "a transparent picture": (13, lambda: encoded(picture().convert("RGBA"))),
        "a JPEG in CMYK": (14, lambda: encoded(picture().convert("CMYK"), "JPEG")),
        "a JPEG in grey": (15, lambda: encoded(picture().convert("L"), "JPEG")),
        "an animation": (
            17,
            lambda: encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        ),
        "a JPEG on its side": (18, lambda: encoded(picture(), "JPEG", exif=upright)),
        "60,000 times as high as wide": (None, lambda: tall),
        "just under the most pixels, transparent": (None, lambda: large_png(8900, 6)),
    }

    def write(content: Callable[[], bytes], folder: Path, name: str = "bad.png") -> None:
        (folder / "p").mkdir()
        for index in range(2):
            picture(index).save(folder / "p" / f"{index}.png")
        (folder / "p" / name).write_bytes(content())

    make = partial(Case, kind="pictures", meet=picture_folder, good=2)
    for sound, group in ((False, contents), (True, odd)):
        for name, (item, content) in group.items():
            yield make(name=name, item=item, write=partial(write, content), sound=sound)
    yield make(name="a PNG named .jpg", item=21, write=partial(write, lambda: whole, name="bad.jpg"), sound=True)


def png(width: int, height: int, body: bytes, colour: int = 2) -> bytes:
    """A PNG of 8 bits whose rows are the packed ``body``."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def large_png(side: int, colour: int) -> bytes:
    """A square of nothing, some hundred kilobytes; ``colour`` 0 is grey, 2 RGB and 6 RGBA."""
    row = bytes(1 + side * {0: 1, 2: 3, 6: 4}[colour])
    packer = zlib.compressobj(1)
    return png(side, side, b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()]), colour)
