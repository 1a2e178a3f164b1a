"""Files, and parts of them, that inputs of more than one class are made of."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = [
    "RATE",
    "block",
    "chunk",
    "cif",
    "coloured",
    "encoded",
    "inserted",
    "lone",
    "pcm",
    "picture",
    "stream",
    "tone",
    "wav",
]

RATE = 8000


def lone(folder: Path, name: str, content: bytes) -> None:
    """One file."""
    (folder / name).write_bytes(content)


def picture(seed: int = 0) -> Image.Image:
    """A small one of noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """As a file of a kind."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def coloured(folder: Path, count: int) -> None:
    """Pictures ``0.png``, ``1.png`` and so on."""
    folder.mkdir()
    for index in range(count):
        picture(index).save(folder / f"{index}.png")


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def inserted(whole: bytes, more: bytes) -> bytes:
    """A PNG with another chunk after its header."""
    return whole[:33] + more + whole[33:]


def tone(frequency: float = 440.0, seconds: float = 0.7) -> np.ndarray[Any, Any]:
    """A sine."""
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


def pcm(samples: np.ndarray[Any, Any]) -> bytes:
    """As 16 bits."""
    return (samples * 32767).astype("<i2").tobytes()


def wav(
    data: bytes = bytes(2000), *, rate: int = RATE, channels: int = 1, bits: int = 16, size: int | None = None
) -> bytes:
    """A WAV whose header may say anything."""
    align = channels * bits // 8
    layout = struct.pack("<HHIIHH", 1, channels, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + layout
    return head + b"data" + struct.pack("<I", len(data) if size is None else size) + data


def block(counts: str = "  2  1", x: str = "    0.0000", bond: str = "  1  2  1  0", atom: str = "C") -> bytes:
    """An SDF record of two atoms and a bond."""
    atoms = [f"{each}    0.0000    0.0000 {atom}   0  0" for each in (x, "    1.5000")]
    lines = ["", " written", "", f"{counts}  0  0  0  0  0  0  0  0999 V2000", *atoms, bond, "M  END", "$$$$", ""]
    return "\n".join(lines).encode()


def cif(edge: str = "3", angle: str = "90", element: str = "Cu", place: str = "0", atoms: int = 1) -> bytes:
    """A cubic cell."""
    cell = [f"_cell_length_{each} {edge}" for each in "abc"]
    cell += [f"_cell_angle_{each} {angle}" for each in ("alpha", "beta", "gamma")]
    loop = ["loop_", *(f"_atom_site_{each}" for each in ("label", "type_symbol", "fract_x", "fract_y", "fract_z"))]
    rows = [f"{element}{each} {element} {place} {each / atoms:.6f} 0" for each in range(atoms)]
    symmetry = ["loop_", "_symmetry_equiv_pos_as_xyz", "'x, y, z'"]
    return "\n".join(["data_x", *cell, *symmetry, *loop, *rows, ""]).encode()


def stream(archive: zipfile.ZipFile, name: str, size: int) -> None:
    """Add a member of zeros."""
    member = zipfile.ZipInfo(name)
    member.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(member, "w") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
