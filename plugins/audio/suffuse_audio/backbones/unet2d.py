"""A small U-Net on time and frequency that learns short sounds in minutes on two CPU cores.

Convolutions see harmonics and formants as shapes, which they learn from few examples, where a network on frames has to
learn each bin by itself. Four things are particular to sound:

- Most of a spectrogram is silence, out of which noise has to be taken to the last bit. A chain of convolutions and
  normalisations is bad at handing its input through, so the network says for each value how much of the noisy one is
  kept, beside what is added to it: the mask of speech enhancement.
- Frequency is not a direction like another: what lies high is softer, and noise buries it first. So every bin has a
  gain of its own at the entrance and at the exit, steered by noise level and conditions (the frequency-wise scaling of
  Pasini et al., *Music2Latent*, 2024, here with the conditions).
- A pitch that is asked for is a place on that axis. Curves over frequency mark it at the entrance.
- Phases hardly ever matter by themselves, but strengths do, and phases between sounds. The entrance is told of both.

Blocks and the way up are those of the image U-Nets in this framework: two convolutions that keep their width, and one
sum from each level to its counterpart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.layers import SelfAttention
from suffuse.state import State
from suffuse_audio.backbones.contract import (
    Count,
    Share,
    Stack,
    along,
    check_widths,
    fill,
    group_norm,
    heads,
    keep,
    zero,
)

__all__ = ["UNet2D"]

_WIDEST, _FINEST = 16.0, 0.25
"""Wavelengths of the waves that curves are made of, in octaves."""


class UNet2D(nn.Module):
    """Levels of halved resolution in time and frequency, the last with attention of every place to every other.

    Any number of bins and of frames works. Nothing in it knows a place in time, so that it goes on beyond the length
    that it was trained at.

    Args:
        fields: of the data: ``[C, frequency, time]`` each.
        widths: channels of each level, multiples of 8.
        blocks: residual blocks of each level; all but the last level have as many again on the way up.
        patch: how many bins, and how many frames, are folded into channels at the entrance.
        bands: numbers that describe a curve over all frequencies, an even one; 0 has no such curves.
        marks: such curves beside the gains, which tell the entrance what to expect at which frequency.
        attention: whether an attention follows each block of the last level.
        dropout: share of the features inside each block that is dropped in training.
        condition_dim: width of the embedding of noise level and conditions.

    Raises:
        ConfigError: the fields have no time and frequency, or a setting is out of range.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        widths: Sequence[Count] = (24, 48, 72),
        blocks: Sequence[Count] = (1, 1, 2),
        patch: tuple[Count, Count] = (2, 2),
        bands: Annotated[int, Range(least=0)] = 32,
        marks: Annotated[int, Range(least=0)] = 4,
        attention: bool = True,
        dropout: Share = 0.0,
        condition_dim: Count = 128,
    ) -> None:
        super().__init__()
        check_widths(widths, "unet2d")
        if len(blocks) != len(widths) or not blocks:
            raise ConfigError(
                f"backbone.blocks={list(blocks)} and backbone.widths={list(widths)}: unet2d needs one number for each "
                "level in both"
            )
        if bands % 2:
            raise ConfigError(f"backbone.bands={bands}: must be even, as many sines as cosines")
        self.condition_dim = condition_dim
        self.patch = tuple(patch)
        self.strides = [side * 2 ** (len(widths) - 1) for side in patch]
        self.stack = Stack(fields, 2, condition_dim, "unet2d")
        channels, entering, fold = self.stack.total, self.stack.entering, math.prod(patch)
        self.marks = marks if bands else 0

        def level(index: int) -> _Level:
            attends = attention and index == len(widths) - 1
            return _Level(_Block(widths[index], condition_dim, dropout, attends) for _ in range(blocks[index]))

        self.enter = _Curves(2 * entering + marks, bands, 2 * condition_dim) if bands else None
        # A mark is the same in all frames, so of those that are folded one is enough.
        width = (entering + self.stack.heard // channels) * fold + self.marks * self.patch[0]
        self.stem = nn.Conv2d(width, widths[0], 3, padding=1)
        self.down = nn.ModuleList(level(index) for index in range(len(widths)))
        self.up = nn.ModuleList(level(index) for index in range(len(widths) - 1))
        self.coarsen = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths))
        self.refine = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.norm = group_norm(widths[0])
        self.out = nn.Conv2d(widths[0], (self.stack.heard + channels) * fold, 3, padding=1)
        zero(self.out)
        self.leave = _Curves(channels, bands, 2 * condition_dim) if bands else None

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """
        Args:
            state: noisy spectrograms ``[B, C, F, T]``, scaled to unit variance.
            log_snr: lambda of each sound, ``[B]``.
            condition: ``[B, condition_dim]``.

        Returns:
            One tensor like each field that is not given.

        Raises:
            ValueError: a log-SNR is not ``[B]``.
        """
        x, embedding = self.stack(state, log_snr, condition)
        # The condition itself too: what is linear in it would have to be learned through the embedding.
        asked = torch.cat([embedding, condition.to(x.dtype)], 1)
        bins, frames = x.shape[-2:]
        noisy = fill(x, self.strides)
        heard = noisy[:, : self.stack.heard]
        x = self._fold(noisy) if self.enter is None else self._marked(noisy, self.enter(noisy.shape[2], asked))
        x = self.stem(torch.cat([x, self._fold(along(heard, self.stack.total))], 1))
        skips = []
        for index, blocks in enumerate(self.down):
            if index:
                skips.append(x)
                x = self.coarsen[index - 1](x)
            x = blocks(x, embedding)
        for index in reversed(range(len(self.up))):
            x = skips[index] + nn.functional.interpolate(self.refine[index](x), scale_factor=2.0)
            x = self.up[index](x, embedding)
        x = keep(heard, self._unfold(self.out(nn.functional.silu(self.norm(x)))))
        if self.leave is not None:
            x = x * (1 + self.leave(x.shape[2], asked))
        return self.stack.split(x[..., :bins, :frames])

    def _marked(self, x: Tensor, curves: Tensor) -> Tensor:
        """``[B, C, F, T]`` under gains and offsets, folded, with the marks beside it."""
        scale, shift, marks = torch.split(curves, [self.stack.entering, self.stack.entering, self.marks], 1)
        x = self._fold(torch.addcmul(shift, x, 1 + scale))
        if not self.marks:
            return x
        folded = marks.reshape(len(marks), self.marks, -1, self.patch[0]).transpose(2, 3).flatten(1, 2)
        return torch.cat([x, folded.unsqueeze(-1).expand(-1, -1, -1, x.shape[-1])], 1)

    def _fold(self, x: Tensor) -> Tensor:
        """``[B, C, F, T] -> [B, C p q, F / p, T / q]``."""
        p, q = self.patch
        batch, channels, bins, frames = x.shape
        x = x.reshape(batch, channels, bins // p, p, frames // q, q)
        return x.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * p * q, bins // p, frames // q)

    def _unfold(self, x: Tensor) -> Tensor:
        """The inverse of `_fold`."""
        p, q = self.patch
        batch, channels, bins, frames = x.shape
        x = x.reshape(batch, channels // (p * q), p, q, bins, frames)
        return x.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // (p * q), bins * p, frames * q)


class _Curves(nn.Module):
    """Functions of frequency that a vector draws, ``[B, E] -> [B, curves, F, 1]``; they start at zero.

    Each is a sum of sines and cosines of the logarithm of frequency. On that axis the harmonics of a pitch keep their
    pattern and only move, and what moves by an angle is a linear map of the sine and cosine of that angle: the Fourier
    features in which a pitch, as any number that is asked for, arrives.

    Args:
        curves: their number.
        bands: sines and cosines together.
        condition_dim: width E of the vector.
    """

    def __init__(self, curves: int, bands: int, condition_dim: int) -> None:
        super().__init__()
        self.bands = bands
        self.steer = nn.Linear(condition_dim, curves * bands)
        zero(self.steer)

    def forward(self, bins: int, embedding: Tensor) -> Tensor:
        device = embedding.device
        octaves = torch.log2((torch.arange(bins, device=device) + 0.5) / bins)
        turns = torch.logspace(math.log10(_WIDEST), math.log10(_FINEST), self.bands // 2, device=device).reciprocal()
        angle = 2 * math.pi * turns[:, None] * octaves
        basis = torch.cat([angle.sin(), angle.cos()]).to(embedding.dtype)
        return (self.steer(embedding).unflatten(1, (-1, self.bands)) @ basis).unsqueeze(-1)  # type: ignore[no-any-return]


class _Level(nn.ModuleList):
    """Blocks one after another."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x


class _Block(nn.Module):
    """Two convolutions beside the identity, then attention where asked; it starts as the identity."""

    def __init__(self, width: int, condition_dim: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.norm_in = group_norm(width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.norm_out = group_norm(width, affine=False)
        self.steer = nn.Linear(condition_dim, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        zero(self.conv_out)
        self.attention = _PlaceAttention(width) if attends else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.steer(embedding)[:, :, None, None].chunk(2, 1)
        inner = self.conv_in(nn.functional.silu(self.norm_in(x)))
        inner = torch.addcmul(shift, self.norm_out(inner), 1 + scale)
        x = x + self.conv_out(self.dropout(nn.functional.silu(inner)))
        if self.attention is not None:
            x = self.attention(x)
        return x


class _PlaceAttention(nn.Module):
    """Every place of a level looks at every other, ``[B, C, F, T]``; it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.attention = SelfAttention(width, heads(width))
        zero(self.attention.out)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.attention(tokens).transpose(1, 2).view_as(x)  # type: ignore[no-any-return]
