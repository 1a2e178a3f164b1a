"""PNG files that say where they come from, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from suffuse.errors import DataError
from suffuse.files import whole
from suffuse_image.data.pictures import open_picture

__all__ = ["KEYWORD", "read_record", "write_png"]

KEYWORD = "suffuse"
"""Of the iTXt chunk that holds the provenance record as JSON (PNG specification, section 11.3.3.4)."""


def write_png(image: Image.Image, path: Path, record: Mapping[str, Any] | None = None) -> None:
    """Write ``image`` to ``path`` with its provenance ``record``; a failure leaves what was there before.

    Raises:
        DataError: the file cannot be written.
    """
    information = PngImagePlugin.PngInfo()
    if record is not None:
        information.add_itxt(KEYWORD, json.dumps(record, default=str))
    with whole(path) as draft:
        image.save(draft, format="PNG", pnginfo=information)


def read_record(path: Path) -> dict[str, Any]:
    """The provenance record inside a PNG that `write_png` wrote.

    Raises:
        DataError: the file is missing, is no picture, or carries no record.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    text = open_picture(data, str(path)).info.get(KEYWORD)
    if text is None:
        raise DataError(f"{path}: no provenance record in it; a program that saved it again may have dropped it")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: its provenance record is damaged ({error})") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: its provenance record is damaged (a {type(record).__name__})")
    return record
