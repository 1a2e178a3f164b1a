r"""A lattice as six numbers that do not change when it is turned.

With the lattice vectors as rows of ``L``, the metric ``G = L L^T`` holds all lengths and angles and nothing of the
orientation. It is positive definite, so that its logarithm is any symmetric matrix, and every symmetric matrix is that
of a lattice: noise and means never leave the space. The polar part ``P = G^(1/2)`` is the same lattice, turned so that
its matrix is symmetric.

The volume grows with the number n of atoms in the cell. ``log P`` is therefore taken for one atom, as
``log P - (log n / 3) I``, and from that of a common density. Its coordinates in an orthonormal basis of symmetric
matrices, times a constant, are the six numbers: one of volume, two of the ratios of lengths, three of the angles. The
constant gives them about unit variance, so that the lattice comes out of the noise together with the positions.

References:
    Jiao et al. 2024, "Space group constrained crystal generation" (DiffCSP++; the logarithm of the polar part, and a
    basis of symmetric matrices).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["LOGS", "basis", "logs_of", "metric_logs", "polar_of"]

LOGS = 6
"""Numbers of a lattice."""
_VOLUME = 16.0
"""Å^3 for an atom of a crystal of middling density, where the number of volume is zero."""
_LOUD = 4.0
_MOST = 4.0 * _LOUD
"""Of each number, to either side: beyond it are cells of thousands of Å, and what a network may believe is anything."""


def basis(like: Tensor) -> Tensor:
    """Six symmetric matrices that are orthonormal in the Frobenius product, ``[6, 3, 3]``: the volume comes first."""
    axes = torch.eye(3, dtype=like.dtype, device=like.device)
    outer = axes[:, None, :, None] * axes[None, :, None, :]
    parts = [
        (outer[0, 0] + outer[1, 1] + outer[2, 2]) / math.sqrt(3),
        (outer[0, 0] - outer[1, 1]) / math.sqrt(2),
        (outer[0, 0] + outer[1, 1] - 2 * outer[2, 2]) / math.sqrt(6),
        *((outer[i, j] + outer[j, i]) / math.sqrt(2) for i, j in ((0, 1), (0, 2), (1, 2))),
    ]
    return torch.stack(parts)


def logs_of(lattices: Tensor, counts: Tensor) -> Tensor:
    """The six numbers of lattices ``[B, 3, 3]`` in Å, rows, with ``counts`` ``[B]`` atoms each: ``[B, 6]``."""
    values, vectors = torch.linalg.eigh(lattices @ lattices.mT)
    logs = vectors * (values.clamp_min(1e-12).log() / 2).unsqueeze(-2) @ vectors.mT
    six = _LOUD * torch.einsum("bij,kij->bk", logs, basis(logs))
    return torch.cat([six[:, :1] - _volume(counts).to(six).unsqueeze(-1), six[:, 1:]], -1)


def metric_logs(six: Tensor, counts: Tensor) -> Tensor:
    """``log P`` of six numbers, ``[B, 6], [B] -> [B, 3, 3]``, each held within bounds."""
    whole = six.clamp(-_MOST, _MOST)
    whole = torch.cat([whole[:, :1] + _volume(counts).to(six).unsqueeze(-1), whole[:, 1:]], -1)
    return torch.einsum("bk,kij->bij", whole, basis(six)) / _LOUD


def polar_of(six: Tensor, counts: Tensor) -> Tensor:
    """The lattices as symmetric matrices, ``[B, 6], [B] -> [B, 3, 3]`` in Å; the inverse of `logs_of` up to a turn."""
    polar: Tensor = torch.linalg.matrix_exp(metric_logs(six, counts))
    return polar


def _volume(counts: Tensor) -> Tensor:
    """The number of volume of so many atoms at the common density."""
    return _LOUD * torch.log(counts.double().clamp_min(1) * _VOLUME) / math.sqrt(3)
