"""Exact denoisers that can be guided, and a small network of every kind of field at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from oracle import Mixture, f64
from torch import Tensor, nn

from suffuse.conditions import ClassLabel, Condition
from suffuse.denoiser import Denoiser
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.posterior import Mean, Posterior
from suffuse.processes import Discrete, Gaussian, JointProcess, Level, WrappedGaussian
from suffuse.schedules import EDM, Cosine, SquaredCosine
from suffuse.spaces import Categorical, Torus, ZeroCenterOfMass
from suffuse.state import State

__all__ = ["FIELDS", "Exact", "Labelled", "Normal", "clean", "everything_network", "joint_process", "log_density"]


@dataclass(frozen=True, eq=False)
class Exact:
    """What guidance asks of a denoiser, of one field ``x``, ``[B, D]``."""

    fields: Mapping[str, Field] = field(default_factory=lambda: {"x": Field(shape=(2,))})
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    self_conditioning: bool = False

    def missing(self, count: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        return {name: kind.collate([None] * count).to(device) for name, kind in self.conditions.items()}

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        return {"x": Mean(self.mean(state["x"], levels["x"], condition or {}))}

    def mean(self, x: Tensor, level: Level, condition: Mapping[str, Tensor]) -> Tensor:
        """E[x_0 | x]."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Normal(Exact):
    """Data N(center, spread), with a noise level for each sample or for each coordinate.

    Args:
        center: ``[D]``.
        spread: ``[D, D]``, the covariance.
    """

    center: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    spread: Tensor = field(default_factory=lambda: torch.eye(2, dtype=torch.float64))

    def mean(self, x: Tensor, level: Level, condition: Mapping[str, Tensor]) -> Tensor:
        alpha, sigma = (part.expand_as(x) for part in level.like(x))
        faded = self.spread * alpha[:, None, :]  # S A, [B, D, D]
        noisy = alpha[:, :, None] * faded + torch.diag_embed(sigma**2)
        apart = torch.linalg.solve(noisy, (x - alpha * self.center)[..., None])
        return self.center + (faded @ apart)[..., 0]

    def covariance(self, level: Level) -> Tensor:
        """Cov[x_0 | x_t] at a level that all samples share, ``[D, D]``."""
        alpha, sigma = level.alpha[0], level.sigma[0]
        return torch.linalg.inv(torch.linalg.inv(self.spread) + alpha**2 / sigma**2 * torch.eye(len(self.spread)))


@dataclass(frozen=True, eq=False)
class Labelled(Exact):
    """A mixture of which each component is a class, that can be asked for or not; class -1 is any.

    Args:
        data: the whole mixture.
    """

    data: Mixture = field(kw_only=True)

    def __post_init__(self) -> None:
        names = tuple(str(number) for number in range(len(self.data.weights)))
        object.__setattr__(self, "conditions", {"label": ClassLabel(names)})

    def of(self, label: int) -> Mixture:
        """The data of one class."""
        chosen = slice(None) if label < 0 else slice(label, label + 1)
        weights = self.data.weights[chosen]
        return Mixture(weights / weights.sum(), self.data.means[chosen], self.data.deviations[chosen])

    def mean(self, x: Tensor, level: Level, condition: Mapping[str, Tensor]) -> Tensor:
        label = condition.get("label", torch.full((len(x),), -1))
        made = torch.empty_like(x)
        for number in label.unique().tolist():
            chosen = label == number
            made = made.masked_scatter(
                chosen[:, None], self.of(number).mean(x[chosen], level.alpha[chosen], level.sigma[chosen])
            )
        return made


def log_density(data: Mixture, x: Tensor, level: Level) -> Tensor:
    """log p(x_t) of a mixture at a level, up to a constant, ``[B]``."""
    alpha, sigma = level.alpha[:, None], level.sigma[:, None]
    variance = (alpha * data.deviations) ** 2 + sigma**2
    apart = (x[:, None] - alpha[..., None] * data.means).square().sum(-1)
    return torch.logsumexp(data.weights.log() - x.shape[1] / 2 * variance.log() - apart / variance / 2, 1)


ELEMENT, PAIR = Masked(1), Masked(2)
FIELDS: dict[str, Field] = {
    "positions": Field(shape=(-1, 3), space=ZeroCenterOfMass(), layout=ELEMENT, scale=0.8),
    "angles": Field(shape=(-1, 2), space=Torus(2.0), layout=ELEMENT),
    "atoms": Field(shape=(-1,), space=Categorical(4), layout=ELEMENT),
    "bonds": Field(shape=(-1, -1), space=Categorical(3, symmetric=True), layout=PAIR),
}
"""One field of each kind, of samples of different size."""


def joint_process() -> JointProcess:
    """Their corruption."""
    return JointProcess(
        FIELDS,
        {
            "positions": Gaussian(Cosine()),
            "angles": WrappedGaussian(EDM(sigma_min=0.004, sigma_max=2.0)),
            "atoms": Discrete(SquaredCosine(), (0.25,) * 4),
            "bonds": Discrete(SquaredCosine(), (0.0, 0.0, 0.0, 1.0)),
        },
    )


class _Everything(nn.Module):
    """Elements that look at one another's mean; takes a level for each sample, element or pair."""

    condition_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(3 + 4 + 5 + 4 + 4, 16)
        self.mix = nn.Linear(32, 16)
        self.positions, self.angles, self.atoms, self.bonds = (nn.Linear(16, size) for size in (3, 2, 4, 3))
        self.old = nn.Linear(4, 16)

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        assert state.mask is not None
        real = state.mask[..., None]
        count = real.sum(1, keepdim=True)
        x, angles = state["positions"], torch.pi * state["angles"]
        atoms = nn.functional.one_hot(state["atoms"], 5).to(x)
        old = nn.functional.one_hot(state["bonds"], 4).to(x)
        bonds = (old * real[:, None]).sum(2)
        shown = [_spread(log_snr[name], x) for name in FIELDS]
        parts = [x, angles.sin(), angles.cos(), atoms, bonds, torch.cat(shown, -1) / 10]
        hidden = torch.tanh(self.enter(torch.cat(parts, -1)) + condition.repeat(1, 4)[:, None]) * real
        hidden = torch.tanh(self.mix(torch.cat([hidden, (hidden.sum(1, keepdim=True) / count).expand_as(hidden)], -1)))
        pairs = hidden[:, :, None] * hidden[:, None] + self.old(old)
        return {
            "positions": self.positions(hidden),
            "angles": self.angles(hidden),
            "atoms": self.atoms(hidden),
            "bonds": self.bonds(pairs),
        }


def _spread(level: Tensor, x: Tensor) -> Tensor:
    """One number for each element, from a level for each sample, element or pair."""
    if level.ndim == 3:
        level = level.diagonal(dim1=1, dim2=2)
    return level.reshape(len(x), -1, 1).expand(-1, x.shape[1], -1)


def everything_network(seed: int = 0) -> Denoiser:
    """A random network of `FIELDS`, in float64, with a class to be asked for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Denoiser(_Everything(), FIELDS, conditions={"label": ClassLabel(("a", "b"))})
        for part in made.parameters():
            nn.init.normal_(part, std=0.3)
    return made.double().eval()


def clean(sizes: list[int], seed: int = 0) -> State:
    """A clean state of `FIELDS`."""
    generator = torch.Generator().manual_seed(seed)
    count, room = len(sizes), max(sizes)
    mask = torch.arange(room) < torch.tensor(sizes)[:, None]
    fields = {
        "positions": torch.randn(count, room, 3, generator=generator, dtype=torch.float64),
        "angles": f64(2.0) * torch.rand(count, room, 2, generator=generator, dtype=torch.float64),
        "atoms": torch.randint(4, (count, room), generator=generator),
        "bonds": torch.randint(3, (count, room, room), generator=generator),
    }
    return State({name: FIELDS[name].project(value, mask) for name, value in fields.items()}, mask)
