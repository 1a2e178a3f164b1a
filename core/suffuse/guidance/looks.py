r"""A belief that can be pushed: how its estimates move when something is known of them beside the noisy state.

With a likelihood p(y | x_0), Tweedie's formula gives the posterior mean E[x_0 | x_t, y] = D + (sigma^2 / alpha) grad_x
log p(y | x_t). Where the likelihood is taken at the estimate D(x_t) this is

    D + C g        g = grad_D log p(y | D)        C = (sigma^2 / alpha) dD/dx_t = Cov[x_0 | x_t]

so that all gradient guidance needs is a push g on the estimates and the covariance C as a linear map. It is asked of
the network by its own derivative or, at no cost, taken as that of a Gaussian of the field's scale:
C = sigma^2 s^2 / (alpha^2 s^2 + sigma^2). On a periodic field the same holds for the displacement. A class belief p has
probabilities as its estimate, and a push is added to its log-probabilities, which changes p by (diag(p) - p p^T) g.

A push is followed only as far as it goes uphill: ``t C g`` with t = (g C g) / (g C g - h), where h <= 0 is the second
derivative of log p(y | .) along C g. That is the top of the parabola, and the exact mean for a normal likelihood of one
number; a straight likelihood has t = 1. Without it a strict one would overshoot.

References:
    Efron 2011, "Tweedie's formula and selection bias"; Chung et al. 2023, "Diffusion posterior sampling for general
    noisy inverse problems"; Boys et al. 2023, "Tweedie moment projected diffusions for inverse problems".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from suffuse.fields import Field
from suffuse.guidance.wrapper import Guidable
from suffuse.posterior import LogProbs, Mean, Posterior, Statement, Tangent
from suffuse.processes import Level
from suffuse.spaces import Categorical, Torus
from suffuse.state import State

__all__ = ["Look", "Route", "estimates"]

Route: TypeAlias = Literal["network", "estimate"]
"""Whose derivative makes the covariance: that of the network, or that of a Gaussian of the field's scale."""


@dataclass(frozen=True, eq=False)
class Look:
    """One evaluation of a denoiser, with its estimates ready to be differentiated by.

    Args:
        fields: what is diffused.
        noisy: what the denoiser saw.
        levels: how noisy it was.
        belief: what it answered.
        estimate: of the clean state: means, periodic values and class probabilities ``[..., K]``, with given fields as
            they are. Its tensors are leaves that take gradients.
        linked: the same estimates as functions of ``noisy``; empty where the covariance is not the network's.
        nested: whether somebody outside differentiates through the belief too, so that its graph has to be kept.
    """

    fields: Mapping[str, Field]
    noisy: State
    levels: Mapping[str, Level]
    belief: Posterior
    estimate: State
    linked: Mapping[str, Tensor]
    nested: bool

    @classmethod
    def at(
        cls,
        denoiser: Guidable,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None,
        previous: Posterior | None,
        route: Route,
    ) -> Look:
        """Ask the denoiser, under `torch.enable_grad` where its derivative is wanted."""
        if not any(value.is_floating_point() for value in state.values()):
            route = "estimate"  # nothing can be differentiated by classes
        nested = torch.is_grad_enabled() and any(value.requires_grad for value in state.values())
        with torch.enable_grad() if route == "network" else nullcontext():
            if route == "network":
                state = state.replace(**{name: _open(value) for name, value in state.items()})
            belief = denoiser(state, levels, condition, previous)
            clean = estimates(belief, denoiser.fields, state.mask)
        leaves = {name: part.detach().requires_grad_() for name, part in clean.items()}
        given = {name: value.detach() for name, value in state.items() if name not in leaves}
        linked = {name: part for name, part in clean.items() if part.requires_grad} if route == "network" else {}
        return cls(denoiser.fields, state, levels, belief, State({**given, **leaves}, state.mask), linked, nested)

    def gradient(self, value: Tensor, weight: Tensor | None = None) -> dict[str, Tensor]:
        """The derivative of ``value`` (weighted) by each estimate; of undirected pairs that by both halves at once."""
        names = list(self.belief)
        leaves = [self.estimate[name] for name in names]
        parts = torch.autograd.grad(value, leaves, weight, retain_graph=True, allow_unused=True)
        pushes = {}
        for name, leaf, part in zip(names, leaves, parts, strict=True):
            space = self.fields[name].space
            push = torch.zeros_like(leaf) if part is None else part
            pushes[name] = push + push.transpose(1, 2) if isinstance(space, Categorical) and space.symmetric else push
        return pushes

    def covariance(self, push: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``C g``: how the estimates change under a push."""
        slopes = self._slopes(push)
        change = {}
        for name, part in self.belief.items():
            field = self.fields[name]
            if isinstance(part, LogProbs):
                shares = self.estimate[name].detach()
                change[name] = shares * (push[name] - (shares * push[name]).sum(-1, keepdim=True))
                continue
            alpha, sigma = self.levels[name].like(part.value)
            if name in slopes:
                moved = sigma**2 / alpha * slopes[name]
            else:
                spread = field.space.period / math.sqrt(12) if isinstance(field.space, Torus) else field.scale
                moved = sigma**2 / (alpha**2 + sigma**2 / spread**2) * push[name]
            change[name] = field.tangent(moved, self.noisy.mask)
        return change

    def bend(self, value: Tensor, change: Mapping[str, Tensor]) -> Tensor:
        """The second derivative of ``value`` ``[B]`` along a change of the estimates, ``[B]``; 0 if it is straight."""
        names = list(change)
        leaves = [self.estimate[name] for name in names]
        with torch.enable_grad():
            slopes = torch.autograd.grad(value.sum(), leaves, create_graph=True, allow_unused=True)
        bent = [(slope, change[n]) for n, slope in zip(names, slopes, strict=True) if slope is not None]
        bent = [pair for pair in bent if pair[0].requires_grad]
        total = torch.zeros_like(value)
        if bent:
            ends, ways = zip(*bent, strict=True)
            second = torch.autograd.grad(ends, leaves, ways, retain_graph=True, allow_unused=True)
            for name, part in zip(names, second, strict=True):
                if part is not None:
                    total = total + (part * change[name]).flatten(1).sum(1)
        return total

    def along(self, push: Mapping[str, Tensor], change: Mapping[str, Tensor]) -> Tensor:
        """``g^T C g`` of each sample, ``[B]``; an undirected pair counts once."""
        total = torch.zeros(self.noisy.batch_size, dtype=self.noisy.dtype, device=self.noisy.device)
        for name, part in push.items():
            space = self.fields[name].space
            share = 0.5 if isinstance(space, Categorical) and space.symmetric else 1.0
            total = total + share * (part * change[name]).flatten(1).sum(1)
        return total

    def moved(self, push: Mapping[str, Tensor], change: Mapping[str, Tensor]) -> Posterior:
        """The belief after a push, given ``C g`` as well. Both count as constants for whoever differentiates on."""
        return {name: self._moved(name, part, push[name], change[name]) for name, part in self.belief.items()}

    def _moved(self, name: str, part: Statement, push: Tensor, change: Tensor) -> Statement:
        value = part.value if self.nested else part.value.detach()
        if isinstance(part, LogProbs):
            real = self.fields[name].layout.mask(push, self.noisy.mask)
            return LogProbs.of(value + (push if real is None else push.masked_fill(~real, 0)))
        if isinstance(part, Tangent):
            return Tangent(value + change, part.point if self.nested else part.point.detach())
        return Mean(value + change)

    def _slopes(self, push: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The derivative of the pushed estimates by each noisy real-valued field, through the network."""
        names = [name for name, part in self.belief.items() if not isinstance(part, LogProbs)]
        ends = list(self.linked)
        if not names or not ends:
            return {}
        slopes = torch.autograd.grad(
            [self.linked[name] for name in ends],
            [self.noisy[name] for name in names],
            [push[name] for name in ends],
            retain_graph=True,
            allow_unused=True,
        )
        return {
            name: torch.zeros_like(self.noisy[name]) if slope is None else slope
            for name, slope in zip(names, slopes, strict=True)
        }


def _open(value: Tensor) -> Tensor:
    """A noisy field by which one can differentiate; one that already belongs to a graph stays in it."""
    return value if value.requires_grad or not value.is_floating_point() else value.detach().requires_grad_()


def estimates(belief: Posterior, fields: Mapping[str, Field], mask: Tensor | None) -> dict[str, Tensor]:
    """Of the clean state, by field: means, periodic values, class probabilities ``[..., K]``."""
    return {name: _estimate(part, fields[name], mask) for name, part in belief.items()}


def _estimate(part: Statement, field: Field, mask: Tensor | None) -> Tensor:
    if isinstance(part, LogProbs):
        return part.value.exp()
    return field.project(part.estimate, mask) if isinstance(part, Tangent) else part.estimate
