"""A transformer on patches of an image, for those who have a GPU: it scales better than a U-Net and starts slower.

The architecture is the DiT of Peebles and Xie, *Scalable Diffusion Models with Transformers* (2023): adaLN-Zero
blocks on a grid of patches. Positions are sines and cosines of a patch's place, computed for the grid at hand, so
that one network takes every resolution that its patches divide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layers import NoiseEmbedding, TransformerBlock
from suffuse.state import State
from suffuse_image.backbones.contract import Count, Share, image_field, open_state

__all__ = ["DiT", "grid_positions"]


class DiT(nn.Module):
    """Patches to tokens, blocks of attention, tokens to patches.

    Args:
        fields: of the data: one image ``[C, H, W]``.
        patch: side of a patch in pixels; the cost of attention falls with its fourth power.
        width: of a token; a multiple of 4 and of ``heads``.
        depth: number of blocks.
        heads: of the attention.
        dropout: share of the outputs of each branch that is dropped in training.
        condition_dim: width of the embedding of noise level and conditions.

    Raises:
        ConfigError: the patches do not divide the image, or a setting is out of range.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        patch: Count = 2,
        width: Count = 128,
        depth: Count = 4,
        heads: Count = 4,
        dropout: Share = 0.0,
        condition_dim: Count = 128,
    ) -> None:
        super().__init__()
        if width % math.lcm(4, heads):
            raise ConfigError(f"backbone.width={width}: must be a multiple of 4 and of backbone.heads={heads}")
        self.name, channels = image_field(fields, patch, "dit", "lower backbone.patch")
        self.condition_dim = condition_dim
        self.patch = patch
        self.width = width
        self.embedding = NoiseEmbedding(condition_dim)
        self.stem = nn.Linear(channels * patch**2, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, condition_dim, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.steer = nn.Linear(condition_dim, 2 * width)
        self.out = nn.Linear(width, channels * patch**2)
        for layer in (self.steer, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """
        Args:
            state: the noisy image ``[B, C, H, W]``, scaled to unit variance.
            log_snr: lambda of each image, ``[B]``.
            condition: ``[B, condition_dim]``.

        Returns:
            One tensor like the image.

        Raises:
            ValueError: the sides are no multiples of ``patch``, or the log-SNR is not ``[B]``.
        """
        x, level = open_state(state, log_snr, self.name, self.patch)
        embedding = self.embedding(level, condition)
        patches = nn.functional.pixel_unshuffle(x, self.patch)
        rows, columns = patches.shape[-2:]
        positions = grid_positions(rows, columns, self.width, x.device)
        tokens = self.stem(patches.flatten(2).transpose(1, 2)) + positions.to(x.dtype)
        for block in self.blocks:
            tokens = block(tokens, embedding)
        scale, shift = self.steer(embedding).unsqueeze(1).chunk(2, -1)
        tokens = self.out(torch.addcmul(shift, self.norm(tokens), 1 + scale))
        patches = tokens.transpose(1, 2).unflatten(2, (rows, columns))
        return {self.name: nn.functional.pixel_shuffle(patches, self.patch)}


def grid_positions(rows: int, columns: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Sines and cosines of the row and the column of every cell of a grid, ``[rows * columns, width]``.

    Places are counted from the middle, so that a larger grid continues a smaller one to all sides. Wavelengths run
    from 2 pi to about 600 cells.
    """
    frequencies = torch.logspace(0, -2, width // 4, device=device)
    parts = []
    for count, axis in ((rows, 0), (columns, 1)):
        place = torch.arange(count, device=device) - (count - 1) / 2
        angle = place[:, None] * frequencies
        encoded = torch.cat([angle.sin(), angle.cos()], -1).unsqueeze(1 - axis)
        parts.append(encoded.expand(rows, columns, -1))
    return torch.cat(parts, -1).flatten(0, 1)
