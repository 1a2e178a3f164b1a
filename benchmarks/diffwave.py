"""DiffWave, as its paper describes it, for comparison: a stack of gated dilated convolutions on the samples themselves.

Kong, Ping, Huang, Zhao and Catanzaro, *DiffWave: A Versatile Diffusion Model for Audio Synthesis*, 2021, section 3.1.
What is asked for comes in with the noise level, as in the other networks of this framework.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from suffuse.layers import NoiseEmbedding
from suffuse.state import State

__all__ = ["DiffWave"]


class DiffWave(nn.Module):
    """A network of the field ``waveform`` ``[B, 1, T]``.

    Args:
        width: residual channels.
        depth: residual layers.
        cycle: layers after which the dilation, which doubles from layer to layer, begins again at 1.
        condition_dim: width of the embedding of noise level and conditions.
    """

    def __init__(self, *, width: int, depth: int = 30, cycle: int = 10, condition_dim: int = 128) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        self.embed = NoiseEmbedding(condition_dim)
        self.enter = nn.Conv1d(1, width, 1)
        self.layers = nn.ModuleList(_Layer(width, 2 ** (index % cycle), condition_dim) for index in range(depth))
        self.mix = nn.Conv1d(width, width, 1)
        self.leave = nn.Conv1d(width, 1, 1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        embedding = self.embed(log_snr["waveform"], condition)
        x = torch.relu(self.enter(state["waveform"]))
        total = torch.zeros_like(x)
        for layer in self.layers:
            x, skip = layer(x, embedding)
            total = total + skip
        return {"waveform": self.leave(torch.relu(self.mix(total / math.sqrt(len(self.layers)))))}


class _Layer(nn.Module):
    """A dilated convolution behind a gate, with one way on and one out."""

    def __init__(self, width: int, dilation: int, condition_dim: int) -> None:
        super().__init__()
        self.steer = nn.Linear(condition_dim, width)
        self.look = nn.Conv1d(width, 2 * width, 3, padding=dilation, dilation=dilation)
        self.out = nn.Conv1d(width, 2 * width, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        gate, value = self.look(x + self.steer(embedding).unsqueeze(-1)).chunk(2, 1)
        on, skip = self.out(torch.sigmoid(gate) * torch.tanh(value)).chunk(2, 1)
        return (x + on) / math.sqrt(2), skip
