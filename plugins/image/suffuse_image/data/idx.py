"""Images in the IDX format of MNIST and its many successors, gzip-compressed or not.

The format (Y. LeCun, "The MNIST database"): two zero bytes, 0x08 for unsigned bytes, the number of axes, each
axis' length as a big-endian 32-bit number, then the bytes. Nothing in a header is believed before the file
bears it out.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from suffuse.conditions import ClassLabel
from suffuse.data import DataSource
from suffuse.errors import ConfigError, DataError
from suffuse.splits import check_share, held_out_by_class
from suffuse_image.data.splits import ImageSplit

__all__ = ["Idx", "read_idx"]

_IMAGES = re.compile(r"(?P<part>.+)[-.]images[-.]idx3[-.]ubyte(?P<gz>\.gz)?")
_MOST_SHRUNK = 1032
"""Deflate never makes bytes fewer by more than this factor (RFC 1951: 258 bytes from two bits)."""


class Idx(DataSource):
    """A folder with ``*-images-idx3-ubyte[.gz]`` and ``*-labels-idx1-ubyte[.gz]``; condition ``label``.

    Files that are not compressed are mapped, not read.

    Args:
        path: the folder.
        train: how the names of the training files begin.
        test: how the names of the held-out files begin; without such files a share of the training ones is
            held out.
        heldout: that share of each class.
        names: of the classes in the order of their numbers; by default the numbers themselves.
        flip: mirror training images from left to right in half the cases.

    Raises:
        DataError: the folder or a file is missing, cut off, damaged or contradicts its header.
        ConfigError: ``heldout`` is no share, or there are fewer ``names`` than classes.
    """

    def __init__(
        self,
        *,
        path: str | Path,
        train: str = "train",
        test: str = "t10k",
        heldout: float = 0.1,
        names: Sequence[str] | None = None,
        flip: bool = False,
    ) -> None:
        share = check_share(heldout)
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise DataError(f"data.path={folder}: no such folder")
        parts = _parts(folder)
        chosen = _choose(parts, train, folder, "train")
        if chosen is None:
            found = ", ".join(sorted(parts)) or "none"
            raise DataError(
                f"{folder}: no file {train}*-images-idx3-ubyte or .gz (sets found: {found}); set data.train"
            )
        second = _choose(parts, test, folder, "test")
        images, labels = _pair(parts[chosen])
        where = held_out_by_class(labels, share)
        rows = [(images, labels, np.flatnonzero(~where)), (images, labels, np.flatnonzero(where))]
        if second is not None:
            everything = np.arange(len(images))
            rest, marks = _pair(parts[second])
            if rest.shape[1:] != images.shape[1:]:
                raise DataError(
                    f"{parts[second]}: images of {rest.shape[1:]} pixels, but {images.shape[1:]} in training"
                )
            rows = [(images, labels, everything), (rest, marks, np.arange(len(rest)))]
        known = _names(names, 1 + max(int(marks.max(initial=0)) for _, marks, _ in rows), folder)
        self.train, self.heldout = (
            ImageSplit(
                images=torch.from_numpy(values).unsqueeze(1),
                rows=chosen_rows,
                shape=(values.shape[1], values.shape[2]),
                conditions={"label": ClassLabel(known)},
                columns={"label": marks.tolist()},
                flip=flip,
            )
            for values, marks, chosen_rows in rows
        )


def _parts(folder: Path) -> dict[str, Path]:
    """The sets in a folder: what their names begin with, and their file of images."""
    matches = {file: _IMAGES.fullmatch(file.name) for file in sorted(folder.iterdir(), reverse=True)}
    return {match["part"]: file for file, match in matches.items() if match}


def _choose(parts: dict[str, Path], prefix: str, folder: Path, key: str) -> str | None:
    if prefix in parts:
        return prefix
    fitting = sorted(part for part in parts if part.startswith(prefix))
    if len(fitting) > 1:
        raise DataError(f"{folder}: data.{key}={prefix} fits several sets: {', '.join(fitting)}; name one of them")
    return fitting[0] if fitting else None


def _pair(images: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    stem = re.sub(r"images([-.])idx3", r"labels\1idx1", images.name).removesuffix(".gz")
    options = [images.with_name(stem), images.with_name(stem + ".gz")]
    labels = next((file for file in options if file.is_file()), None)
    if labels is None:
        raise DataError(f"{images}: its labels are missing; expected {options[0].name} or {options[1].name} beside it")
    values, marks = read_idx(images, axes=3), read_idx(labels, axes=1)
    if len(values) != len(marks):
        raise DataError(f"{labels}: {len(marks)} labels for the {len(values)} images of {images.name}")
    if 0 in values.shape:
        raise DataError(f"{images}: no images in it (its header says {list(values.shape)})")
    return values, marks


def _names(names: Sequence[str] | None, count: int, folder: Path) -> tuple[str, ...]:
    if names is None:
        return tuple(str(number) for number in range(count))
    if len(names) < count:
        raise ConfigError(f"data.names has {len(names)} names, but the labels in {folder} go up to {count - 1}")
    return tuple(str(name) for name in names)


def read_idx(path: Path, *, axes: int) -> NDArray[np.uint8]:
    """The bytes of one IDX file, shaped as its header says; mapped copy-on-write where it is not compressed.

    Raises:
        DataError: it cannot be read, is not IDX of unsigned bytes with ``axes`` axes, is cut off, or is too
            long.
    """
    head = 4 + 4 * axes
    try:
        size = path.stat().st_size
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(head)
            if len(header) < head or header[:4] != bytes((0, 0, 8, axes)):
                start = header[:4].hex(" ")
                raise DataError(f"{path}: not an IDX file of bytes with {axes} axes (it begins with {start!r})")
            shape = struct.unpack(f">{axes}I", header[4:])
            count = int(np.prod([int(length) for length in shape], dtype=object))
            if path.suffix != ".gz":
                _agree(path, shape, count, size - head)
                mapped: Any = np.memmap(path, dtype=np.uint8, mode="c", offset=head, shape=(count,)) if count else b""
                return np.frombuffer(mapped, dtype=np.uint8).reshape(shape)
            if count > size * _MOST_SHRUNK:
                raise DataError(
                    f"{path}: its header says {count} bytes ({list(shape)}), more than {size} can unpack to"
                )
            data = stream.read(count + 1)
            _agree(path, shape, count, len(data))
            return np.frombuffer(bytearray(data), dtype=np.uint8).reshape(shape)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); fetch it again") from error


def _agree(path: Path, shape: tuple[int, ...], count: int, found: int) -> None:
    if found < count:
        raise DataError(f"{path}: cut off: its header says {count} bytes ({list(shape)}), {found} are there")
    if found > count:
        raise DataError(f"{path}: longer than its header says ({list(shape)}, {count} bytes)")
