"""What the backbones for sounds share: the ranges of settings, and how fields of any length enter and leave.

A backbone takes one field or several on the same grid, such as the noisy spectrogram beside a known one. They are
stacked as channels, filled up to what the strides divide, and cut again at the end, so that every length works. Fields
that are given enter with the rest, and nothing comes out for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.layers import NoiseEmbedding
from suffuse.state import State

__all__ = [
    "GROUP",
    "Count",
    "Share",
    "Stack",
    "along",
    "check_widths",
    "fill",
    "group_norm",
    "heads",
    "keep",
    "zero",
]

Count: TypeAlias = Annotated[int, Range(least=1)]
Share: TypeAlias = Annotated[float, Range(least=0, below=1)]


GROUP = 8
"""Channels that are normalised together; widths are multiples of it."""
_FAINT = 0.1
"""Sounds much weaker than that, where a typical one has 1, have no direction."""


class Stack(nn.Module):
    """The fields of a state as one tensor ``[B, C, ...]``, its noise levels and conditions as one vector, and back.

    Channels that are made come first, those that are given after them; of these first the fields that hold one sound or
    more in the very form of all that is made, which can be handed through (see `keep`).

    Args:
        fields: of the data, all with the same axes after the channels; given ones may have frequencies of their own.
        axes: how many those are: 2 for frequency and time, 1 for time.
        condition_dim: width of the vector.
        backbone: for messages, its name in the configuration.

    Raises:
        ConfigError: the fields do not have these axes, or differ in them.
    """

    def __init__(self, fields: Mapping[str, Field], axes: int, condition_dim: int, backbone: str) -> None:
        super().__init__()
        wanted = {1: "[channels, time]", 2: "[channels, frequency, time]"}[axes]
        for name, field in fields.items():
            if len(field.shape) != axes + 1 or min(field.shape[:-1]) < 1:
                raise ConfigError(
                    f"backbone={backbone} takes fields {wanted}; field {name!r} has {list(field.shape)}: "
                    "choose another backbone or decoder"
                )
        made = {name: field for name, field in fields.items() if not field.given}
        given = {name: field for name, field in fields.items() if field.given}
        grids = {field.shape[1:] for field in made.values()}
        total = sum(field.shape[0] for field in made.values())
        if len(grids) != 1 or {field.shape[-1] for field in fields.values()} != {next(iter(grids))[-1]}:
            shapes = ", ".join(f"{name} {list(field.shape)}" for name, field in fields.items()) or "none"
            raise ConfigError(
                f"backbone={backbone} takes fields that differ in their channels alone; here are {shapes}"
            )
        self.channels = {name: field.shape[0] for name, field in made.items()}
        (grid,) = grids
        alike = {name for name, field in given.items() if field.shape[1:] == grid and field.shape[0] % total == 0}
        self.given = {name: given[name].shape[0] for name in sorted(given, key=lambda name: name not in alike)}
        self.passing = sum(self.given[name] for name in alike) // total
        self.levels = nn.ModuleList(NoiseEmbedding(condition_dim) for _ in fields)
        self.rows = nn.ModuleDict(
            {name: _Rows(field.shape[1], grid[0]) for name, field in given.items() if field.shape[1:] != grid}
        )

    @property
    def total(self) -> int:
        """Channels of all fields that are made together."""
        return sum(self.channels.values())

    @property
    def entering(self) -> int:
        """Channels of all fields together."""
        return self.total + sum(self.given.values())

    @property
    def heard(self) -> int:
        """Channels at the front of them of which shares can be kept."""
        return self.total * (1 + self.passing)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, entering, ...]`` and the embedding ``[B, condition_dim]``.

        Raises:
            ValueError: a log-SNR differs within a sample.
        """
        names = [*self.channels, *self.given]
        x = torch.cat([self.rows[name](state[name]) if name in self.rows else state[name] for name in names], 1)
        embedding: Tensor | None = None
        for embed, name in zip(self.levels, names, strict=True):
            level = log_snr[name]
            if level.ndim != 1:
                raise ValueError(f"a log-SNR {list(level.shape)}: this backbone takes one for each sound, [B]")
            part = embed(level.to(x.dtype), condition)
            embedding = part if embedding is None else embedding + part
        assert embedding is not None
        return x, embedding

    def split(self, x: Tensor) -> dict[str, Tensor]:
        """``[B, total, ...]`` back to one tensor for each field that is made."""
        return dict(zip(self.channels, torch.split(x, list(self.channels.values()), 1), strict=True))


class _Rows(nn.Module):
    """Frequencies of one kind on the rows of another, ``[B, C, bands, T] -> [B, C, rows, T]``; learned.

    It starts by stretching the one axis over the other, so that what lies high stays high.
    """

    def __init__(self, bands: int, rows: int) -> None:
        super().__init__()
        self.spread = nn.Linear(bands, rows)
        with torch.no_grad():
            even = nn.functional.interpolate(torch.eye(bands)[None], size=rows, mode="linear")
            self.spread.weight.copy_(even[0].T)
            self.spread.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.spread(x.transpose(-1, -2)).transpose(-1, -2)  # type: ignore[no-any-return]


def fill(x: Tensor, strides: Sequence[int]) -> Tensor:
    """The last axes of ``x`` lengthened at their ends to multiples of ``strides``.

    What is added mirrors what is there, so that it is as noisy; where it is too short for that, its end is repeated.
    """
    for place, stride in enumerate(reversed(strides)):
        axis = x.ndim - 1 - place
        length = x.shape[axis]
        missing = -length % stride
        if not missing:
            continue
        if missing < length:
            added = x.narrow(axis, length - 1 - missing, missing).flip(axis)
        else:
            added = x.narrow(axis, length - 1, 1).expand(*(missing if a == axis else -1 for a in range(x.ndim)))
        x = torch.cat([x, added], axis)
    return x


def keep(heard: Tensor, emitted: Tensor) -> Tensor:
    """``[B, (k + 1) C, ...]`` read as shares of ``heard`` ``[B, k C, ...]`` that are kept, and what is added to them.

    What is heard is the noisy sound, and after it sounds that are given, if any.

    Most of a sound is silence, out of which noise has to be taken to the last bit; a chain of normalised layers is bad
    at handing its input through for that. It is the mask of speech enhancement.
    """
    parts = emitted.shape[1] - heard.shape[1]
    kept, x = torch.split(emitted, [heard.shape[1], parts], 1)
    for sound, share in zip(torch.split(heard, parts, 1), torch.split(kept, parts, 1), strict=True):
        x = torch.addcmul(x, share, sound)
    return x


def along(heard: Tensor, parts: int) -> Tensor:
    """How far the noisy sound goes along each sound that is heard, ``[B, k C, ...] -> [B, k, ...]``.

    At each place the inner product over the C channels with a sound of length one; along the noisy sound itself, which
    comes first, it is how strong it is. A strength and the phase between two sounds are products, of which a few layers
    of convolutions are bad approximations.
    """
    noisy = heard[:, :parts]
    sounds = heard.reshape(len(heard), -1, parts, *heard.shape[2:])
    length = (sounds.square().sum(2) + _FAINT**2).sqrt()
    return (noisy.unsqueeze(1) * sounds).sum(2) / length


def check_widths(widths: Sequence[int], backbone: str) -> None:
    """
    Raises:
        ConfigError: a width is not a multiple of `GROUP`.
    """
    if any(width % GROUP for width in widths):
        raise ConfigError(f"backbone.widths={list(widths)}: {backbone} needs multiples of {GROUP}")


def group_norm(width: int, *, affine: bool = True) -> nn.GroupNorm:
    """Normalisation of each `GROUP` of channels."""
    return nn.GroupNorm(width // GROUP, width, affine=affine)


def heads(width: int) -> int:
    """How many heads an attention of this width has: of 32 features each, or of what divides it next."""
    return width // next(size for size in (32, 24, 16, 8) if width % size == 0)


def zero(layer: nn.Conv1d | nn.Conv2d | nn.Linear) -> None:
    """Let a layer begin with zeros, so that what it adds begins as nothing."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
