"""A residual U-Net for images that learns in minutes on two CPU cores, and scales by its settings.

Blocks are those of ADM (Dhariwal and Nichol, *Diffusion Models Beat GANs on Image Synthesis*, 2021): two convolutions
with group normalisation, the second normalisation scaled and shifted by noise level and conditions. Three choices
keep it fast. Nearly all arithmetic is in 3x3 convolutions that keep their width, where libraries reach the peak of
the machine; a level hands one sum to its counterpart on the way up (as in Hoogeboom et al., *simple diffusion*, 2023)
and not a concatenation for each block, which would double the first convolution of each; and with ``patch`` the
finest level, which costs most and learns least, is folded into channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layers import NoiseEmbedding, SelfAttention
from suffuse.state import State
from suffuse_image.backbones.contract import Count, Share, image_field, open_state

__all__ = ["UNet"]

_GROUP = 16
"""Channels that are normalised together; widths are multiples of it, which convolutions like as well."""


class UNet(nn.Module):
    """Levels of halved resolution, each passed on the way down and on the way up; the last is passed once.

    Args:
        fields: of the data: one image ``[C, H, W]``.
        width: channels of the first level, a multiple of 16.
        multipliers: channels of each level, in multiples of ``width``; their number is that of the levels.
        blocks: residual blocks of each level; all but the last level have as many again on the way up.
        attention: an attention follows each block where the longer side has one of these lengths, counted in pixels of
            that level. Lengths that do not occur are passed over, so that one list serves several resolutions.
        patch: side of the squares of pixels that are folded into channels at the entrance.
        dropout: share of the features inside each block that is dropped in training.
        condition_dim: width of the embedding of noise level and conditions.

    Raises:
        ConfigError: the strides do not divide the image, or a setting is out of range.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        width: Count = 48,
        multipliers: Sequence[Count] = (1, 2),
        blocks: Sequence[Count] = (1, 2),
        attention: Sequence[Count] = (),
        patch: Count = 1,
        dropout: Share = 0.0,
        condition_dim: Count = 128,
    ) -> None:
        super().__init__()
        if width % _GROUP:
            raise ConfigError(f"backbone.width={width}: unet needs a multiple of {_GROUP}")
        if len(blocks) != len(multipliers) or not blocks:
            raise ConfigError(
                f"backbone.blocks={list(blocks)} and backbone.multipliers={list(multipliers)}: unet needs one number "
                "for each level in both"
            )
        self.stride = patch * 2 ** (len(blocks) - 1)
        remedy = "lower backbone.patch or take levels from backbone.multipliers and backbone.blocks"
        self.name, channels = image_field(fields, self.stride, "unet", remedy)
        self.condition_dim = condition_dim
        self.patch = patch
        self.embedding = NoiseEmbedding(condition_dim)
        widths = [width * multiplier for multiplier in multipliers]
        side = max(fields[self.name].shape[1:]) // patch

        def level(index: int) -> _Level:
            attends = side >> index in attention
            return _Level(_Block(widths[index], condition_dim, dropout, attends) for _ in range(blocks[index]))

        self.stem = nn.Conv2d(channels * patch**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(level(index) for index in range(len(widths)))
        self.up = nn.ModuleList(level(index) for index in range(len(widths) - 1))
        self.coarsen = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths))
        self.refine = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.norm = _group_norm(widths[0])
        self.out = nn.Conv2d(widths[0], channels * patch**2, 3, padding=1)
        _zero(self.out)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """
        Args:
            state: the noisy image ``[B, C, H, W]``, scaled to unit variance.
            log_snr: lambda of each image, ``[B]``.
            condition: ``[B, condition_dim]``.

        Returns:
            One tensor like the image.

        Raises:
            ValueError: the sides do not fit the strides, or the log-SNR is not ``[B]``.
        """
        x, level = open_state(state, log_snr, self.name, self.stride)
        embedding = self.embedding(level, condition)
        x = self.stem(nn.functional.pixel_unshuffle(x, self.patch))
        skips = []
        for index, blocks in enumerate(self.down):
            if index:
                skips.append(x)
                x = self.coarsen[index - 1](x)
            x = blocks(x, embedding)
        for index in reversed(range(len(self.up))):
            x = skips[index] + nn.functional.interpolate(self.refine[index](x), scale_factor=2.0)
            x = self.up[index](x, embedding)
        x = self.out(nn.functional.silu(self.norm(x)))
        return {self.name: nn.functional.pixel_shuffle(x, self.patch)}


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
        self.norm_in = _group_norm(width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.norm_out = nn.GroupNorm(width // _GROUP, width, affine=False)
        self.steer = nn.Linear(condition_dim, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        _zero(self.conv_out)
        self.attention = _PixelAttention(width) if attends else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.steer(embedding)[:, :, None, None].chunk(2, 1)
        inner = self.conv_in(nn.functional.silu(self.norm_in(x)))
        inner = torch.addcmul(shift, self.norm_out(inner), 1 + scale)
        x = x + self.conv_out(self.dropout(nn.functional.silu(inner)))
        if self.attention is not None:
            x = self.attention(x)
        return x


class _PixelAttention(nn.Module):
    """Every pixel of a level looks at every other, ``[B, C, H, W]``; it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _group_norm(width)
        self.attention = SelfAttention(width, width // (32 if width % 32 == 0 else 16))
        _zero(self.attention.out)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.attention(tokens).transpose(1, 2).view_as(x)  # type: ignore[no-any-return]


def _group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(width // _GROUP, width)


def _zero(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
