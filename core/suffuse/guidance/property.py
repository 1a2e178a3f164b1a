"""Guidance by the gradient of a predictor that looks at what the denoiser believes of the clean state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.guidance.classifier_free import ClassifierFree
from suffuse.guidance.looks import Look, Route
from suffuse.guidance.passes import check_interval, check_scale, inside
from suffuse.guidance.wrapper import Guidable, Wrapper
from suffuse.layouts import expand
from suffuse.posterior import Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["Predictor", "PropertyGuidance", "property_guidance"]


class Predictor(Protocol):
    """How well a clean state has the property that is wanted."""

    def __call__(self, estimate: State, condition: Mapping[str, Tensor] | None) -> Tensor:
        """
        Args:
            estimate: the estimated clean state: means, periodic values, class probabilities ``[..., K]``.
            condition: what the samples are asked for, collated.

        Returns:
            log p(property | estimate), up to a constant, for each sample ``[B]``; differentiable by the estimate.
        """
        ...


@dataclass(frozen=True)
class PropertyGuidance(Wrapper):
    """``D + t C g`` with ``g = scale grad_D log p(y | D)``, t and C as in `suffuse.guidance.looks`; log-probabilities
    of classes move by ``t g``.

    For Gaussian data it is the exact posterior where log p(y | x_0) is linear, or normal in one linear number; so too
    for independent classes where it adds over the entries. Elsewhere it is an approximation that gets better as the
    noise falls.

    Args:
        denoiser: what is guided.
        predictor: trained on clean samples, or a formula; twice differentiable.
        scale: 1 is Bayes' rule, more insists; 0 leaves the model alone.
        route: ``network`` takes C, how an estimate moves when it is pushed, from the derivative of the denoiser, at
            about twice the cost of a step; ``estimate`` takes it as that of a Gaussian of the field's scale.
        interval: (low, high) in sigma / alpha; outside it the predictor is not asked. None: everywhere.

    References:
        Dhariwal and Nichol 2021, "Diffusion models beat GANs on image synthesis" (classifiers of noisy states); Bansal
        et al. 2023, "Universal guidance for diffusion models" (predictors of clean ones).
    """

    predictor: Predictor
    scale: float = 1.0
    route: Route = "network"
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_scale(self.scale)
        check_interval(self.interval)

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        if self.scale == 0 or not inside(self.interval, levels):
            return self.denoiser(state, levels, condition, previous)
        look = Look.at(self.denoiser, state, levels, condition, previous, self.route)
        with torch.enable_grad():
            value = self.scale * self.predictor(look.estimate, condition)
        if value.shape != (state.batch_size,):
            raise ConfigError(
                f"guidance.predictor: gave {list(value.shape)} for {state.batch_size} samples; each needs one number"
            )
        push = look.gradient(value, torch.ones_like(value))
        change = look.covariance(push)
        along = look.along(push, change)
        # The derivative of a network is only nearly a covariance: where a push does not go uphill it is not followed.
        length = torch.where(along > 0, along / (along - look.bend(value, change).clamp_max(0)), 0)
        return look.moved(*({n: expand(length, v) * v for n, v in parts.items()} for parts in (push, change)))


def property_guidance(
    denoiser: Guidable,
    build: Callable[..., Predictor],
    *,
    predictor: dict[str, Any],
    scale: float = 1.0,
    route: Route = "network",
    interval: tuple[float, float] | None = None,
    classifier_free: float = 1.0,
) -> PropertyGuidance:
    """`PropertyGuidance` by a predictor that is a registered component.

    Args:
        build: (kind, settings, arguments) to the component.
        predictor: its ``name`` and settings; it is called with the fields.
        classifier_free: the scale of classifier-free guidance inside; 1 is none.
    """
    made = build("predictor", predictor, denoiser.fields)
    inner = denoiser if classifier_free == 1 else ClassifierFree(denoiser, classifier_free)
    return PropertyGuidance(inner, made, scale, route, interval)
