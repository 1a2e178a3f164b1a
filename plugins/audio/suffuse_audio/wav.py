"""WAV files that say where they come from, written whole or not at all.

The RIFF chunks are written by hand, because the provenance has to go into one of them: a ``LIST`` of type ``INFO``
with the record as JSON in ``ICMT`` (comment), and the software in ``ISFT``. Every player skips or shows it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from suffuse.errors import DataError
from suffuse.files import whole

__all__ = ["Subtype", "encode_wav", "read_record", "write_wav"]

Subtype: TypeAlias = Literal["pcm16", "pcm24", "float"]
"""How a sample is stored: whole numbers of 16 or 24 bits, or float32."""

_BYTES = {"pcm16": 2, "pcm24": 3, "float": 4}
_PCM, _IEEE_FLOAT = 1, 3
_LARGEST = 2**32 - 2**20
"""Bytes of sound: a RIFF file counts them in 32 bits, and the record needs some."""


def encode_wav(
    samples: NDArray[np.float32], rate: int, subtype: Subtype = "pcm16", record: Mapping[str, Any] | None = None
) -> bytes:
    """A whole WAV file.

    Args:
        samples: ``[C, T]``; for the PCM types within [-1, 1], since what lies outside would be clipped.
        rate: in Hz.
        subtype: of a sample.
        record: provenance as plain data.

    Raises:
        ValueError: a sample is not finite, or lies outside of what the subtype holds; or a size that no WAV has.
    """
    channels, length = samples.shape
    size = _BYTES[subtype]
    if not np.isfinite(samples).all():
        raise ValueError("the sound has samples that are not finite")
    if subtype != "float" and length and np.abs(samples).max() > 1:
        raise ValueError(f"{subtype} holds samples within [-1, 1] only")
    if not 0 < channels < 2**16 or not 0 < rate < 2**32 or length * channels * size > _LARGEST:
        raise ValueError(f"a WAV file cannot hold {length} samples of {channels} channels at {rate} Hz")
    kind = _IEEE_FLOAT if subtype == "float" else _PCM
    layout = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * size, channels * size, 8 * size)
    if subtype == "float":
        # Every format but PCM states the size of its extension, and the number of samples.
        chunks = [_chunk(b"fmt ", layout + b"\0\0"), _chunk(b"fact", struct.pack("<I", length))]
    else:
        chunks = [_chunk(b"fmt ", layout)]
    if record is not None:
        chunks.append(_information(record))
    chunks.append(_chunk(b"data", _pack(samples.T, subtype)))
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write_wav(
    samples: NDArray[np.float32],
    rate: int,
    path: Path,
    subtype: Subtype = "pcm16",
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write `encode_wav` to ``path``; a failure leaves what was there before.

    Raises:
        DataError: the file cannot be written.
    """
    data = encode_wav(samples, rate, subtype, record)
    with whole(path) as draft:
        draft.write_bytes(data)


def read_record(path: Path) -> dict[str, Any]:
    """The provenance record inside a WAV file that `write_wav` wrote.

    Raises:
        DataError: the file is missing, is no WAV, or carries no record.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise DataError(f"{path}: is no WAV file")
    comments = [
        text.rstrip(b"\0")
        for name, body in _chunks(data, 12)
        if name == b"LIST" and body[:4] == b"INFO"
        for key, text in _chunks(body, 4)
        if key == b"ICMT"
    ]
    if not comments:
        raise DataError(f"{path}: no provenance record in it; a program that saved it again may have dropped it")
    try:
        record = json.loads(comments[0])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: its provenance record is damaged ({error})") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: its provenance record is damaged (a {type(record).__name__})")
    return record


def _information(record: Mapping[str, Any]) -> bytes:
    # JSON in ASCII, because nothing says which alphabet an INFO text is in.
    texts = {b"ICMT": json.dumps(record, default=str)}
    if "software" in record:
        texts[b"ISFT"] = str(record["software"]).encode("ascii", "replace").decode()
    return _chunk(b"LIST", b"INFO" + b"".join(_chunk(key, text.encode() + b"\0") for key, text in texts.items()))


def _pack(frames: NDArray[np.float32], subtype: Subtype) -> bytes:
    """``[T, C]`` in little-endian order."""
    if subtype == "float":
        return bytes(frames.astype("<f4").tobytes())
    full = 2 ** (8 * _BYTES[subtype] - 1)
    # The steps are those that programs read by, so that samples from a file go into another as they were.
    whole = np.rint(frames.astype(np.float64) * full).clip(max=full - 1).astype("<i4")
    if subtype == "pcm16":
        return bytes(whole.astype("<i2").tobytes())
    low = np.ascontiguousarray(whole).view(np.uint8).reshape(-1, 4)[:, :3]
    return bytes(low.tobytes())


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _chunks(data: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    while start + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, start + 4)
        yield data[start : start + 4], data[start + 8 : start + 8 + size]
        start += 8 + size + size % 2
