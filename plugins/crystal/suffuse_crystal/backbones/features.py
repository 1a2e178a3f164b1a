"""What a network is told of pairs of atoms in a periodic cell, whatever its origin, its orientation and their order."""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from suffuse_crystal.lattices import metric_logs

__all__ = ["Look", "PairFeatures"]

_REACH = 8.0
"""Å; the distances that are told apart."""
_SELF = 1e6


class Look(NamedTuple):
    """Features of pairs ``[B, N, N, D]``, and the sines among them ``[B, N, N, 3, F]``: odd in the difference."""

    pairs: Tensor
    sines: Tensor


class PairFeatures(nn.Module):
    """Waves of the difference of two fractional positions, and the distance to the nearest image.

    The waves have the period of the cell in each of its three directions, so that they know no origin and no boundary.
    The distance is that in a lattice, the nearest of 27 images; of an atom to itself, that of its nearest copy.

    Args:
        waves: in each direction, F.
        distances: Gaussians of the distance.

    References:
        Jiao et al. 2023, "Crystal structure prediction by joint equivariant diffusion" (DiffCSP; the waves).
    """

    shifts: Tensor
    centres: Tensor

    def __init__(self, waves: int, distances: int) -> None:
        super().__init__()
        self.waves = waves
        shifts = sorted(product((-1.0, 0.0, 1.0), repeat=3), key=lambda shift: sum(map(abs, shift)))
        self.register_buffer("shifts", torch.tensor(shifts), persistent=False)  # that of no shift comes first
        self.register_buffer("centres", torch.linspace(0.0, _REACH, distances), persistent=False)

    @property
    def width(self) -> int:
        """Features of a pair, D."""
        return 6 * self.waves + len(self.centres)

    def forward(self, positions: Tensor, six: Tensor, counts: Tensor) -> Look:
        """
        Args:
            positions: fractional, ``[B, N, 3]``.
            six: numbers of the lattice, ``[B, 6]``.
            counts: atoms of each crystal, ``[B]``.
        """
        order = torch.arange(1, self.waves + 1, dtype=positions.dtype, device=positions.device)
        angle = (2 * math.pi) * positions.unsqueeze(-1) * order
        sin, cos = angle.sin(), angle.cos()
        to, of = (sin.unsqueeze(1), cos.unsqueeze(1)), (sin.unsqueeze(2), cos.unsqueeze(2))
        sines = to[0] * of[1] - to[1] * of[0]
        cosines = to[1] * of[1] + to[0] * of[0]
        with torch.autocast(positions.device.type, enabled=False):  # half precision does not hold a metric
            near = self.nearest(positions, six, counts)
        step = _REACH / max(1, len(self.centres) - 1)
        bells = torch.exp(-(((near.unsqueeze(-1) - self.centres) / step) ** 2))
        return Look(torch.cat([sines.flatten(-2), cosines.flatten(-2), bells], -1), sines)

    def nearest(self, positions: Tensor, six: Tensor, counts: Tensor) -> Tensor:
        """Distances to the nearest images in Å, ``[B, N, N]``."""
        metric: Tensor = torch.linalg.matrix_exp(2 * metric_logs(six, counts))
        apart = positions.unsqueeze(1) - positions.unsqueeze(2)
        apart = apart - apart.round()
        batch, count = apart.shape[:2]
        leant = apart.flatten(1, 2) @ metric
        straight = (leant * apart.flatten(1, 2)).sum(-1, keepdim=True)
        shifts = self.shifts.to(metric)
        images = torch.einsum("si,bij,sj->bs", shifts, metric, shifts).unsqueeze(1)
        square = (straight + 2 * leant @ shifts.T + images).view(batch, count, count, -1)
        itself = torch.eye(count, dtype=torch.bool, device=square.device)
        square[..., 0] = square[..., 0].masked_fill(itself, _SELF)
        near: Tensor = square.amin(-1).clamp_min(1e-6).sqrt()
        return near
