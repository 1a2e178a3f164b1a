"""Message passing along the bonds of the noisy graph beside attention between all atoms, for large molecules.

`GraphTransformer` keeps a vector for each pair of atoms in every layer. Here only atoms have one: bonds that are there
at the moment pass messages (a sparse convolution of torch-geometric), attention without biases sees the rest, and pairs
are looked at once, at the end. Memory and time of a layer grow with the bonds, and with the square of the atoms only
inside the attention, whose kernel does not store it.

References:
    Rampášek et al. 2022, "Recipe for a general, powerful, scalable graph transformer" (GPS); Hu et al. 2020,
    "Strategies for pre-training graph neural networks" (GINE, the convolution).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch_geometric.nn import GINEConv

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layers import TransformerBlock
from suffuse.layouts import Masked
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

__all__ = ["Gps"]


class Gps(nn.Module):
    """Layers of a convolution along bonds and a transformer block over all atoms.

    Args:
        fields: of the data: atoms with named classes, and symmetric bonds.
        width: of an atom, a multiple of ``heads``.
        pair_width: of a pair of atoms at the exit.
        depth: number of layers.
        heads: of the attention.
        walks: steps of the random walks whose returns are counted as features.
        dropout: share of the outputs of each branch that is dropped in training.
        condition_dim: width of the embedding of noise level and conditions.

    Raises:
        ConfigError: the fields are no molecular graph, or a setting is out of range.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        width: Count = 128,
        pair_width: Count = 64,
        depth: Count = 6,
        heads: Count = 4,
        walks: Count = 8,
        dropout: Share = 0.0,
        condition_dim: Count = 128,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"backbone.width={width}: must be a multiple of backbone.heads={heads}")
        if walks < 2:
            raise ConfigError(f"backbone.walks={walks}: must be at least 2")
        atoms, bonds = graph_fields(fields, "gps")
        self.condition_dim = condition_dim
        self.features = ChemicalFeatures(atoms.names, walks)
        self.enter = nn.Linear(self.features.atoms, width)
        self.embedding = GraphEmbedding(condition_dim, self.features.graph)
        self.kinds = nn.Embedding(BONDS - 1, width)
        self.convolutions = nn.ModuleList(
            GINEConv(nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)), train_eps=True)
            for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, condition_dim, expand=2, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.leave_atoms = nn.Linear(width, len(atoms.names))
        self.ends = nn.Linear(width, 2 * pair_width)
        self.tokens = nn.Embedding(BONDS + 1, pair_width)
        self.join = nn.Linear(pair_width, pair_width)
        self.leave_pairs = nn.Linear(pair_width, BONDS)
        for layer, field in ((self.leave_atoms, atoms), (self.leave_pairs, bonds)):
            nn.init.zeros_(layer.weight)
            layer.bias.data.copy_(log_frequencies(field))

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """
        Args:
            state: tokens ``atoms`` ``[B, N]`` and ``bonds`` ``[B, N, N]``.
            log_snr: lambda of both, ``[B]``.
            condition: ``[B, condition_dim]``.

        Returns:
            Logits ``atoms`` ``[B, N, K]`` and ``bonds`` ``[B, N, N, 4]``.

        Raises:
            ValueError: the log-SNR is not ``[B]``.
        """
        atoms, bonds, mask, levels = open_graph(state, log_snr)
        with torch.no_grad():
            look = self.features(atoms, bonds, mask)
        edges, kinds = _edges(bonds, mask)
        layout = Masked()
        embedding = nn.functional.silu(self.embedding(levels, condition, look.graph))
        x = self.enter(look.atoms)
        messages = self.kinds(kinds - 1)
        for norm, convolution, block in zip(self.norms, self.convolutions, self.blocks, strict=True):
            packed = convolution(layout.to_packed(norm(x), mask), edges, messages)
            x = block(x + layout.from_packed(packed, mask, x), embedding, mask)
        x = self.norm(x)
        pairs = Pairs.of(atoms.shape[1], atoms.device)
        sums, products = self.ends(x).transpose(0, 1).chunk(2, -1)
        joint = sums[pairs.first] + sums[pairs.second] + products[pairs.first] * products[pairs.second]
        token = self.tokens(pairs.upper(bonds)).transpose(0, 1)
        logits = self.leave_pairs(torch.relu(self.join(torch.relu(joint + token))))
        return {
            "atoms": self.leave_atoms(x),
            "bonds": pairs.square(logits, logits.new_zeros(BONDS)).permute(2, 0, 1, 3),
        }


def _edges(bonds: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Both directions of every bond that is there as torch-geometric has them, ``[2, E]``, and their orders ``[E]``.

    Elements are numbered as `Masked.to_packed` puts them one after another.
    """
    places = mask.flatten().cumsum(0).view_as(mask) - 1
    sample, first, second = ((bonds > 0) & (bonds < BONDS)).nonzero(as_tuple=True)
    return torch.stack([places[sample, first], places[sample, second]]), bonds[sample, first, second]
