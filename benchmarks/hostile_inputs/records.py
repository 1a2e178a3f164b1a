"""Files whose record of how they were made is a bad one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.hostile_inputs.case import Case
from benchmarks.hostile_inputs.files import block, chunk, cif, encoded, inserted, lone, pcm, picture, tone, wav
from suffuse.commands.verify import find_record

__all__ = ["records"]


def records() -> Iterator[Case]:
    """Files whose record of how they were made is not one; `suffuse verify` reads it."""
    texts = {
        "nested 100,000 deep": "[" * 100_000,
        "a list": "[1, 2]",
        "cut short": '{"run": ',
        "a number of 10,000 digits": '{"seed": ' + "9" * 10_000 + "}",
    }
    for name, text in texts.items():
        for suffix, make in (("png", png_of), ("wav", wav_of), ("sdf", sdf_of), ("smi", smi_of), ("cif", cif_of)):
            yield Case(
                kind="records",
                name=f"{suffix}: {name}",
                write=lambda folder, make=make, text=text, suffix=suffix: lone(folder, f"bad.{suffix}", make(text)),  # type: ignore[misc]
                meet=partial(verified, name=f"bad.{suffix}"),
                needs={"sdf": "rdkit", "smi": "rdkit", "cif": "suffuse_crystal"}.get(suffix, ""),
            )
    unpacked = chunk(b"iTXt", b"suffuse\0\1\0\0\0" + zlib.compress(bytes(80_000_000)))
    bomb = partial(lone, name="bad.png", content=inserted(encoded(picture()), unpacked))
    yield Case(kind="records", name="png: 80 MB", item=10, write=bomb, meet=partial(verified, name="bad.png"))


def verified(folder: Path, name: str) -> None:
    """Find the record."""
    find_record(folder / name)


def png_of(text: str) -> bytes:
    """With a record."""
    return inserted(encoded(picture()), chunk(b"iTXt", b"suffuse\0\0\0\0\0" + text.encode()))


def wav_of(text: str) -> bytes:
    """With a record in its comment."""
    comment = text.encode() + b"\0" * (2 - len(text) % 2)
    listed = b"INFOICMT" + struct.pack("<I", len(comment)) + comment
    return wav(pcm(tone())) + b"LIST" + struct.pack("<I", len(listed)) + listed


def sdf_of(text: str) -> bytes:
    """With a record as a property."""
    return block().replace(b"$$$$", f">  <suffuse>\n{text}\n\n$$$$".encode())


def smi_of(text: str) -> bytes:
    """With a record behind the SMILES."""
    return f"CCO\t{text}\n".encode()


def cif_of(text: str) -> bytes:
    """With a record as an item."""
    return cif() + f"_suffuse_record\n;\n{text}\n;\n".encode()
