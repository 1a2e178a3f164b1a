"""A joint state of every kind of field, with a network small enough for tests: points, their classes, bonds, angles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.assembly import build_process
from suffuse.composition import compose
from suffuse.denoiser import Denoiser
from suffuse.fields import Field
from suffuse.layers import NoiseEmbedding, SelfAttention
from suffuse.layouts import Dense, Masked
from suffuse.model import Model
from suffuse.plugins import Registry
from suffuse.sizes import Sizes
from suffuse.spaces import Categorical, Torus, ZeroCenterOfMass
from suffuse.state import State

FIELDS = {
    "positions": Field(shape=(-1, 3), space=ZeroCenterOfMass(), layout=Masked(), scale=1.5),
    "atoms": Field(shape=(-1,), space=Categorical(4), layout=Masked(), frequencies=(0.6, 0.2, 0.15, 0.05)),
    "bonds": Field(
        shape=(-1, -1), space=Categorical(3, symmetric=True), layout=Masked(2), frequencies=(0.8, 0.15, 0.05)
    ),
    "angle": Field(shape=(2,), space=Torus(6.0), layout=Dense()),
}


class GraphNetwork(nn.Module):
    """Elements attend to one another; pairs are read from sums, so that the network is equivariant to permutation."""

    condition_dim = 16

    def __init__(self, fields: Mapping[str, Field] = FIELDS) -> None:
        super().__init__()
        self.atoms, self.bonds = nn.Embedding(5, 16), nn.Embedding(4, 16)
        self.enter, self.angle = nn.Linear(3, 16), nn.Linear(4, 16)
        self.embed = NoiseEmbedding(16)
        self.attention = SelfAttention(16, 2)
        widths = {"positions": 3, "atoms": 4, "bonds": 3, "angle": 2}
        self.leave = nn.ModuleDict({name: nn.Linear(16, width) for name, width in widths.items()})

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        assert state.mask is not None
        real = state.mask[..., None]
        pairs = (real & state.mask[:, None])[..., None]
        round_trip = torch.cat([torch.sin(state["angle"]), torch.cos(state["angle"])], -1)
        hidden = self.enter(state["positions"]) + self.atoms(state["atoms"]) + self.angle(round_trip)[:, None]
        hidden = hidden + (self.bonds(state["bonds"]) * pairs).sum(2) / 8
        hidden = hidden + sum(self.embed(level, condition) for level in log_snr.values())[:, None]  # type: ignore[index]
        hidden = (hidden + self.attention(hidden, state.mask)) * real
        both = hidden[:, :, None] + hidden[:, None]
        return {
            "positions": self.leave["positions"](hidden),
            "atoms": self.leave["atoms"](hidden),
            "bonds": self.leave["bonds"](torch.tanh(both)),
            "angle": self.leave["angle"](hidden.sum(1) / 8),
        }


def graph_model(*words: str, sizes: Mapping[int, int] | None = None, **settings: Any) -> Model:
    """An untrained model of `FIELDS`; ``words`` change its configuration, such as ``process.fields.atoms.prior=…``."""
    config = compose("modality=image", *words)
    registry = Registry()
    process = build_process(config["process"], registry, FIELDS, "image")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = Denoiser(GraphNetwork(), FIELDS, **settings).eval()
    return Model(
        denoiser=denoiser,
        process=process,
        decoder=None,  # type: ignore[arg-type]
        config=config,
        registry=registry,
        sizes=Sizes({3: 2, 5: 5, 9: 3, 17: 1} if sizes is None else sizes),
    )
