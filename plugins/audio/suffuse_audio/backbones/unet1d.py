"""A U-Net on the samples of a waveform, in the manner of WaveNet and DiffWave: dilated convolutions that see far.

It needs far longer to learn than a network on spectrograms, but it knows no window and no hop: what a sound is made of
down to single samples. Strided levels carry most of the depth at a fraction of the rate, as in Schneider et al.,
*Moûsai* (2023); within a level dilations grow as in Kong et al., *DiffWave* (2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layers import SelfAttention
from suffuse.state import State
from suffuse_audio.backbones.contract import Count, Share, Stack, check_widths, fill, group_norm, heads, keep, zero

__all__ = ["UNet1D"]

_DILATION = 3
"""Each block of a level looks this many times as far as the one before."""


class UNet1D(nn.Module):
    """Levels of falling rate, the last with attention over time; any number of samples works.

    Args:
        fields: of the data: ``[C, time]`` each.
        widths: channels of each level, multiples of 8.
        blocks: residual blocks of each level; all but the last level have as many again on the way up.
        strides: factors between the rates of one level and the next, the first of them from the samples to the first
            level; one for each level.
        attention: whether an attention follows each block of the last level.
        dropout: share of the features inside each block that is dropped in training.
        condition_dim: width of the embedding of noise level and conditions.

    Raises:
        ConfigError: the fields are no waveforms, or a setting is out of range.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        widths: Sequence[Count] = (32, 64, 96),
        blocks: Sequence[Count] = (2, 3, 3),
        strides: Sequence[Count] = (4, 4, 4),
        attention: bool = True,
        dropout: Share = 0.0,
        condition_dim: Count = 128,
    ) -> None:
        super().__init__()
        check_widths(widths, "unet1d")
        if not len(widths) == len(blocks) == len(strides) or not blocks:
            raise ConfigError(
                f"backbone.widths={list(widths)}, backbone.blocks={list(blocks)} and backbone.strides={list(strides)}: "
                "unet1d needs one number for each level in all three"
            )
        self.condition_dim = condition_dim
        self.strides = list(strides)
        self.stack = Stack(fields, 1, condition_dim, "unet1d")

        def level(index: int) -> _Level:
            attends = attention and index == len(widths) - 1
            return _Level(
                _Block(widths[index], condition_dim, dropout, _DILATION**place, attends)
                for place in range(blocks[index])
            )

        # Overlapping windows at the entrance: samples on both sides of a border are seen together.
        first = strides[0]
        self.stem = nn.Conv1d(self.stack.entering, widths[0], 2 * first + 1, stride=first, padding=first)
        self.down = nn.ModuleList(level(index) for index in range(len(widths)))
        self.up = nn.ModuleList(level(index) for index in range(len(widths) - 1))
        self.coarsen = nn.ModuleList(
            nn.Conv1d(fine, coarse, stride, stride=stride)
            for (fine, coarse), stride in zip(pairwise(widths), strides[1:], strict=True)
        )
        self.refine = nn.ModuleList(
            nn.ConvTranspose1d(coarse, fine, stride, stride=stride)
            for (fine, coarse), stride in zip(pairwise(widths), strides[1:], strict=True)
        )
        self.norm = group_norm(widths[0])
        self.out = nn.Conv1d(widths[0], (self.stack.heard + self.stack.total) * first, 3, padding=1)
        zero(self.out)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """
        Args:
            state: noisy waveforms ``[B, C, T]``, scaled to unit variance.
            log_snr: lambda of each sound, ``[B]``.
            condition: ``[B, condition_dim]``.

        Returns:
            One tensor like each field that is not given.

        Raises:
            ValueError: a log-SNR is not ``[B]``.
        """
        x, embedding = self.stack(state, log_snr, condition)
        length = x.shape[-1]
        noisy = fill(x, (math.prod(self.strides),))
        x = self.stem(noisy)[..., : noisy.shape[-1] // self.strides[0]]
        skips = []
        for index, blocks in enumerate(self.down):
            if index:
                skips.append(x)
                x = self.coarsen[index - 1](x)
            x = blocks(x, embedding)
        for index in reversed(range(len(self.up))):
            x = self.up[index](skips[index] + self.refine[index](x), embedding)
        x = self.out(nn.functional.silu(self.norm(x)))
        x = keep(noisy[:, : self.stack.heard], x.unflatten(1, (-1, self.strides[0])).transpose(2, 3).flatten(2))
        return self.stack.split(x[..., :length])


class _Level(nn.ModuleList):
    """Blocks one after another."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x


class _Block(nn.Module):
    """A dilated convolution and one across channels beside the identity, which it starts as."""

    def __init__(self, width: int, condition_dim: int, dropout: float, dilation: int, attends: bool) -> None:
        super().__init__()
        self.norm_in = group_norm(width)
        self.conv_in = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.norm_out = group_norm(width, affine=False)
        self.steer = nn.Linear(condition_dim, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = nn.Conv1d(width, width, 3, padding=1)
        zero(self.conv_out)
        self.attention = _TimeAttention(width) if attends else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.steer(embedding)[:, :, None].chunk(2, 1)
        inner = self.conv_in(nn.functional.silu(self.norm_in(x)))
        inner = torch.addcmul(shift, self.norm_out(inner), 1 + scale)
        x = x + self.conv_out(self.dropout(nn.functional.silu(inner)))
        if self.attention is not None:
            x = self.attention(x)
        return x


class _TimeAttention(nn.Module):
    """Every moment of a level looks at every other, ``[B, C, T]``; it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.attention = SelfAttention(width, heads(width))
        zero(self.attention.out)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).transpose(1, 2)
        return x + self.attention(tokens).transpose(1, 2)  # type: ignore[no-any-return]
