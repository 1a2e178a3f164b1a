"""Which noise goes with which sample of a training batch.

Any with any is what the theory of the prior asks for, and straightens nothing. Pairing each sample with noise that is
near leaves both marginals alone and makes the paths between them straighter, so that fewer steps sample as well.

References:
    Tong et al. 2024, "Improving and generalizing flow-based generative models with minibatch optimal transport";
    Klein et al. 2023, "Equivariant flow matching" (alignment).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.processes import Gaussian, JointProcess, Noise
from suffuse.state import State

__all__ = ["Coupling", "OptimalTransport"]


class Coupling(ABC):
    """A pairing of noise and data within one part of a batch."""

    @abstractmethod
    def __call__(
        self, process: JointProcess, clean: State, conditions: Mapping[str, Tensor], noise: Noise
    ) -> dict[str, Tensor]:
        """Standard noise for each field, row by row that of ``clean``."""


@dataclass(frozen=True)
class OptimalTransport(Coupling):
    """The pairing of least total squared distance over the Gaussian fields.

    Only samples with equal conditions exchange their noise: otherwise the noise would tell of the condition, and
    sampling under it from all of the noise would be off (a condition that is a number is equal to no other, so that
    nothing is paired then).

    Args:
        align: for point clouds: the elements of the noise are permuted, and the cloud is turned, to lie nearest to the
            sample it is compared with. The network and the prior have to be equivariant.
    """

    align: bool = False

    def __call__(
        self, process: JointProcess, clean: State, conditions: Mapping[str, Tensor], noise: Noise
    ) -> dict[str, Tensor]:
        fresh = {
            name: process.noise(name, tuple(clean[name].shape), noise).to(clean.device)
            for name in process.fields
            if not process.frozen(name)
        }
        names = [name for name in fresh if isinstance(process.processes[name], Gaussian)]
        if not names:
            raise ConfigError("process.coupling: no field is Gaussian, so there is nothing to pair")
        if self.align:
            self._check(process, names)
        paired = {name: process.fields[name].tangent(fresh[name], clean.mask) for name in names}
        for rows in _groups(clean, conditions):
            if self.align:
                self._align(process, clean, paired[names[0]], names[0], rows)
            elif len(rows) > 1:
                cost = sum(_distances(clean[name][rows], paired[name][rows]) for name in names)
                order = rows[linear_sum_assignment(cost.cpu().numpy())[1]]  # type: ignore[union-attr]
                for name in names:
                    paired[name][rows] = paired[name][order]
        return {**fresh, **paired}

    def _check(self, process: JointProcess, names: list[str]) -> None:
        if len(names) > 1:
            raise ConfigError(f"process.coupling.align: one Gaussian field can be aligned, not {', '.join(names)}")
        if len(process.fields[names[0]].shape) != 2:
            raise ConfigError(f"process.coupling.align: the field {names[0]} is no cloud of points [N, d]")
        for name, field in process.fields.items():
            if process.frozen(name) and field.layout.rank:
                raise ConfigError(
                    f"process.coupling.align: the given field {name} tells elements apart, which must not be permuted"
                )

    def _align(self, process: JointProcess, clean: State, noise: Tensor, name: str, rows: Tensor) -> None:
        """Pair the rows with turned and permuted noise, in place."""
        data, size = clean[name], len(rows)
        cost = torch.empty(size, size, dtype=torch.float64)
        moved: dict[tuple[int, int], Tensor] = {}
        for i, row in enumerate(rows.tolist()):
            real = slice(None) if clean.mask is None else clean.mask[row]
            for j, other in enumerate(rows.tolist()):
                turned = align(noise[other][real], data[row][real])
                moved[i, j] = noise[other].clone()
                moved[i, j][real] = turned
                cost[i, j] = (turned - data[row][real]).square().sum()
        chosen = linear_sum_assignment(cost.numpy())[1]
        for i, j in enumerate(chosen):
            noise[rows[i]] = moved[i, int(j)]


def align(points: Tensor, target: Tensor, rounds: int = 2) -> Tensor:
    """``points`` ``[N, d]`` permuted and rotated to lie near ``target``: assignment and rotation in turn.

    References:
        Kabsch 1976 (the rotation).
    """
    for _ in range(rounds):
        order = linear_sum_assignment(_distances(target, points).cpu().numpy())[1]
        points = points[torch.from_numpy(order)]
        u, _, v = torch.linalg.svd(points.T @ target)
        flip = torch.ones(points.shape[-1], dtype=points.dtype)
        flip[-1] = torch.sign(torch.linalg.det(u @ v))
        points = points @ (u * flip.to(points)) @ v
    return points


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of every row to every row, ``[A, B]``."""
    return torch.cdist(a.flatten(1).double(), b.flatten(1).double()).square()


def _groups(clean: State, conditions: Mapping[str, Tensor]) -> list[Tensor]:
    """Rows that agree in every condition and in which elements are real."""
    columns = [value.reshape(len(value), -1).double().nan_to_num(-1e9) for value in conditions.values()]
    if clean.mask is not None:
        columns.append(clean.mask.double())
    if not columns:
        return [torch.arange(clean.batch_size)]
    _, label = torch.unique(torch.cat([column.cpu() for column in columns], 1), dim=0, return_inverse=True)
    return [torch.nonzero(label == number)[:, 0] for number in range(int(label.max()) + 1)]
