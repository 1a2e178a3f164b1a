"""A network for fields of elements, so that a modality need not bring one of its own.

The elements of a sample (letters of a text, points of a cloud, moments of a series) attend to one another in the blocks
of `suffuse.layers`. Whatever is known of an element, in all fields, is added up to one vector. Elements in a row also
see their neighbours by a convolution, which is learnt long before attention has found out where they are.
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
from suffuse.layers import FourierFeatures, NoiseEmbedding, TransformerBlock
from suffuse.spaces import Categorical, Torus
from suffuse.state import State

__all__ = ["Transformer"]

_WAVES = 16
"""Sines and cosines in which a network sees a number, beside the number: curves are fine where noise is low."""
_WINDOW = 9
"""Elements that a convolution spans."""

Count = Annotated[int, Range(least=1)]
Share = Annotated[float, Range(least=0, below=1)]


class Transformer(nn.Module):
    """Elements in, elements out, with blocks of attention between them.

    Args:
        fields: all of one number of elements, ``(N, ...)`` or, where that varies, ``(-1, ...)``; any spaces.
        ordered: whether the elements stand in a row, as letters do. Without an order the network is equivariant to
            permutations, as sets need it.
        width: of an element inside, a multiple of ``heads``.
        depth: number of blocks.
        heads: of the attention.
        dropout: share of the outputs of each branch that is dropped in training.
        condition_dim: width of the embedding of noise level and conditions.

    Raises:
        ConfigError: the fields are not all of one number of elements, or a setting is out of range.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        ordered: bool = True,
        width: Count = 128,
        depth: Count = 4,
        heads: Count = 4,
        dropout: Share = 0.0,
        condition_dim: Count = 128,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"backbone.width={width}: must be a multiple of backbone.heads={heads}")
        if len({field.shape[:1] for field in fields.values()}) != 1 or not all(f.shape for f in fields.values()):
            shapes = ", ".join(f"{name} {list(field.shape)}" for name, field in fields.items())
            raise ConfigError(f"backbone=transformer takes fields of one number of elements [N, ...], not {shapes}")
        if any(field.layout.rank > 1 for field in fields.values()):
            raise ConfigError("backbone=transformer takes no fields of pairs of elements")
        self.fields = dict(fields)
        self.condition_dim = condition_dim
        # The prefix keeps a field named like a method of a ModuleDict, such as "type", from being refused.
        self.levels = nn.ModuleDict({f"of_{name}": NoiseEmbedding(condition_dim) for name in fields})
        self.enter = nn.ModuleDict({f"in_{name}": _Entrance(field, width) for name, field in fields.items()})
        self.row = _Row(width) if ordered else None
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, condition_dim, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.steer = nn.Linear(condition_dim, 2 * width)
        self.leave = nn.ModuleDict(
            {f"out_{name}": nn.Linear(width, _numbers(field)) for name, field in fields.items() if not field.given}
        )
        for layer in (self.steer, *self.leave.values()):
            for part in layer.parameters():
                nn.init.zeros_(part)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """
        Args:
            state: fields ``[B, N, ...]``, real ones scaled to unit variance.
            log_snr: lambda of each field, ``[B]``.
            condition: ``[B, condition_dim]``.

        Returns:
            For each field that is not given a tensor of its shape, with a last axis of logits for classes.

        Raises:
            ValueError: a log-SNR is not ``[B]``.
        """
        if any(level.ndim != 1 for level in log_snr.values()):
            raise ValueError("a log-SNR for each element: this backbone takes one for each sample, [B]")
        embedding = torch.stack([self.levels[f"of_{name}"](log_snr[name], condition) for name in self.fields]).sum(0)
        x = torch.stack([self.enter[f"in_{name}"](state[name]) for name in self.fields]).sum(0)
        if self.row is not None:
            x = self.row(x, state.mask)
        for block in self.blocks:
            x = block(x, embedding, state.mask)
        scale, shift = self.steer(embedding).unsqueeze(1).chunk(2, -1)
        x = torch.addcmul(shift, self.norm(x), 1 + scale)
        return {
            name: self.leave[f"out_{name}"](x).reshape(_shape(state[name], field))
            for name, field in self.fields.items()
            if not field.given
        }


class _Row(nn.Module):
    """Elements ``[B, N, C]`` with what their place in the row and their neighbours add to them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.place = nn.Sequential(FourierFeatures(64, 0.005, 3.0), nn.Linear(64, width))
        self.near = nn.Conv1d(width, width, _WINDOW, padding=_WINDOW // 2)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0)
        places = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        return x + nn.functional.gelu(self.near(x.mT).mT) + self.place(places)  # type: ignore[no-any-return]


class _Entrance(nn.Module):
    """One field ``[B, N, ...]`` as a vector for each element, ``[B, N, C]``."""

    places: Tensor

    def __init__(self, field: Field, width: int) -> None:
        super().__init__()
        self.space = field.space
        entries = math.prod(field.shape[1:])
        self.read: nn.Module
        if isinstance(field.space, Categorical):
            self.read = nn.Embedding(entries * field.space.tokens, width)
            self.register_buffer("places", field.space.tokens * torch.arange(entries), persistent=False)
        else:
            self.waves = FourierFeatures(_WAVES, 1.0, 30.0)
            self.read = nn.Linear(entries * (2 if isinstance(field.space, Torus) else 1 + _WAVES), width)

    def forward(self, value: Tensor) -> Tensor:
        flat = value.reshape(*value.shape[:2], -1)
        if isinstance(self.space, Categorical):
            return self.read(flat + self.places).sum(2)  # type: ignore[no-any-return]
        if isinstance(self.space, Torus):
            angle = flat * (2 * math.pi / self.space.period)
            return self.read(torch.cat([angle.sin(), angle.cos()], -1))  # type: ignore[no-any-return]
        flat = torch.cat([flat, self.waves(flat).flatten(2)], -1)
        return self.read(flat)  # type: ignore[no-any-return]


def _numbers(field: Field) -> int:
    """How many numbers the network emits for one element."""
    classes = field.space.num_classes if isinstance(field.space, Categorical) else 1
    return math.prod(field.shape[1:]) * classes


def _shape(value: Tensor, field: Field) -> tuple[int, ...]:
    return (*value.shape, field.space.num_classes) if isinstance(field.space, Categorical) else value.shape
