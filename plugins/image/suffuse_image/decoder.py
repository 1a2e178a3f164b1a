"""Pixels to states and back: the decoder for images that are diffused as they are."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from suffuse.data import Decoder, Measurement, Split
from suffuse.errors import ConfigError, DataError
from suffuse.fields import Field
from suffuse.state import State
from suffuse_image.data.pictures import (
    Pixels8,
    check_colour,
    fit,
    flatten,
    no_bomb_warnings,
    open_picture,
    to_array,
    to_image,
)
from suffuse_image.png import read_record, write_png
from suffuse_image.sheet import contact_sheet, enlarge

__all__ = ["Pixels"]

_SAMPLE = 2048
_LEAST_SCALE = 0.01
"""Of a set whose images are all of one colour; a field with scale 0 could not be normalised."""


class Pixels(Decoder):
    """uint8 images ``[C, H, W]`` as the field ``pixels`` in [-1, 1], and as PNG files.

    Args:
        display_size: images smaller than this many pixels are enlarged by a whole multiple where a person looks at
            them (contact sheets, HTML); saved files keep their true size.
        background: the colour behind transparent pixels of pictures that a person gives.
    """

    suffix = ".png"

    def __init__(self, *, display_size: int = 96, background: str = "white") -> None:
        if display_size < 1:
            raise ConfigError(f"decoder.display_size={display_size}: a whole number of pixels from 1")
        self.display_size = display_size
        self.background = check_colour(background, "decoder.background")

    def fields(self, train: Split) -> dict[str, Field]:
        """``pixels`` with its standard deviation over up to 2,048 evenly spaced images.

        Raises:
            DataError: there are no images to train on.
        """
        if len(train) == 0:
            raise DataError("the training part of the data is empty; see data.heldout")
        rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _SAMPLE)).astype(np.int64))
        pixels = self.encode(train.gather(rows.tolist()).values)["pixels"]
        scale = max(float(pixels.double().std(correction=0)), _LEAST_SCALE)
        return {"pixels": Field(shape=tuple(pixels.shape[1:]), scale=scale)}

    def encode(self, values: Tensor | Sequence[Pixels8]) -> State:
        """uint8 ``[B, C, H, W]``, or a list of ``[C, H, W]``, to ``x / 127.5 - 1``."""
        batch = values if isinstance(values, Tensor) else torch.from_numpy(np.stack(values))
        return State({"pixels": batch.to(torch.float32).div_(127.5).sub_(1)})

    def decode(self, state: State) -> list[Pixels8]:
        """The nearest of the 256 levels, for each sample ``[C, H, W]``; what lies outside [-1, 1] is clipped."""
        levels = state["pixels"].detach().float().add(1).mul_(127.5).round_().clamp_(0, 255)
        return list(levels.to("cpu", torch.uint8).numpy())

    def load(self, path: Path, fields: Mapping[str, Field]) -> Pixels8:
        """A picture of any size and mode, cut to the middle part of the field's aspect and resized to it."""
        channels, height, width = fields["pixels"].shape
        image = flatten(_open(path), _mode(channels), self.background)
        return to_array(fit(image, height, width))

    def load_mask(self, path: Path, fields: Mapping[str, Field]) -> State:
        """White (128 and more) is to be made anew. The mask is cut like the picture, and resized without blending.

        Raises:
            DataError: it cannot be read, or marks nothing.
        """
        channels, height, width = fields["pixels"].shape
        marks = to_array(fit(flatten(_open(path), "grey", "black"), height, width, nearest=True)) >= 128
        if not marks.any():
            raise DataError(f"{path}: this mask marks nothing; paint white what is to be made anew")
        return State({"pixels": torch.from_numpy(marks).expand(1, channels, height, width)})

    def measure(self, path: Path, fields: Mapping[str, Field]) -> Measurement:
        """A picture that is smaller by a whole factor; a sample becomes as small by averaging squares of pixels.

        Raises:
            DataError: it cannot be read, or the sides of the samples are not one multiple of its own.
        """
        channels, height, width = fields["pixels"].shape
        small = to_array(flatten(_open(path), _mode(channels), self.background))
        factor = height // small.shape[1]
        if factor < 2 or (small.shape[1] * factor, small.shape[2] * factor) != (height, width):
            factors = [n for n in range(2, min(height, width) + 1) if height % n == width % n == 0]
            sizes = ", ".join(f"{height // n}x{width // n}" for n in factors) or "no smaller size"
            raise DataError(
                f"{path}: has {small.shape[1]}x{small.shape[2]} pixels; samples of {height}x{width} can be enlarged "
                f"from {sizes}"
            )
        return Measurement(self.encode([small])["pixels"], lambda state: avg_pool2d(state["pixels"], factor))

    def save(self, value: Pixels8, path: Path, record: Mapping[str, Any]) -> None:
        """A PNG at its true size with the record in its iTXt chunk ``suffuse``; `read_record` reads it back."""
        write_png(to_image(value), path, record)

    @staticmethod
    def read_record(path: Path) -> dict[str, Any]:
        """The record inside a file of `save`; the errors are those of `png.read_record`."""
        return read_record(path)

    def sheet(self, values: Sequence[Pixels8], captions: Sequence[str], path: Path) -> None:
        """A contact sheet: a row for each caption where captions repeat, else a grid with captions below."""
        write_png(contact_sheet(values, captions, display_size=self.display_size), path)

    def html(self, value: Pixels8) -> str:
        """An ``<img>`` with the PNG inside, shown with sharp pixels at the size of a contact sheet."""
        _, height, width = value.shape
        shown = enlarge(Image.new("1", (width, height)), self.display_size)
        stream = io.BytesIO()
        to_image(value).save(stream, format="PNG", optimize=True)
        data = base64.b64encode(stream.getvalue()).decode("ascii")
        return (
            f'<img src="data:image/png;base64,{data}" alt="image of {width} by {height} pixels" '
            f'width="{shown.width}" height="{shown.height}" style="image-rendering: pixelated">'
        )


def _mode(channels: int) -> str:
    if channels not in (1, 3):
        raise DataError(f"a picture has 1 channel or 3, but the field pixels has {channels}")
    return "grey" if channels == 1 else "rgb"


def _open(path: Path) -> Image.Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    with no_bomb_warnings():
        return open_picture(data, str(path))
