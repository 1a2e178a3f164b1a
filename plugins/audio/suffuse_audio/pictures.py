"""What a sound looks like: its waveform above its spectrogram, alone or with others on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from suffuse_audio.clips import Clip

__all__ = ["portrait", "sheet"]

_WIDTH, _WAVE, _SPECTRUM = 160, 36, 88
"""Of a portrait in pixels: its width, and the heights of the waveform and of the spectrogram."""
_COLOURS = 48
"""Few enough for small files, and more than an eye tells apart."""
_FLOOR = -80.0
"""The darkest level, in dB below a sine at full scale."""
_BACKGROUND, _INK = (250, 250, 248), (60, 60, 64)
_MARGIN, _GAP, _TEXT = 24, 10, 13
_WIDEST = 1280

Levels = NDArray[np.uint8]


def portrait(clip: Clip) -> Image.Image:
    """The waveform between -1 and 1 over the spectrogram from 0 Hz to half the rate, in a palette of colours.

    Channels are averaged. A sound whose peak exceeds 1 is shown scaled to it, and what is not finite as silence.
    """
    mono = clip.samples.detach().float().mean(0).nan_to_num(0.0, 0.0, 0.0)
    mono = mono / max(1.0, float(mono.abs().max()) if mono.numel() else 1.0)
    picture = np.concatenate([_waveform(mono.numpy()), _spectrogram(mono)])
    image = Image.fromarray(picture, mode="P")
    image.putpalette(_palette())
    return image


def sheet(clips: Sequence[Clip], captions: Sequence[str]) -> Image.Image:
    """One picture of several sounds with their captions below; equal captions stand together.

    Raises:
        ValueError: there are no clips, or not as many captions.
    """
    if not clips or len(clips) != len(captions):
        raise ValueError(f"a sheet takes one caption for each of one or more clips, not {len(captions)}/{len(clips)}")
    first = {caption: place for place, caption in reversed(list(enumerate(captions)))}
    order = sorted(range(len(clips)), key=lambda place: first[captions[place]])
    font = _font()
    text = _TEXT + _GAP // 2 if any(captions) else 0
    width, height = _WIDTH, _WAVE + _SPECTRUM
    columns = min(_columns(captions), (_WIDEST - 2 * _MARGIN + _GAP) // (width + _GAP))
    lines = math.ceil(len(clips) / columns)
    size = (columns * (width + _GAP) - _GAP, lines * (height + text + _GAP) - _GAP)
    whole = Image.new("RGB", (size[0] + 2 * _MARGIN, size[1] + 2 * _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(whole)
    for place, index in enumerate(order):
        left = _MARGIN + place % columns * (width + _GAP)
        top = _MARGIN + place // columns * (height + text + _GAP)
        whole.paste(portrait(clips[index]).convert("RGB"), (left, top))
        name = _shorten(captions[index], font, width)
        draw.text((left + width / 2, top + height + 2), name, font=font, fill=_INK, anchor="ma")
    return whole


def _columns(captions: Sequence[str]) -> int:
    """As many as sounds of one caption, so that a row shows one of them; a square where captions do not repeat."""
    repeats = max(captions.count(caption) for caption in captions)
    same = all(captions.count(caption) == repeats for caption in set(captions))
    if same and 1 < repeats < len(captions):
        return repeats
    return math.ceil(math.sqrt(len(captions)))


def _waveform(mono: NDArray[np.float32]) -> Levels:
    """A column for each stretch of time, from its least to its greatest sample."""
    picture = np.zeros((_WAVE, _WIDTH), np.uint8)
    if not len(mono):
        return picture
    edges = np.linspace(0, len(mono), _WIDTH + 1)
    rows = np.arange(_WAVE)[:, None]
    starts = np.minimum(edges[:-1].astype(int), len(mono) - 1)
    stops = np.maximum(np.ceil(edges[1:]).astype(int), starts + 1)
    low = np.array([mono[a:b].min() for a, b in zip(starts, stops, strict=True)])
    high = np.array([mono[a:b].max() for a, b in zip(starts, stops, strict=True)])
    middle = (_WAVE - 1) / 2
    top, bottom = np.rint(middle * (1 - high)), np.rint(middle * (1 - low))
    picture[(rows >= top) & (rows <= bottom)] = round(0.8 * (_COLOURS - 1))
    return picture


def _spectrogram(mono: torch.Tensor) -> Levels:
    """Levels in dB, time to the right and frequency upwards."""
    window = 256 if len(mono) >= 2048 else 128
    padded = torch.nn.functional.pad(mono, (0, max(0, window - len(mono))))
    hop = max(1, min(window // 4, len(padded) // _WIDTH))
    shape = torch.hann_window(window)
    spectrum = torch.stft(padded, window, hop, window=shape, pad_mode="constant", return_complex=True).abs()
    decibels = 20 * torch.log10((2 * spectrum / shape.sum()).clamp_min(1e-9))
    grey = ((decibels / -_FLOOR + 1).clamp(0, 1) * 255).round().to(torch.uint8).flip(0).numpy()
    image = Image.fromarray(np.ascontiguousarray(grey)).resize((_WIDTH, _SPECTRUM), Image.Resampling.BILINEAR)
    return np.rint(np.asarray(image) * ((_COLOURS - 1) / 255)).astype(np.uint8)


def _palette() -> list[int]:
    from matplotlib import colormaps

    colours = colormaps["magma"](np.linspace(0, 1, _COLOURS))[:, :3]
    return [int(value) for value in np.rint(255 * colours).flatten()]


def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans out of matplotlib, which knows more alphabets than the font inside Pillow."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", _TEXT)


def _shorten(caption: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The caption on one line no wider than ``width``, ending in an ellipsis where it was cut."""
    text = " ".join(caption.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
