"""A network that looks at pairs of points, and at nothing that turning, shifting or renaming would change."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from suffuse.fields import Field
from suffuse.layers import NoiseEmbedding
from suffuse.state import State

__all__ = ["Pairs"]


class Pairs(nn.Module):
    """Messages between all points of a cloud.

    Args:
        fields: of clouds.
        width: of a point.
        depth: rounds of messages.
    """

    def __init__(self, fields: Mapping[str, Field], *, width: int = 24, depth: int = 2) -> None:
        super().__init__()
        self.condition_dim = width
        self.kinds = nn.Embedding(4, width)
        self.levels = nn.ModuleDict({f"of_{name}": NoiseEmbedding(width) for name in fields})
        self.near = nn.Linear(6, width)
        self.say = nn.ModuleList(nn.Sequential(nn.Linear(3 * width, width), nn.SiLU()) for _ in range(depth))
        self.hear = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        self.pull = nn.Linear(width, 3)
        self.drift, self.logits = nn.Linear(width, 2), nn.Linear(width, 3)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        assert state.mask is not None
        real = state.mask[..., None].to(condition.dtype)
        pairs = real[:, :, None] * real[:, None]
        count = real.sum(1, keepdim=True)
        ways = state["positions"][:, :, None] - state["positions"][:, None]
        turns = 2 * math.pi * (state["angles"][:, :, None] - state["angles"][:, None])
        distance = ways.square().sum(-1, keepdim=True)
        near = self.near(torch.cat([distance / (1 + distance), 1 / (1 + distance), turns.sin(), turns.cos()], -1))
        told = sum(self.levels[f"of_{name}"](level, condition) for name, level in log_snr.items())
        hidden = self.kinds(state["kinds"]) + told[:, None]
        for say, hear in zip(self.say, self.hear, strict=True):
            size = (-1, -1, hidden.shape[1], -1)
            there, here = hidden[:, None].expand(-1, hidden.shape[1], -1, -1), hidden[:, :, None].expand(size)
            messages = say(torch.cat([here, there, near], -1)) * pairs
            hidden = hidden + hear(torch.cat([hidden, messages.sum(2) / count], -1))
        pull = self.pull(messages) * pairs
        return {
            "positions": (pull[..., :1] * ways / (1 + distance.sqrt())).sum(2) / count,
            "kinds": self.logits(hidden),
            "angles": (pull[..., 1:] * turns.sin()).sum(2) / count + self.drift(hidden),
        }
