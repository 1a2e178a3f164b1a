"""A transformer on frames, for those who have a GPU or diffuse log-mel spectrograms: a frame, or several, is a token.

The architecture is the DiT of Peebles and Xie, *Scalable Diffusion Models with Transformers* (2023). Positions are
relative: each block begins with a convolution over neighbouring tokens (Chu et al., *Conditional Positional Encodings
for Vision Transformers*, 2023), so that nothing ties the network to the length that it was trained at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.layers import TransformerBlock
from suffuse.state import State
from suffuse_audio.backbones.contract import Count, Share, Stack, fill, keep

__all__ = ["DiT1D"]


class DiT1D(nn.Module):
    """Frames to tokens, blocks of attention, tokens to frames; any number of frames works.

    Args:
        fields: of the data: ``[C, frequency, time]`` each, or ``[C, time]`` each.
        merge: frames that make a token; for waveforms, samples.
        width: of a token; a multiple of ``heads``.
        depth: number of blocks.
        heads: of the attention.
        reach: tokens that the convolution of a block spans, an odd number.
        dropout: share of the outputs of each branch that is dropped in training.
        condition_dim: width of the embedding of noise level and conditions.

    Raises:
        ConfigError: the fields have no time, or a setting is out of range.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        merge: Count = 2,
        width: Count = 128,
        depth: Count = 4,
        heads: Count = 4,
        reach: Annotated[int, Range(least=3)] = 7,
        dropout: Share = 0.0,
        condition_dim: Count = 128,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"backbone.width={width}: must be a multiple of backbone.heads={heads}")
        if reach % 2 == 0:
            raise ConfigError(f"backbone.reach={reach}: must be odd, as many tokens to each side")
        axes = 1 if all(len(field.shape) == 2 for field in fields.values()) else 2
        self.condition_dim = condition_dim
        self.merge = merge
        self.stack = Stack(fields, axes, condition_dim, "dit1d")
        bins = next(field.shape[1] for field in fields.values() if not field.given) if axes == 2 else 1
        size = bins * merge
        self.stem = nn.Linear(self.stack.entering * size, width)
        self.places = nn.ModuleList(
            nn.Conv1d(width, width, reach, padding=reach // 2, groups=width) for _ in range(depth)
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, condition_dim, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.steer = nn.Linear(condition_dim, 2 * width)
        self.out = nn.Linear(width, (self.stack.heard + self.stack.total) * size)
        for layer in (self.steer, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """
        Args:
            state: noisy sounds ``[B, C, F, T]`` or ``[B, C, T]``, scaled to unit variance.
            log_snr: lambda of each sound, ``[B]``.
            condition: ``[B, condition_dim]``.

        Returns:
            One tensor like each field that is not given.

        Raises:
            ValueError: a log-SNR is not ``[B]``.
        """
        x, embedding = self.stack(state, log_snr, condition)
        made, shape = self.stack.total, x.shape[1:]
        frames = fill(x.flatten(1, -2), (self.merge,))
        tokens = self.stem(frames.reshape(*frames.shape[:2], -1, self.merge).permute(0, 2, 1, 3).flatten(2))
        for place, block in zip(self.places, self.blocks, strict=True):
            tokens = tokens + place(tokens.transpose(1, 2)).transpose(1, 2)
            tokens = block(tokens, embedding)
        scale, shift = self.steer(embedding).unsqueeze(1).chunk(2, -1)
        tokens = self.out(torch.addcmul(shift, self.norm(tokens), 1 + scale))
        heard = frames[:, : self.stack.heard * math.prod(shape[1:-1])]
        frames = keep(heard, tokens.unflatten(2, (-1, self.merge)).permute(0, 2, 1, 3).flatten(2))
        return self.stack.split(frames[..., : shape[-1]].reshape(-1, made, *shape[1:]))
