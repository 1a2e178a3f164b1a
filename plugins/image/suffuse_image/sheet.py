"""The contact sheet: many small images at a glance, with their captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from suffuse_image.data.pictures import Pixels8, to_image

__all__ = ["contact_sheet", "enlarge"]

_BACKGROUND, _INK = (250, 250, 248), (60, 60, 64)
_MARGIN, _GAP = 24, 6
_TEXT, _SMALL_TEXT = 16, 13
_WIDEST_LABEL = 220
_WIDEST = 1280
"""A sheet wraps its rows at this width in pixels."""
_LARGEST = 256
"""Larger images are shown at this size."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def enlarge(image: Image.Image, display_size: int) -> Image.Image:
    """The whole multiple of a tiny image that comes closest to ``display_size`` from below; others as they are."""
    factor = max(1, display_size // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def contact_sheet(values: Sequence[Pixels8], captions: Sequence[str], *, display_size: int = 96) -> Image.Image:
    """One picture of all values: a row for each caption where captions repeat, else a grid with captions below.

    Args:
        values: uint8 ``[C, H, W]``, all of one size.
        captions: one for each value; all empty for a grid without text.
        display_size: tiny images are enlarged by a whole multiple to about this many pixels.

    Raises:
        ValueError: there are no values, or not as many captions.
    """
    if not values or len(values) != len(captions):
        raise ValueError(f"a sheet takes one caption for each of one or more values, not {len(captions)}/{len(values)}")
    tiles = [_tile(value, display_size) for value in values]
    groups: dict[str, list[Image.Image]] = {}
    for caption, tile in zip(captions, tiles, strict=True):
        groups.setdefault(caption, []).append(tile)
    if any(captions) and len(groups) < len(captions):
        return _rows(groups)
    return _grid(tiles, captions if any(captions) else [])


def _tile(value: Pixels8, display_size: int) -> Image.Image:
    image = enlarge(to_image(value).convert("RGB"), display_size)
    if max(image.size) > _LARGEST:
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return image


def _rows(groups: dict[str, list[Image.Image]]) -> Image.Image:
    font = _font(_TEXT)
    width, height = next(iter(groups.values()))[0].size
    names = {caption: _shorten(caption, font, _WIDEST_LABEL) for caption in groups}
    label = math.ceil(max(font.getlength(name) for name in names.values())) + 2 * _GAP
    widest = max(1, (_WIDEST - label - 2 * _MARGIN + _GAP) // (width + _GAP))
    longest = max(len(tiles) for tiles in groups.values())
    columns = math.ceil(longest / math.ceil(longest / widest))
    lines = sum(math.ceil(len(tiles) / columns) for tiles in groups.values())
    apart = 2 * _GAP if longest > columns else 0
    high = lines * (height + _GAP) - _GAP + (len(groups) - 1) * apart
    sheet = _blank(label + columns * (width + _GAP) - _GAP, high)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for caption, tiles in groups.items():
        where = (_MARGIN + label - 2 * _GAP, top + height / 2)
        draw.text(where, names[caption], font=font, fill=_INK, anchor="rm")
        for start in range(0, len(tiles), columns):
            for column, tile in enumerate(tiles[start : start + columns]):
                sheet.paste(tile, (_MARGIN + label + column * (width + _GAP), top))
            top += height + _GAP
        top += apart
    return sheet


def _grid(tiles: list[Image.Image], captions: Sequence[str]) -> Image.Image:
    font = _font(_SMALL_TEXT)
    width, height = tiles[0].size
    text = _SMALL_TEXT + 2 * _GAP if captions else 0
    widest = max(1, (_WIDEST - 2 * _MARGIN + _GAP) // (width + _GAP))
    columns = min(math.ceil(math.sqrt(len(tiles))), widest)
    lines = math.ceil(len(tiles) / columns)
    sheet = _blank(columns * (width + _GAP) - _GAP, lines * (height + text + _GAP) - _GAP)
    draw = ImageDraw.Draw(sheet)
    for place, tile in enumerate(tiles):
        left = _MARGIN + place % columns * (width + _GAP)
        top = _MARGIN + place // columns * (height + text + _GAP)
        sheet.paste(tile, (left, top))
        if captions:
            name = _shorten(captions[place], font, width)
            draw.text((left + width / 2, top + height + _GAP / 2), name, font=font, fill=_INK, anchor="ma")
    return sheet


def _blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width + 2 * _MARGIN, height + 2 * _MARGIN), _BACKGROUND)


def _font(size: int) -> Font:
    """DejaVu Sans out of matplotlib, which knows more alphabets than the font inside Pillow."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _shorten(caption: str, font: Font, width: float) -> str:
    """The caption on one line no wider than ``width``, ending in an ellipsis where it was cut."""
    text = " ".join(caption.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
