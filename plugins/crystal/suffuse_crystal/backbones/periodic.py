"""A network of messages between the atoms of a periodic cell.

Every atom hears every other one through the features of their pair (`suffuse_crystal.backbones.features`), which know
neither origin nor orientation: all that is said does not change when the crystal is moved, turned or its atoms are
listed in another order, and what is said of atoms follows them. Pairs have a stream of their own; noise levels, the
lattice, the number of atoms and conditions steer every layer (adaLN).

References:
    Jiao et al. 2023, "Crystal structure prediction by joint equivariant diffusion" (DiffCSP; messages on the complete
    graph, waves of fractional differences, an invariant lattice); Peebles and Xie 2023, "Scalable diffusion models with
    transformers" (adaLN).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.layers import FourierFeatures
from suffuse.spaces import Categorical, Torus
from suffuse.state import State
from suffuse_crystal.backbones.features import PairFeatures
from suffuse_crystal.lattices import LOGS

__all__ = ["Periodic"]

Count: TypeAlias = Annotated[int, Range(least=1)]
_WAVES = 32
_FIELDS = ("positions", "lattice", "atoms")


class Periodic(nn.Module):
    """Layers of messages on the complete graph of a cell.

    Args:
        fields: of the data: positions on a torus of period 1, six numbers of a lattice, atoms with classes.
        width: of an atom.
        pair_width: of a pair of atoms, whose number grows with the square of the size.
        depth: number of layers.
        waves: of the difference of two positions, in each direction.
        distances: Gaussians of the distance.
        condition_dim: width of what steers the layers, and of the conditions.

    Raises:
        ConfigError: the fields are no crystal.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        width: Count = 128,
        pair_width: Count = 64,
        depth: Count = 4,
        waves: Count = 8,
        distances: Annotated[int, Range(least=2)] = 16,
        condition_dim: Count = 128,
    ) -> None:
        super().__init__()
        tokens = _check(fields)
        atoms = fields["atoms"]
        self.condition_dim = condition_dim
        self.scale = fields["lattice"].scale
        self.features = PairFeatures(waves, distances)
        self.enter_atoms = nn.Embedding(tokens, width)
        self.enter_pairs = nn.Linear(self.features.width, pair_width)
        self.waves = FourierFeatures(_WAVES)
        self.sizes = FourierFeatures(_WAVES, 0.05, 3.0)
        known = (len(_FIELDS) + 1) * _WAVES + 2 * LOGS
        self.steer = nn.Sequential(nn.Linear(known, condition_dim), nn.SiLU(), nn.Linear(condition_dim, condition_dim))
        self.layers = nn.ModuleList(_Layer(width, pair_width, condition_dim) for _ in range(depth))
        self.leave = _Norm(width, condition_dim)
        self.leave_positions = nn.Linear(width, 3)
        self.pull = nn.Linear(pair_width, 3 * waves)
        self.join = nn.Linear(width + pair_width, width)
        self.leave_lattice = nn.Linear(width, LOGS)
        self.leave_atoms = None if atoms.given else nn.Linear(width, tokens - 1)
        for layer in (self.leave_positions, self.pull, self.leave_lattice, self.leave_atoms):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        if self.leave_atoms is not None and atoms.frequencies:
            self.leave_atoms.bias.data.copy_(torch.tensor(atoms.frequencies).clamp_min(1e-6).log())

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """
        Args:
            state: ``positions`` ``[B, N, 3]`` in [0, 1), ``lattice`` ``[B, 6]`` of unit variance, tokens ``atoms``
                ``[B, N]``.
            log_snr: lambda of each, ``[B]``.
            condition: ``[B, condition_dim]``.

        Returns:
            ``positions`` ``[B, N, 3]``, whose mean over the atoms is zero, as no atom knows where the origin is;
            ``lattice`` ``[B, 6]``; and, unless they are given, logits ``atoms`` ``[B, N, K]``.

        Raises:
            ValueError: a log-SNR differs from atom to atom.
        """
        levels = torch.stack([log_snr[name] for name in _FIELDS], -1)
        if levels.ndim != 2:
            raise ValueError("a log-SNR for each atom: this backbone takes one for each crystal, [B]")
        positions, tokens = state["positions"], state["atoms"]
        mask = torch.ones_like(tokens, dtype=torch.bool) if state.mask is None else state.mask
        counts = mask.sum(1)
        likely = self._likely(state["lattice"], log_snr["lattice"])
        look = self.features(positions, likely, counts)
        facts = [self.waves(levels).flatten(1), self.sizes(counts.to(likely)), state["lattice"], likely / self.scale]
        y = nn.functional.silu(self.steer(torch.cat(facts, -1)) + condition)
        x, e = self.enter_atoms(tokens), self.enter_pairs(look.pairs)
        real = (mask / counts.clamp_min(1).to(x).unsqueeze(-1)).unsqueeze(-1)
        share = mask.unsqueeze(-1).unsqueeze(-1) * real.unsqueeze(1)
        for layer in self.layers:
            x, e = layer(x, e, y, share)
        x = self.leave(x, y)
        pull = self.pull(e).unflatten(-1, look.sines.shape[-2:])
        moves = self.leave_positions(x) + ((pull * look.sines).sum(-1) * share).sum(2)
        moves = (moves - (moves * real).sum(1, keepdim=True)) * mask.unsqueeze(-1)
        whole = torch.cat([(x * real).sum(1), ((e * share).sum(2) * real).sum(1)], -1)
        found = {"positions": moves, "lattice": self.leave_lattice(nn.functional.silu(self.join(whole)))}
        if self.leave_atoms is not None:
            found["atoms"] = self.leave_atoms(x)
        return found

    def _likely(self, lattice: Tensor, log_snr: Tensor) -> Tensor:
        """The lattice that is likely if all that is known is how the data spread: what is seen, nearer to zero."""
        spread = torch.rsqrt(self.scale**2 + torch.exp(-2 * log_snr))
        return lattice * (self.scale**2 * spread).unsqueeze(-1)


class _Layer(nn.Module):
    """Atoms ``[B, N, C]`` hear one another through pairs ``[B, N, N, D]``, steered by ``[B, E]``."""

    def __init__(self, width: int, pair_width: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = _Norm(width, condition_dim)
        self.ends = nn.Linear(width, 2 * pair_width)
        self.pairs = nn.Linear(pair_width, pair_width)
        self.think = nn.Linear(pair_width, pair_width)
        self.keep = nn.Linear(pair_width, pair_width)
        self.hear = nn.Linear(pair_width, width)
        self.norm_again = _Norm(width, condition_dim)
        self.expand = nn.Linear(width, 2 * width)
        self.shrink = nn.Linear(2 * width, width)
        for layer in (self.keep, self.hear, self.shrink):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, e: Tensor, y: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        one, other = self.ends(self.norm(x, y)).chunk(2, -1)
        said = nn.functional.silu(self.pairs(e) + one.unsqueeze(2) + other.unsqueeze(1))
        said = nn.functional.silu(self.think(said))
        x = x + self.hear((said * share).sum(2))
        x = x + self.shrink(nn.functional.silu(self.expand(self.norm_again(x, y))))
        return x, e + self.keep(said)


class _Norm(nn.Module):
    """A normalised stream of atoms ``[B, N, C]``, scaled and shifted by ``[B, E]``."""

    def __init__(self, width: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.steer = nn.Linear(condition_dim, 2 * width)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        scale, shift = self.steer(y).unsqueeze(1).chunk(2, -1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


def _check(fields: Mapping[str, Field]) -> int:
    """How many tokens an atom can have.

    Raises:
        ConfigError: the fields are no crystal.
    """
    if set(fields) != set(_FIELDS):
        known = ", ".join(fields)
        raise ConfigError(f"backbone=periodic takes the fields positions, lattice and atoms; this data has {known}")
    atoms, positions, lattice = (fields[name] for name in ("atoms", "positions", "lattice"))
    if not isinstance(atoms.space, Categorical):
        raise ConfigError("backbone=periodic: the field atoms must be of classes")
    if positions.space != Torus() or positions.shape != (-1, 3) or lattice.shape != (LOGS,):
        raise ConfigError(f"backbone=periodic: positions [N, 3] of period 1 and a lattice [{LOGS}] are needed")
    return atoms.space.tokens
