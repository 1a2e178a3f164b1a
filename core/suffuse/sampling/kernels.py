"""How one field takes one planned stage, by kind of stage; a new kind registers its own with `advance.register`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from suffuse.fields import Field
from suffuse.posterior import Statement
from suffuse.processes import Discrete, Process
from suffuse.processes.discrete import draw
from suffuse.sampling.plan import Rest, Stage, Step, TokenStage, UnmaskStage
from suffuse.spaces import Categorical

__all__ = ["Site", "advance", "odds", "reverse"]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a stage acts.

    Args:
        field, process: what is moved, and how it was corrupted.
        value: the field as it stands, ``[B, ...]``.
        anchor: the field at the beginning of the step.
        mask: of the state.
    """

    field: Field
    process: Process
    value: Tensor
    anchor: Tensor
    mask: Tensor | None = None


@singledispatch
def advance(stage: Step, site: Site, history: Sequence[Statement], noise: Tensor | None) -> Tensor:
    """The field after a stage.

    Args:
        stage: the planned numbers; decides which kernel is used.
        site: the field before it.
        history: beliefs, the newest first.
        noise: standard noise of the field's shape, of the kind that its process takes, where the stage is random.
    """
    raise TypeError(f"no kernel is registered for {type(stage).__name__}")


@advance.register
def rest(stage: Rest, site: Site, history: Sequence[Statement], noise: Tensor | None) -> Tensor:
    """As it is."""
    return site.value


@advance.register
def linear(stage: Stage, site: Site, history: Sequence[Statement], noise: Tensor | None) -> Tensor:
    """The one formula of all real-valued and periodic samplers."""
    result = site.anchor * stage.base
    for weight, belief in zip(stage.means, history, strict=False):
        result.add_(belief.estimate, alpha=weight)
    if noise is not None:
        result.add_(site.field.tangent(noise, site.mask), alpha=stage.noise)
    return result


@advance.register
def tokens(stage: TokenStage, site: Site, history: Sequence[Statement], noise: Tensor | None) -> Tensor:
    """A draw from the posterior of the step, or upwards from q(x_s | x_t)."""
    assert isinstance(site.process, Discrete)
    assert noise is not None
    belief = history[0].value if history else None
    weights = odds(stage, site.value, belief, site.process.pi(site.value.device))
    return site.field.project(draw(weights, noise), site.mask)


@advance.register
def unmask(stage: UnmaskStage, site: Site, history: Sequence[Statement], noise: Tensor | None) -> Tensor:
    """The entries that stay masked are those whose drawn class has the least log-probability."""
    assert noise is not None
    field, space = site.field, site.field.space
    assert isinstance(space, Categorical)
    belief = _nucleus(history[0].value.double(), stage.top_p)
    belief = belief / belief.sum(-1, keepdim=True)
    token = draw(belief, noise)
    chosen, end = (part.gather(-1, token.unsqueeze(-1)).squeeze(-1) for part in (belief, belief.cumsum(-1)))
    # Where in the interval of its class the number fell is even in (0, 1) again.
    inside = ((end - noise) / chosen).clamp(1e-12, 1 - 1e-12)
    sure = chosen.log() - stage.temperature * torch.log(-torch.log(inside))
    masked = field.project(site.value, site.mask) == space.num_classes
    if space.symmetric:
        masked = masked.movedim((1, 2), (-2, -1)).triu(1).movedim((-2, -1), (1, 2))
    count = masked.flatten(1).sum(1, keepdim=True)
    staying = torch.round(count * stage.share)
    place = sure.masked_fill(~masked, torch.inf).flatten(1).argsort(1).argsort(1).view_as(masked)
    reveal = masked & (place.flatten(1) >= staying).view_as(masked)
    return field.project(torch.where(reveal, token, site.value), site.mask)


def odds(stage: TokenStage, token: Tensor, log_probs: Tensor | None, pi: Tensor) -> Tensor:
    """How likely each token is after a stage, up to a factor, ``[..., S]`` in float64.

    Args:
        token: x_t, ``[...]``.
        log_probs: of the clean classes, ``[..., K]``; not used on the way up.
        pi: the prior over the S tokens.
    """
    if stage.keep_to < stage.keep:
        return _blend(token, pi, stage.keep_to / stage.keep)
    assert log_probs is not None
    log_probs = log_probs.double()
    if stage.top_p < 1:  # among what is possible at all: a revealed token is the only class, however unlikely
        from_others = ((1 - stage.keep) * pi[token] > 0).unsqueeze(-1)
        same = token.unsqueeze(-1) == torch.arange(log_probs.shape[-1], device=token.device)
        log_probs = log_probs.masked_fill(~(from_others | same), -torch.inf)
    weights = reverse(_nucleus(log_probs, stage.top_p), token, stage.keep, stage.over, pi)
    if stage.over > stage.keep_to:
        back = stage.keep_to / stage.over
        weights = back * weights / weights.sum(-1, keepdim=True) + (1 - back) * pi
    return weights


def reverse(belief: Tensor, token: Tensor, keep: float, keep_to: float, pi: Tensor) -> Tensor:
    """``p(x_s | x_t)`` up to a factor, ``[..., S]``, by the formula at the head of `suffuse.sampling.tokens`.

    Args:
        belief: p over the clean classes, ``[..., K]`` in float64.
        token: x_t, ``[...]``.
        keep, keep_to: a_t and a_s.
        pi: the prior over the S tokens, S = K or K + 1.

    Where Z_i = 0 (a token that is no mask under the absorbing prior, or a_t = 1) class i is ruled out.
    """
    kept = keep / keep_to if keep_to > 0 else 1.0
    here = token.unsqueeze(-1)
    share = pi[token].unsqueeze(-1)
    other = (1 - keep) * share
    same = other + keep
    if len(pi) > belief.shape[-1]:
        belief = torch.nn.functional.pad(belief, [0, 1])
    ratio = torch.where(other > 0, belief / other, 0)
    ratio = ratio.scatter(-1, here, torch.where(same > 0, belief.gather(-1, here) / same, 0))
    inner = keep_to * ratio + (1 - keep_to) * ratio.sum(-1, keepdim=True) * pi
    return (inner * (1 - kept) * share).scatter(-1, here, inner.gather(-1, here) * ((1 - kept) * share + kept))


def _blend(token: Tensor, pi: Tensor, keep: float) -> Tensor:
    """``keep [j = token] + (1 - keep) pi_j``, ``[..., S]``."""
    weights = ((1 - keep) * pi).expand(*token.shape, -1).clone()
    return weights.scatter_add(-1, token.unsqueeze(-1), torch.full_like(weights[..., :1], keep))


def _nucleus(log_probs: Tensor, top_p: float) -> Tensor:
    """Probabilities, those outside the likeliest ``top_p`` set to zero."""
    probs = log_probs.exp()
    if top_p >= 1:
        return probs
    ranked, order = probs.sort(-1, descending=True)
    before = ranked.cumsum(-1) - ranked
    return torch.zeros_like(probs).scatter(
        -1, order, ranked.masked_fill(before >= top_p * ranked.sum(-1, keepdim=True), 0)
    )
