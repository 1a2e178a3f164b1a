"""What a noisy molecular graph says by itself: valences, walks, components and rings, exact and without parameters.

All of it is computed from the bonds that are there at the moment (a masked bond is none), under the mask, and depends
on neither the order of the atoms nor on padding. Pairs are the N (N - 1) / 2 places above the diagonal, so that
whatever is said of a pair is symmetric, at less than half the cost of a square.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from suffuse_molecule.backbones.contract import BONDS
from suffuse_molecule.backbones.valence import MOST, REFUSED, valence_table

__all__ = ["ChemicalFeatures", "Look", "Pairs", "reach", "smallest_rings", "walks"]


class Pairs(NamedTuple):
    """The places above the diagonal of a square.

    Args:
        first, second: row and column of each, ``[P]``.
        place: which of them stands at each entry of the square, in both halves, ``[N, N]``; P on the diagonal.
    """

    first: Tensor
    second: Tensor
    place: Tensor

    @classmethod
    def of(cls, count: int, device: torch.device | None = None) -> Pairs:
        """Those of ``count`` elements."""
        first, second = torch.triu_indices(count, count, 1, device=device)
        place = torch.full((count, count), len(first), device=device)
        place[first, second] = place[second, first] = torch.arange(len(first), device=device)
        return cls(first, second, place)

    def upper(self, square: Tensor) -> Tensor:
        """``[B, N, N, ...] -> [B, P, ...]``."""
        count = square.shape[1]
        return square.flatten(1, 2).index_select(1, self.first * count + self.second)

    def square(self, values: Tensor, diagonal: Tensor) -> Tensor:
        """``[P, ...] -> [N, N, ...]``, both halves, with ``diagonal`` ``[...]`` on the diagonal."""
        whole = torch.cat([values, diagonal.expand(1, *values.shape[1:])])
        return whole.index_select(0, self.place.flatten()).view(*self.place.shape, *values.shape[1:])


def walks(bonded: Tensor, steps: int) -> Tensor:
    """Random walks of 2 to ``steps`` steps, ``[B, N, N] -> [B, N, N, steps - 1]``, symmetric.

    The entry (i, j) is the chance of going from i to j times the root of degree i over degree j; on the diagonal, the
    chance of coming back.

    Args:
        bonded: 1 where there is a bond, 0 elsewhere.
        steps: of the longest.
    """
    root = bonded.sum(-1).clamp_min(1).rsqrt()
    once = bonded * root[:, :, None] * root[:, None]
    powers = [once @ once]
    for _ in range(steps - 2):
        powers.append(powers[-1] @ once)
    return torch.stack(powers, -1)


def reach(bonded: Tensor) -> Tensor:
    """1 where a path of bonds leads from i to j, or i is j, ``[B, N, N]``."""
    count = bonded.shape[1]
    within = (bonded + torch.eye(count, device=bonded.device, dtype=bonded.dtype)).clamp_max(1)
    length = 1
    while length < count - 1:
        within = (within @ within).clamp_max(1)
        length *= 2
    return within


def smallest_rings(bonded: Tensor, joined: Tensor, largest: int, pairs: Pairs) -> Tensor:
    """1 for the size of the smallest ring through each bond: 3 to ``largest`` atoms, or more; all 0 where there is no
    bond or no ring, ``[B, P, largest - 1]``.

    The smallest ring is the shortest way between the ends of a bond without it. Taking it away changes the series of
    walks 1 + A z + A^2 z^2 + ... by a matrix of rank two, so that of each length (c - d z) / (1 + 2 c z - d z^2) walks
    between its ends never take it, where a, b and c are the series of walks from the one end to itself, from the other
    to itself and between them, and d = a b - c^2 (Woodbury's identity). Counts are exact up to 2^53. A bond is in some
    ring where the resistance between its ends is below 1.

    Args:
        bonded: 1 where there is a bond, ``[B, N, N]``.
        joined: `reach` on these bonds.
        largest: size that is told from larger ones.
        pairs: of the N atoms.
    """
    whole = bonded.double()
    powers = [torch.eye(whole.shape[1], dtype=whole.dtype, device=whole.device).expand_as(whole), whole]
    for _ in range(largest - 2):
        powers.append(powers[-1] @ whole)
    own = torch.stack([power.diagonal(dim1=1, dim2=2) for power in powers])
    a, b, c = own[:, :, pairs.first], own[:, :, pairs.second], torch.stack([pairs.upper(power) for power in powers])
    zero = torch.zeros_like(c[:1])
    d = torch.stack([_product(a, b, k) - _product(c, c, k) for k in range(largest)])
    above, below = c - torch.cat([zero, d[:-1]]), torch.cat([zero, 2 * c[:-1]]) - torch.cat([zero, zero, d[:-2]])
    free = above[:1]
    for k in range(1, largest):
        free = torch.cat([free, (above[k] - _product(below[1:], free, k - 1))[None]])
    bond = pairs.upper(bonded)
    there = free[2:].movedim(0, -1) > 0.5
    first = (there & (there.cumsum(-1) == 1)).to(bonded.dtype) * bond.unsqueeze(-1)
    laplacian = torch.diag_embed(whole.sum(-1)) - whole + joined.double() / joined.sum(-1, keepdim=True)
    inverse = torch.linalg.inv_ex(laplacian).inverse
    ground = inverse.diagonal(dim1=1, dim2=2)
    resistance = ground[:, pairs.first] + ground[:, pairs.second] - 2 * pairs.upper(inverse)
    larger = bond * (resistance < 1 - 1e-6) - first.sum(-1)
    return torch.cat([first, larger.unsqueeze(-1)], -1)


def _product(one: Tensor, other: Tensor, order: int) -> Tensor:
    """One coefficient of the product of two series."""
    return (one[: order + 1] * other[: order + 1].flip(0)).sum(0)


class Look(NamedTuple):
    """A first look at a batch of graphs.

    Args:
        atoms: features ``[B, N, F]``.
        graph: features ``[B, H]``.
        bonded: 1 where there is a bond, ``[B, N, N]``.
        around: `walks` on these bonds.
        joined: `reach` on these bonds.
        refused: 1 where RDKit would refuse the atom, ``[B, N]``.
        room: how much the total bond order of an atom could still grow, in units of 4, ``[B, N]``.
        rings: `smallest_rings` on these bonds; None where nothing is said of them.
    """

    atoms: Tensor
    graph: Tensor
    bonded: Tensor
    around: Tensor
    joined: Tensor
    refused: Tensor
    room: Tensor
    rings: Tensor | None


class ChemicalFeatures(nn.Module):
    """The features of a batch of noisy graphs.

    Args:
        names: of the classes of atoms, such as ``C`` and ``N+``.
        steps: of the random walks.
        largest: size of rings that is told from larger ones, at least 3; 0 says nothing of rings.
    """

    table: Tensor

    def __init__(self, names: Sequence[str], steps: int = 8, largest: int = 0) -> None:
        super().__init__()
        self.steps, self.largest = steps, largest
        sizes = largest - 1 if largest else 0
        hydrogens = valence_table(names)
        orders = torch.arange(MOST + 1)
        taken = hydrogens != REFUSED
        most = torch.where(taken, orders, 0).amax(1, keepdim=True)
        told = torch.stack([hydrogens.clamp_min(0) / 4, (~taken).float(), (most - orders).clamp_min(0) / 4], -1)
        nothing = torch.zeros(1, *told.shape[1:])  # of a masked atom nothing is known
        self.register_buffer("table", torch.cat([told, nothing]), persistent=False)
        self.atoms = len(self.table) + MOST + 1 + told.shape[-1] + steps - 1 + 2 + sizes
        self.pairs = BONDS + 1 + 2 * (steps - 1) + 3 + sizes
        self.graph = 5 + sizes

    def forward(self, atoms: Tensor, bonds: Tensor, mask: Tensor, pairs: Pairs | None = None) -> Look:
        """
        Args:
            atoms: tokens ``[B, N]``, 0 to K, of which K is the mask.
            bonds: tokens ``[B, N, N]``, 0 to 4: none, single, double, triple, the mask.
            mask: ``[B, N]`` of bool.
            pairs: of the N atoms; needed for rings.
        """
        kind = self.table.dtype
        real = mask.to(kind)
        count = real.sum(1, keepdim=True).clamp_min(1)
        orders = torch.where(bonds < BONDS, bonds, 0)
        valence = orders.sum(-1).clamp_max(MOST)
        bonded = (orders > 0).to(kind)
        around, joined = walks(bonded, self.steps), reach(bonded)
        component = (joined @ real.unsqueeze(-1)).squeeze(-1).clamp_min(1)
        components = (real / component).sum(1, keepdim=True)
        chemistry = self.table[atoms, valence]
        refused, room = chemistry[..., 1] * real, chemistry[..., 2] * real
        of_atoms = [
            nn.functional.one_hot(atoms, len(self.table)).to(kind),
            nn.functional.one_hot(valence, MOST + 1).to(kind),
            chemistry,
            around.diagonal(dim1=1, dim2=2).transpose(1, 2),
            (component / count).unsqueeze(-1),
            (component == count).to(kind).unsqueeze(-1),
        ]
        edges = bonded.sum((1, 2)).unsqueeze(-1) / 2
        of_graph = [
            count / 16,
            (components - 1) / 4,
            1 / components.clamp_min(1),
            (edges - count + components) / 4,  # independent rings
            refused.sum(1, keepdim=True) / count,
        ]
        rings = None
        if self.largest:
            assert pairs is not None
            rings = smallest_rings(bonded, joined, self.largest, pairs)
            ends = rings.new_zeros(*real.shape, rings.shape[-1])
            ends = ends.index_add(1, pairs.first, rings).index_add(1, pairs.second, rings)
            of_atoms.append(ends / 2)  # about how many rings of each size it is in
            of_graph.append(rings.sum(1) / 6)
        return Look(torch.cat(of_atoms, -1), torch.cat(of_graph, -1), bonded, around, joined, refused, room, rings)

    def of_pairs(self, look: Look, bonds: Tensor, pairs: Pairs) -> Tensor:
        """Features of pairs of atoms, ``[B, P, G]``."""
        kind = self.table.dtype
        walks, bonded = pairs.upper(look.around), pairs.upper(look.bonded).unsqueeze(-1)
        there = torch.cat([bonded, walks], -1) > 0
        shorter = there[..., :-1].cumsum(-1) > 0
        parts = [
            nn.functional.one_hot(pairs.upper(bonds), BONDS + 1).to(kind),
            walks,
            (there[..., 1:] & ~shorter).to(kind),  # the length of the shortest path
            pairs.upper(look.joined).unsqueeze(-1),
            torch.minimum(look.room[:, pairs.first], look.room[:, pairs.second]).unsqueeze(-1),
            torch.maximum(look.refused[:, pairs.first], look.refused[:, pairs.second]).unsqueeze(-1),
            *(() if look.rings is None else (look.rings,)),
        ]
        return torch.cat(parts, -1)
