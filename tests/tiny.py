"""A data set, a network and a trainer that are small enough to train in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.conditions import ClassLabel, Condition
from suffuse.data import Item, Split
from suffuse.denoiser import Denoiser
from suffuse.fields import Field
from suffuse.layers import NoiseEmbedding, SelfAttention
from suffuse.processes import Gaussian, JointProcess
from suffuse.schedules import Cosine, Schedule
from suffuse.state import State
from suffuse.training import Trainer, TrainerSettings
from suffuse.training.clock import LogNormal
from suffuse.training.engine import SingleProcess
from suffuse.training.objective import Objective
from suffuse.training.weightings import edm

SIDES = ("left", "right")


class Points(Split):
    """Points in the plane around (-1, 0) and (1, 0), with the side as their class."""

    def __init__(self, count: int = 50, *, jitter: float = 0.0) -> None:
        rng = np.random.default_rng(0)
        self.jitter = jitter
        self.sides = np.arange(count) % 2
        self.values = 0.2 * rng.standard_normal((count, 2)) + np.stack([2.0 * self.sides - 1, 0 * self.sides], 1)
        self.conditions: Mapping[str, Condition] = {"side": ClassLabel(SIDES)}

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Item:
        return Item(self.values[index], {"side": int(self.sides[index])})

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        return item._replace(value=item.value + self.jitter * rng.standard_normal(2))


class PointEncoder:
    """The part of a decoder that training asks for."""

    def encode(self, values: Sequence[Any]) -> State:
        return State({"x": torch.from_numpy(np.stack(values)).float()})


class Perceptron(nn.Module):
    """A network of the field ``x``, ``[B, dim]``."""

    condition_dim = 16

    def __init__(self, dim: int = 2) -> None:
        super().__init__()
        self.embed = NoiseEmbedding(16)
        self.net = nn.Sequential(nn.Linear(dim + 16, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, dim))

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        return {"x": self.net(torch.cat([state["x"], self.embed(log_snr["x"], condition)], -1))}


class SetNetwork(nn.Module):
    """A network of a padded set ``x``, ``[B, N, 2]``, in which each element looks at all the others."""

    condition_dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(2, 16)
        self.embed = NoiseEmbedding(16)
        self.attention = SelfAttention(16, 2)
        self.leave = nn.Linear(16, 2)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        hidden = self.enter(state["x"]) + self.embed(log_snr["x"], condition)[:, None]
        return {"x": self.leave(hidden + self.attention(hidden, state.mask))}


def field(**settings: Any) -> dict[str, Field]:
    """The one field ``x`` of these tests."""
    return {"x": Field(**{"shape": (2,), **settings})}


def process(schedule: Schedule | None = None, **settings: Any) -> JointProcess:
    """A Gaussian process of the field ``x``."""
    return JointProcess(field(**settings), {"x": Gaussian(schedule or Cosine())})


def denoiser(seed: int = 0, conditions: Mapping[str, Condition] | None = None, **settings: Any) -> Denoiser:
    """A random `Perceptron`; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fields = field(scale=0.7)
        return Denoiser(Perceptron(), fields, conditions=conditions, **settings).eval()


def trainer(
    directory: Path, split: Split | None = None, *, seed: int = 0, self_conditioning: float = 0.0, **settings: Any
) -> Trainer:
    """A trainer of a `Perceptron` on `Points`; whatever is not a setting of the loop goes to `Trainer`."""
    known = TrainerSettings.__dataclass_fields__
    loop = {"steps": 12, "batch_size": 16, "warmup": 2, "log_every": 4, "checkpoint_every": 6}
    loop.update({name: settings.pop(name) for name in list(settings) if name in known})
    split = Points(jitter=0.05) if split is None else split
    return Trainer(
        denoiser=settings.pop("denoiser", None) or denoiser(conditions=split.conditions),
        objective=Objective(
            process(scale=0.7), LogNormal(), edm(), "edm", split.conditions, self_conditioning=self_conditioning
        ),
        train=split,
        decoder=PointEncoder(),  # type: ignore[arg-type]
        directory=directory,
        settings=TrainerSettings(**loop),
        seed=seed,
        engine=settings.pop("engine", None) or SingleProcess("cpu"),
        **settings,
    )


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_bits(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether two groups of tensors are equal in every bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
