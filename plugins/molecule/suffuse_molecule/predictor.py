"""A small network that says how well a molecule, or a belief in one, has the properties that were asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from suffuse.conditions import Condition, Scalar
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.state import State
from suffuse_molecule.backbones.contract import BONDS, Count, graph_fields

__all__ = ["Learned"]

_LEAST = -6.0
"""Of the logarithm of a predicted variance, in units of that of the data."""


class Learned(nn.Module):
    """Messages along the bonds that are believed in, weighted by their probability; a normal law for each number.

    It is taught by `suffuse` on the beliefs of the run's own denoiser when it is first asked for, and kept in the run.

    Args:
        fields: of the run.
        conditions: of the run; those that are numbers are predicted.
        width: of an atom.
        depth: number of rounds of messages.
        steps: for which it is taught.
        lr: peak learning rate of its lessons.
        deviation: the standard deviation that is allowed of what was asked, in units of that of the data.

    Raises:
        ConfigError: the fields are no molecular graph, or the run has no numbers to ask for.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        conditions: Mapping[str, Condition],
        width: Count = 64,
        depth: Count = 3,
        steps: Count = 1000,
        lr: Annotated[float, Range(above=0)] = 3e-3,
        deviation: Annotated[float, Range(least=0)] = 0.0,
    ) -> None:
        super().__init__()
        atoms, _ = graph_fields(fields, "learned")
        self.steps, self.lr, self.deviation = steps, lr, deviation
        self.scalars = {name: kind for name, kind in conditions.items() if isinstance(kind, Scalar)}
        if not self.scalars:
            raise ConfigError("guidance.predictor.name=learned: this run was trained without numbers to ask for")
        self.enter = nn.Linear(len(atoms.names) + BONDS - 1, width)
        self.layers = nn.ModuleList(_Round(width) for _ in range(depth))
        self.leave = nn.Sequential(nn.Linear(2 * width + 1, width), nn.SiLU(), nn.Linear(width, 2 * len(self.scalars)))

    def forward(self, estimate: State, condition: Mapping[str, Tensor] | None) -> Tensor:
        """log p(what is asked | estimate), summed over the numbers that are not missing, ``[B]``."""
        means, variances = self.predict(estimate)
        total = torch.zeros_like(means[:, 0])
        for place, (name, kind) in enumerate(self.scalars.items()):
            value = (condition or {}).get(name)
            if value is None:
                continue
            off = (value.nan_to_num(kind.mean) - kind.mean) / kind.std - means[:, place]
            variance = variances[:, place] + self.deviation**2
            total = total - torch.where(kind.present(value), off.square() / variance + variance.log(), 0) / 2
        return total

    def predict(self, estimate: State) -> tuple[Tensor, Tensor]:
        """Mean and variance of each standardised number, ``[B, S]``.

        Args:
            estimate: probabilities of the classes, ``atoms`` ``[B, N, K]`` and ``bonds`` ``[B, N, N, 4]``.
        """
        atoms, bonds = estimate["atoms"], estimate["bonds"]
        count = atoms.shape[1]
        real = atoms.new_ones(atoms.shape[:2]) if estimate.mask is None else estimate.mask.to(atoms.dtype)
        apart = 1 - torch.eye(count, device=atoms.device, dtype=atoms.dtype)
        pairs = (real[:, :, None] * real[:, None] * apart).unsqueeze(-1)
        bonded = (bonds[..., 1:] * pairs).permute(0, 3, 1, 2)
        x = self.enter(torch.cat([atoms, bonded.sum(-1).transpose(1, 2)], -1))
        for layer in self.layers:
            x = layer(x, bonded)
        x = x * real.unsqueeze(-1)
        total, size = x.sum(1) / 8, real.sum(1, keepdim=True)
        out = self.leave(torch.cat([total, x.sum(1) / size.clamp_min(1), size / 16], -1))
        means, logs = out.chunk(2, -1)
        return means, (_LEAST + nn.functional.softplus(logs - _LEAST)).exp().clamp_max(math.e**4)


class _Round(nn.Module):
    """An atom listens to its neighbours, by the order of the bond to each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.speak = nn.Linear(width, (BONDS - 1) * width)
        self.hear = nn.Linear(2 * width, width)
        self.answer = nn.Linear(width, width)

    def forward(self, x: Tensor, bonded: Tensor) -> Tensor:
        inner = self.norm(x)
        spoken = self.speak(inner).unflatten(-1, (BONDS - 1, -1)).transpose(1, 2)
        heard = (bonded @ spoken).sum(1)
        out: Tensor = x + self.answer(nn.functional.silu(self.hear(torch.cat([inner, heard], -1))))
        return out
