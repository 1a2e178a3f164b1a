"""Samples as files and pictures, for decoders that bring none of their own.

A sample is then text, numbers, an array, or lists and mappings of these. Its file holds the record of how it was made,
and its picture is drawn by matplotlib.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor

from suffuse.errors import DataError
from suffuse.files import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Draw", "draw", "fragment", "read_record", "read_sample", "sheet", "write_sample"]

Draw: TypeAlias = "Callable[[Any, Axes], None]"
"""Draws one sample into axes without a frame."""

_MARK = "# suffuse "
"""Begins the line of a text or a table that holds the record."""
_LETTERS = 32
"""Of text in one line of a picture."""
_NARROW = 15
"""Letters of a caption to an inch."""


def write_sample(value: Any, path: Path, record: Mapping[str, Any]) -> None:
    """Write one sample with its ``record``, whole or not at all, in the format that the suffix names.

    ``.json`` holds anything; ``.txt`` holds text, and ``.csv`` an array ``[N]`` or ``[N, C]`` as a row an element, with
    the record in a last line that begins with ``#``.

    Raises:
        DataError: the file cannot be written.
        ValueError: another suffix; it needs a decoder with a `save` of its own.
    """
    line = f"{_MARK}{json.dumps(record, default=str)}\n"
    if path.suffix == ".json":
        text = json.dumps({"value": _plain(value), "suffuse": record}, default=str, ensure_ascii=False) + "\n"
    elif path.suffix == ".txt":
        text = f"{value}\n{line}"
    elif path.suffix == ".csv":
        rows = np.asarray(value).reshape(len(value), -1)
        text = "".join(",".join(f"{number:.9g}" for number in row) + "\n" for row in rows) + line
    else:
        raise ValueError(f"{path.name}: files of samples end in .json, .txt or .csv, or the decoder has its own `save`")
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8")


def read_sample(path: Path) -> Any:
    """A sample that `write_sample` wrote, or one of a person's own without a record.

    Arrays are float32 or int64; those of a table are ``[N, C]``.

    Raises:
        DataError: the file is missing, or not of the format that its suffix names.
    """
    text = _read(path)
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(_MARK))
    try:
        if path.suffix == ".json":
            data = json.loads(text)
            return _value(data["value"] if isinstance(data, dict) and "value" in data else data)
        if path.suffix == ".csv":
            return np.loadtxt(io.StringIO(body), dtype=np.float32, delimiter=",", ndmin=2)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a {path.suffix[1:].upper()} file of a sample ({error})") from error
    return body.removesuffix("\n")


def read_record(path: Path) -> dict[str, Any]:
    """The record in a file that `write_sample` wrote.

    Raises:
        DataError: the file is missing, or carries no record.
    """
    text = _read(path)
    try:
        if path.suffix == ".json":
            found = json.loads(text)["suffuse"]
        else:
            found = json.loads(text.splitlines()[-1].removeprefix(_MARK))
    except (ValueError, LookupError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path}: no provenance record in it; a program that saved it again may have dropped it")
    return found


def draw(value: Any, axes: Axes) -> None:
    """An array ``[N]`` or ``[N, C]`` as a line for each column, anything else as its text."""
    if isinstance(value, np.ndarray | Tensor) and 1 <= value.ndim <= 2:
        axes.plot(np.asarray(value), linewidth=0.8)
        return
    lines = [part for line in str(value).splitlines() for part in textwrap.wrap(line, _LETTERS) or [""]]
    style: dict[str, Any] = {"family": "monospace", "size": 7, "va": "top", "parse_math": False}
    axes.text(0, 1, "\n".join(lines), transform=axes.transAxes, **style)


def sheet(values: Sequence[Any], captions: Sequence[str], path: Path, drawn: Draw = draw) -> None:
    """A PNG of several samples in a grid, with their captions.

    Raises:
        DataError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    width, height = _tile(values[0])
    captions = [textwrap.fill(caption, round(_NARROW * width)) for caption in captions]
    top = 0.06 + max(0.14 * len(caption.splitlines()) for caption in captions)
    columns = max(1, min(math.ceil(math.sqrt(len(values) * height / width)), round(13 / width)))
    rows = math.ceil(len(values) / columns)
    wide, high = columns * width, rows * (height + top)
    figure = Figure(figsize=(wide, high))
    for place, (value, caption) in enumerate(zip(values, captions, strict=True)):
        row, column = divmod(place, columns)
        left, low = column * width, high - (row + 1) * (height + top)
        axes = figure.add_axes(((left + 0.05) / wide, low / high, (width - 0.1) / wide, height / high))
        axes.set_axis_off()
        axes.set_title(caption, size=7, pad=2, parse_math=False)
        drawn(value, axes)
    with whole(path) as draft:
        figure.savefig(draft, format="png", dpi=120)


def fragment(value: Any, drawn: Draw = draw) -> str:
    """Self-contained HTML of one sample: text as text, anything else as a picture."""
    if isinstance(value, str):
        return f'<pre style="margin: 0; white-space: pre-wrap; max-width: {_LETTERS}ch">{html.escape(value)}</pre>'
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axes.set_axis_off()
    drawn(value, axes)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=192)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="a sample" width="96" height="96">'


def _tile(value: Any) -> tuple[float, float]:
    """Width and height of one sample on a sheet, in inches."""
    return (2.2, 0.8) if isinstance(value, str) else (1.2, 1.2)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from error


def _plain(value: Any) -> Any:
    """JSON's own types."""
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def _value(data: Any) -> Any:
    """The inverse of `_plain`, but for the width of numbers: a list that can be an array of numbers is one."""
    if isinstance(data, dict):
        return {key: _value(part) for key, part in data.items()}
    if not isinstance(data, list):
        return data
    try:
        array = np.array(data)
    except ValueError:  # rows of different length
        return [_value(part) for part in data]
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    return array.astype(np.float32) if array.dtype.kind == "f" else [_value(part) for part in data]
