"""A transformer on molecular graphs with three streams: atoms, pairs of atoms, and the graph as a whole.

Attention between atoms is steered by what is known of each pair, pairs listen to their two atoms and to the attention
between them, and the graph listens to both and steers every normalisation (adaLN), together with noise level and
conditions. Pairs are kept once, above the diagonal, so that everything said of them is symmetric by construction and
costs less than half of the square. What a network of this size does not find out by itself is computed from the noisy
graph and given to it: valences as RDKit counts them, random walks, rings, and which atoms hang together.

References:
    Dwivedi and Bresson 2020, "A generalization of transformer networks to graphs"; Vignac et al. 2023, "DiGress" (the
    three streams); Ma et al. 2023, "Graph inductive biases in transformers" (random walks as relative positions);
    Peebles and Xie 2023, "Scalable diffusion models with transformers" (adaLN).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.state import State
from suffuse_molecule.backbones.contract import (
    BONDS,
    Count,
    GraphEmbedding,
    Share,
    graph_fields,
    log_frequencies,
    open_graph,
)
from suffuse_molecule.backbones.features import ChemicalFeatures, Pairs

__all__ = ["GraphTransformer"]

_STEEP = 12.0
"""The largest score of attention to either side; weights then differ by at most exp(24), and none overflows."""


class GraphTransformer(nn.Module):
    """Layers of attention over a complete graph of atoms.

    Args:
        fields: of the data: atoms with named classes, and symmetric bonds.
        width: of an atom, a multiple of ``heads``.
        pair_width: of a pair of atoms; their number grows with the square of the size.
        depth: number of layers.
        heads: of the attention.
        walks: steps of the random walks that are counted as features.
        rings: the smallest ring through each bond is told by its size up to so many atoms; 0 tells nothing of rings.
        dropout: share of the outputs of each branch that is dropped in training.
        condition_dim: width of the graph's stream, of the noise level and of the conditions.
        self_conditioning: whether it takes what it believed before, as ``process.self_conditioning`` above 0 gives it.

    Raises:
        ConfigError: the fields are no molecular graph, or a setting is out of range.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        width: Count = 64,
        pair_width: Count = 32,
        depth: Count = 5,
        heads: Count = 4,
        walks: Count = 8,
        rings: Annotated[int, Range(least=0, most=12)] = 0,
        dropout: Share = 0.0,
        condition_dim: Count = 64,
        self_conditioning: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"backbone.width={width}: must be a multiple of backbone.heads={heads}")
        if walks < 2:
            raise ConfigError(f"backbone.walks={walks}: must be at least 2")
        if 0 < rings < 3:
            raise ConfigError(f"backbone.rings={rings}: the smallest ring has 3 atoms; 0 tells nothing of rings")
        atoms, bonds = graph_fields(fields, "graph_transformer")
        kinds = len(atoms.names)
        self.condition_dim = condition_dim
        self.features = ChemicalFeatures(atoms.names, walks, rings)
        more = (kinds, BONDS) if self_conditioning else (0, 0)
        self.self_conditioning = self_conditioning
        self.enter_atoms = nn.Linear(self.features.atoms + more[0], width)
        self.enter_pairs = nn.Linear(self.features.pairs + more[1], pair_width)
        self.embedding = GraphEmbedding(condition_dim, self.features.graph)
        self.layers = nn.ModuleList(_Layer(width, pair_width, heads, condition_dim, dropout) for _ in range(depth))
        self.leave_atoms = _Head(width, condition_dim, log_frequencies(atoms))
        self.leave_pairs = _Head(pair_width, condition_dim, log_frequencies(bonds))

    def forward(
        self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor, believed: State | None = None
    ) -> dict[str, Tensor]:
        """
        Args:
            state: tokens ``atoms`` ``[B, N]`` and ``bonds`` ``[B, N, N]``.
            log_snr: lambda of both, ``[B]``.
            condition: ``[B, condition_dim]``.
            believed: probabilities of the classes as they were believed before, ``[..., K]``.

        Returns:
            Logits ``atoms`` ``[B, N, K]`` and ``bonds`` ``[B, N, N, 4]``.

        Raises:
            ValueError: the log-SNR is not ``[B]``.
            ConfigError: beliefs are given and not taken, or the reverse.
        """
        atoms, bonds, mask, levels = open_graph(state, log_snr)
        pairs = Pairs.of(atoms.shape[1], atoms.device)
        with torch.no_grad():
            look = self.features(atoms, bonds, mask, pairs)
            of_atoms, of_pairs = look.atoms, self.features.of_pairs(look, bonds, pairs)
        if self.self_conditioning != (believed is not None):
            raise ConfigError(
                f"backbone.self_conditioning={str(self.self_conditioning).lower()} does not go with "
                "process.self_conditioning: it must be true where that is above 0, and false where it is 0"
            )
        if believed is not None:
            of_atoms = torch.cat([of_atoms, believed["atoms"]], -1)
            of_pairs = torch.cat([of_pairs, pairs.upper(believed["bonds"])], -1)
        graph = _Graph(pairs, mask, of_atoms.dtype)
        x, e = self.enter_atoms(of_atoms.transpose(0, 1)), self.enter_pairs(of_pairs.transpose(0, 1))
        y = self.embedding(levels, condition, look.graph)
        for layer in self.layers:
            x, e, y = layer(x, e, y, graph)
        steer = nn.functional.silu(y)
        bonds_out = pairs.square(self.leave_pairs(e, steer), e.new_zeros(BONDS))
        return {"atoms": self.leave_atoms(x, steer).transpose(0, 1), "bonds": bonds_out.permute(2, 0, 1, 3)}


class _Graph:
    """What all layers need to know of a batch.

    Args:
        pairs: of the atoms.
        mask: ``[B, N]``.
        dtype: of the streams.
    """

    def __init__(self, pairs: Pairs, mask: Tensor, dtype: torch.dtype) -> None:
        real = mask.T.unsqueeze(-1)
        count = real.sum(0).clamp_min(1)
        eye = torch.eye(len(real), device=mask.device, dtype=dtype)
        self.pairs = pairs
        self.incidence = eye[pairs.first] + eye[pairs.second]
        self.real = real.to(dtype)
        self.both = self.real[pairs.first] * self.real[pairs.second]
        self.share = self.real / count
        self.scale = count.to(dtype).rsqrt()


class _Layer(nn.Module):
    """One exchange between the three streams, ``[N, B, C]``, ``[P, B, D]`` and ``[B, G]``.

    Elements come first, so that sums over pairs and choices of pairs are single products and copies of whole rows.
    """

    def __init__(self, width: int, pair_width: int, heads: int, graph_width: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_pairs = nn.LayerNorm(pair_width, elementwise_affine=False)
        self.steer = nn.Linear(graph_width, 4 * width + 2 * pair_width)
        self.qkv = nn.Linear(width, 3 * width)
        self.bias = nn.Linear(pair_width, heads, bias=False)
        self.alone = nn.Parameter(torch.zeros(heads))
        self.mix = nn.Linear(width, width)
        self.told = nn.Linear(pair_width, width)
        self.expand = nn.Linear(width, 2 * width)
        self.shrink = nn.Linear(2 * width, width)
        self.from_atoms = nn.Linear(width, 2 * pair_width)
        self.from_pairs = nn.Linear(pair_width, pair_width)
        self.join = nn.Linear(pair_width, pair_width)
        self.gather = nn.Linear(width + pair_width, graph_width)
        self.answer = nn.Linear(graph_width, graph_width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.mix, self.told, self.shrink, self.join, self.answer):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, e: Tensor, y: Tensor, graph: _Graph) -> tuple[Tensor, Tensor, Tensor]:
        count, batch, width = x.shape
        steer = self.steer(nn.functional.silu(y))
        scale_a, shift_a, scale_m, shift_m, scale_e, shift_e = steer.split([width] * 4 + [e.shape[-1]] * 2, -1)
        seen = torch.addcmul(shift_e, self.norm_pairs(e), 1 + scale_e) * graph.both
        told = (graph.incidence.T @ seen.flatten(1)).view(count, batch, e.shape[-1]) * graph.scale
        hidden = torch.addcmul(shift_a, self.norm(x), 1 + scale_a)
        x = x + self.dropout(self.mix(self._attend(hidden, seen, graph)) + self.told(told))
        hidden = torch.addcmul(shift_m, self.norm(x), 1 + scale_m)
        x = x + self.dropout(self.shrink(torch.relu(self.expand(hidden))))
        ends = (graph.incidence @ self.from_atoms(hidden).flatten(1)).view(*e.shape[:2], 2 * e.shape[-1])
        sums, factors = ends.chunk(2, -1)
        inner = self.from_pairs(seen) + torch.addcmul(sums, factors, factors)  # a square holds the product of both
        e = e + self.dropout(self.join(torch.relu(inner)))
        means = torch.cat([(x * graph.share).sum(0), (told * graph.share).sum(0)], -1)
        return x, e, y + self.answer(nn.functional.silu(self.gather(means)))

    def _attend(self, hidden: Tensor, seen: Tensor, graph: _Graph) -> Tensor:
        """Attention by weights ``exp(score)``; a one beside each value gathers their sum."""
        count, batch, width = hidden.shape
        parts = self.qkv(hidden).view(count, batch, 3, self.heads, -1).permute(2, 1, 3, 0, 4).flatten(1, 2)
        bias = torch.cat([self.bias(seen), self.alone.to(seen.dtype).expand(1, batch, -1)]).flatten(1).T
        bias = bias.index_select(1, graph.pairs.place.flatten()).view(-1, count, count)
        ones = graph.real.expand(-1, -1, self.heads).flatten(1).T.unsqueeze(-1)
        with torch.autocast(hidden.device.type, enabled=False):  # half precision does not hold the weights
            q, k, v = parts.to(ones.dtype).unbind()
            score = torch.baddbmm(bias.to(ones.dtype), q, k.transpose(1, 2), alpha=(width / self.heads) ** -0.5)
            heard = score.clamp(-_STEEP, _STEEP).exp() @ torch.cat([v * ones, ones], -1)
            heard = heard[..., :-1] / heard[..., -1:].clamp_min(1e-6)
        return heard.transpose(0, 1).reshape(count, batch, width)


class _Head(nn.Module):
    """A stream to logits; it starts at the frequencies of the data."""

    def __init__(self, width: int, graph_width: int, start: Tensor) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.steer = nn.Linear(graph_width, 2 * width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, len(start))
        nn.init.zeros_(self.out.weight)
        self.out.bias.data.copy_(start)

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        scale, shift = self.steer(steer).chunk(2, -1)
        inner = self.hidden(torch.addcmul(shift, self.norm(x), 1 + scale))
        return self.out(nn.functional.gelu(inner, approximate="tanh"))  # type: ignore[no-any-return]
