"""Data of classes, or of classes and numbers together, whose posterior is known in closed form.

The clean sample is one of M cases, each with a class at every site and, where there are numbers, a mean of theirs.
Given the noisy sample, the share of a case is its weight times the likelihood of each token and of each number.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from oracle import f64
from torch import Tensor

from suffuse.posterior import LogProbs, Mean, Posterior, Statement
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["Cases", "everything", "likelihood", "sites"]


def everything(classes: int, count: int) -> Tensor:
    """All ways to fill ``count`` sites, ``[classes^count, count]``."""
    return torch.tensor(list(itertools.product(range(classes), repeat=count)))


def likelihood(token: Tensor, keep: Tensor, pi: Tensor, classes: int) -> Tensor:
    """``q(token | class)`` for each class, ``[..., K]``, with ``keep`` broadcast against the tokens."""
    keep = keep.unsqueeze(-1)
    return keep * (token.unsqueeze(-1) == torch.arange(classes)) + (1 - keep) * pi[token].unsqueeze(-1)


@dataclass(frozen=True, eq=False)
class Cases:
    """An exact denoiser of the fields ``c``, ``[B, D]``, and ``x``, ``[B, N]``.

    Args:
        weights: ``[M]``, of the cases; they sum to one.
        classes: ``[M, D]``, the classes of each.
        pi: ``[S]``, the prior of the tokens.
        count: K, of the classes.
        means: ``[M, N]``, of the numbers of each; None where there are only classes.
        deviation: of the numbers around them.
    """

    weights: Tensor
    classes: Tensor
    pi: Tensor
    count: int
    means: Tensor | None = None
    deviation: float = 0.0

    def shares(self, state: State, levels: Mapping[str, Level]) -> Tensor:
        """Of the cases given the noisy state, ``[B, M]``."""
        log = self.weights.log().expand(state.batch_size, -1)
        keep = levels["c"].alpha.double()
        each = likelihood(state["c"], keep[:, None], self.pi, self.count)
        log = log + each.log()[:, torch.arange(self.classes.shape[1]), self.classes].sum(-1)
        if self.means is not None:
            alpha, sigma = levels["x"].alpha[:, None], levels["x"].sigma[:, None]
            apart = state["x"][:, None] - alpha[..., None] * self.means
            log = log - apart.square().sum(-1) / ((alpha * self.deviation) ** 2 + sigma**2) / 2
        return log.softmax(-1)

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        share = self.shares(state, levels)
        chosen = torch.nn.functional.one_hot(self.classes, self.count).to(share)
        belief: dict[str, Statement] = {"c": LogProbs.of(torch.einsum("bm,mdk->bdk", share, chosen).log())}
        if self.means is not None:
            alpha, sigma = levels["x"].alpha[:, None], levels["x"].sigma[:, None]
            gain = alpha * self.deviation**2 / ((alpha * self.deviation) ** 2 + sigma**2)
            mean = share @ self.means
            belief["x"] = Mean(mean + gain * (state["x"] - alpha * mean))
        return belief

    def draw(self, count: int, seed: int = 0) -> State:
        """Clean samples."""
        generator = torch.Generator().manual_seed(seed)
        case = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        fields = {"c": self.classes[case]}
        if self.means is not None:
            noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
            fields["x"] = self.means[case] + self.deviation * noise
        return State(fields)


def sites(classes: int, count: int, pi: Tensor, seed: int = 0) -> Cases:
    """Classes at some sites that depend on one another, with a random weight for each way to fill them."""
    every = everything(classes, count)
    raw = torch.rand(len(every), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3 + f64(0.01)
    return Cases(raw / raw.sum(), every, pi, classes)
