"""What the backbones for molecules share: ranges of settings, and what the fields of a molecular graph must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.layers import FourierFeatures
from suffuse.spaces import Categorical
from suffuse.state import State

__all__ = ["BONDS", "Count", "GraphEmbedding", "Share", "graph_fields", "log_frequencies", "open_graph"]

Count: TypeAlias = Annotated[int, Range(least=1)]
Share: TypeAlias = Annotated[float, Range(least=0, below=1)]

BONDS = 4
"""None, single, double, triple: the class of a bond is its order."""


def graph_fields(fields: Mapping[str, Field], backbone: str) -> tuple[Field, Field]:
    """The fields of atoms and of bonds, if the backbone can take them.

    Args:
        fields: of the data.
        backbone: for the message, its name in the configuration.

    Raises:
        ConfigError: they are no molecular graph, or nobody knows what the atoms' classes mean.
    """
    if set(fields) != {"atoms", "bonds"}:
        raise ConfigError(f"backbone={backbone} takes the fields atoms and bonds; this data has {', '.join(fields)}")
    atoms, bonds = fields["atoms"], fields["bonds"]
    if not isinstance(atoms.space, Categorical) or not atoms.names:
        raise ConfigError(f"backbone={backbone}: the field atoms must have classes with names, such as C, N+ or O-")
    if bonds.space != Categorical(BONDS, symmetric=True):
        raise ConfigError(f"backbone={backbone}: the field bonds must have {BONDS} symmetric classes, by bond order")
    return atoms, bonds


def open_graph(state: State, log_snr: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens of atoms ``[B, N]`` and bonds ``[B, N, N]``, the mask ``[B, N]``, and both log-SNR ``[B, 2]``.

    Raises:
        ValueError: a log-SNR differs from element to element.
    """
    atoms, bonds = state["atoms"], state["bonds"]
    levels = [log_snr["atoms"], log_snr["bonds"]]
    if any(level.ndim != 1 for level in levels):
        raise ValueError("a log-SNR for each element: this backbone takes one for each molecule, [B]")
    mask = torch.ones_like(atoms, dtype=torch.bool) if state.mask is None else state.mask
    return atoms, bonds, mask, torch.stack(levels, -1)


def log_frequencies(field: Field) -> Tensor:
    """Logits of the classes as often as in the data, ``[K]``, where a network may start; zeros where not counted."""
    assert isinstance(field.space, Categorical)
    if not field.frequencies:
        return torch.zeros(field.space.num_classes)
    return torch.tensor(field.frequencies).clamp_min(1e-6).log()


class GraphEmbedding(nn.Module):
    """What is known of each graph as a whole as one vector: how noisy it is, what is asked for, how it looks.

    Args:
        dim: width C of the vector and of the conditions.
        features: of a graph, F.
        waves: Fourier features of each log-SNR.
    """

    def __init__(self, dim: int, features: int, waves: int = 32) -> None:
        super().__init__()
        self.waves = FourierFeatures(waves)
        self.noise = nn.Sequential(nn.Linear(2 * waves, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.features = nn.Linear(features, dim)

    def forward(self, log_snr: Tensor, condition: Tensor, features: Tensor) -> Tensor:
        """``[B, 2], [B, C], [B, F] -> [B, C]``."""
        noise: Tensor = self.noise(self.waves(log_snr).flatten(1))
        return noise + condition + self.features(features)  # type: ignore[no-any-return]
