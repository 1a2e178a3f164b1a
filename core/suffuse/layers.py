"""Building blocks of networks that every modality shares. Plugins build on these and never on one another."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["FourierFeatures", "NoiseEmbedding", "SelfAttention", "TransformerBlock"]


class FourierFeatures(nn.Module):
    """Sines and cosines of a number at geometrically spaced frequencies, ``[...] -> [..., features]``.

    Args:
        features: their number, even.
        lowest, highest: frequencies in radians per unit of the number. The defaults resolve a log-SNR, whose
            range is about ten to each side, to some hundredths.
    """

    frequencies: Tensor

    def __init__(self, features: int, lowest: float = 0.1, highest: float = 20.0) -> None:
        super().__init__()
        spread = torch.linspace(math.log(lowest), math.log(highest), features // 2)
        self.register_buffer("frequencies", spread.exp(), persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        angle = value.unsqueeze(-1) * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], -1)


class NoiseEmbedding(nn.Module):
    """The log-SNR of a field and the embedding of the conditions as one vector, ``[B] , [B, C] -> [B, C]``.

    Args:
        dim: width C of the embedding.
        features: Fourier features of the log-SNR.
    """

    def __init__(self, dim: int, features: int = 64) -> None:
        super().__init__()
        self.noise = nn.Sequential(FourierFeatures(features), nn.Linear(features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, log_snr: Tensor, condition: Tensor) -> Tensor:
        return nn.functional.silu(self.noise(log_snr) + condition)


class SelfAttention(nn.Module):
    """Multi-head attention of the elements of a sample to one another, ``[B, N, C] -> [B, N, C]``.

    Queries and keys are normalised per head (Dehghani et al., *Scaling Vision Transformers to 22 Billion Parameters*,
    2023), which keeps training stable at high learning rates. There are no positions in it: add them to the input.

    Args:
        dim: width C.
        heads: their number, a divisor of ``dim``.

    Raises:
        ValueError: ``heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"{heads} heads do not divide a width of {dim}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.norm_q = _RMSNorm(dim // heads, eps=1e-6)
        self.norm_k = _RMSNorm(dim // heads, eps=1e-6)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """
        Args:
            x: ``[B, N, C]``.
            mask: ``[B, N]`` of bool, true where an element is real; nothing attends to the others. Every sample
                needs one that is real.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = None if mask is None else mask[:, None, None, :]
        mixed = nn.functional.scaled_dot_product_attention(self.norm_q(q), self.norm_k(k), v, attn_mask=seen)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _RMSNorm(nn.RMSNorm):
    """In the precision of its input: with weights of another one, torch takes a slow way and gives float32."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        return nn.functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class TransformerBlock(nn.Module):
    """Attention and a network per element, both steered by a vector per sample: adaLN-Zero.

    Source: Peebles and Xie, *Scalable Diffusion Models with Transformers*, 2023. It starts as the identity.

    Args:
        dim: width C of an element.
        heads: of the attention.
        condition_dim: width E of the vector.
        expand: hidden width of the network per element, in multiples of C.
        dropout: share of the outputs of both branches that is dropped in training.
    """

    def __init__(self, dim: int, heads: int, condition_dim: int, expand: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.attention = SelfAttention(dim, heads)
        self.mlp = nn.Sequential(
            nn.Linear(dim, expand * dim), nn.GELU(approximate="tanh"), nn.Linear(expand * dim, dim)
        )
        self.steer = nn.Linear(condition_dim, 6 * dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)

    def forward(self, x: Tensor, embedding: Tensor, mask: Tensor | None = None) -> Tensor:
        """
        Args:
            x: ``[B, N, C]``.
            embedding: ``[B, E]``, such as a `NoiseEmbedding`.
            mask: ``[B, N]`` of bool, true where an element is real.
        """
        scale_a, shift_a, gate_a, scale_m, shift_m, gate_m = self.steer(embedding).unsqueeze(1).chunk(6, -1)
        x = x + gate_a * self.dropout(self.attention(torch.addcmul(shift_a, self.norm(x), 1 + scale_a), mask))
        return x + gate_m * self.dropout(self.mlp(torch.addcmul(shift_m, self.norm(x), 1 + scale_m)))  # type: ignore[no-any-return]
