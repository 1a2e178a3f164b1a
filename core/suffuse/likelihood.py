r"""How probable a model holds given data: exactly for real-valued and periodic fields, by a lower bound with classes.

**The probability flow.** Without noise, samples move from data to noise along an ordinary differential equation, and
the density changes by the divergence of its slope. In l = log(sigma / alpha) = -lambda and y = x / alpha it reads
``dy/dl = y - D`` for a Gaussian field with posterior mean D, whatever the schedule, and ``dx/dl = -T`` for a periodic
one with displacement T. A Gaussian field is moved in units of its own standard deviation, ``z = y / r`` with
``r^2 = scale^2 + e^(2 l)``, in which Gaussian data stand still:

    dz/dl = (scale^2 / r) z / r - D / r        log p(x_0) = log N(z_end; 0, 1) - n log r_start + int div(dz/dl) dl

with n degrees of freedom, (N - 1) d of a cloud without its centre. Several fields move together, each along its own
levels. Between two points of the grid the levels of all of them run straight in l, which is as exact as any other path
for an exact denoiser, because ``p(x at these levels)`` is the same whichever way the levels came there. Each step is
one of the classical fourth-order Runge-Kutta rule at fixed levels, so that a sample does not depend on its batch mates.

**The bound.** Classes move by jumps. With x_0 given, the reverse step q(x_s | x_t, x_0) is known for every field, and
what the model puts in its place is known, too, so that over a falling grid of clock times

    log p(x_0) >= -KL(q(x_1 | x_0) || prior) - sum_steps E KL(q(x_s | x_t, x_0) || p(x_s | x_t)) + reconstruction

bounds the joint log-likelihood of *all* fields, classes and numbers together (the logarithm of probability times
density), under the ancestral sampler on that grid. A Gaussian step is taken to draw with the variance of its own and of
what is not known of x_0, ``v = 1 / (scale^-2 + SNR_t)``, as is right for Gaussian data at any number of steps; with
``w = SNR_s - SNR_t`` it counts ``(n (log(1 + w v) + 1 / (1 + w v) - 1) + w / (1 + w v) |x_0 - D|^2) / 2``, and in many
steps, where w v vanishes, ``w / 2 |x_0 - D|^2``. The last one ends at the schedule's largest log-SNR, where
``N(x_0; y, e^(2 l))`` reconstructs. Periodic steps have no closed form; they count the integral of the bound in
continuous time, ``int |T - T(x_0)|^2 / sigma^2 dl``, by the trapezoidal rule, which is a bound in the limit of many
steps.

**What it is a likelihood of.** Both are densities in the units of the fields, as they stand at the schedule's largest
log-SNR: data sharper than that are not resolved, and data on a lattice (pixels of 256 values) have no density at all,
so that figures of two models are comparable at equal ``log_snr_max`` only. At the noisy end the state is taken to be
distributed as sampling begins, N(0, alpha^2 scale^2 + sigma^2) or even on the circle, which is what the model draws and
not quite what the data became. If their mean is m, the likelihood is too small by ``|m|^2 / (2 r_end^2)`` on average
(8e-5 nats for m = 1 under EDM's sigma of 80, 2e-5 under LinearBetaVP, 4e-7 under bounds of +-7), and off by about
``|m| / r_end`` either way for one sample (0.01, 0.007 and 0.001).

References:
    Chen et al. 2018, "Neural ordinary differential equations"; Grathwohl et al. 2019, "FFJORD" (trace); Song et al.
    2021, "Score-based generative modeling through stochastic differential equations", section 4.3; Kingma et al. 2021,
    "Variational diffusion models"; Austin et al. 2021, "Structured denoising diffusion models in discrete
    state-spaces".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from suffuse.denoiser import Denoise
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layouts import expand
from suffuse.posterior import Posterior, Statement
from suffuse.processes import Discrete, JointProcess, Level, WrappedGaussian
from suffuse.processes.wrapped import wrapped_score
from suffuse.sampling.grids import uniform, uniform_lambda
from suffuse.sampling.kernels import reverse
from suffuse.sampling.seeds import Seeds
from suffuse.spaces import Categorical, Torus
from suffuse.state import State
from suffuse.warps import Warped

__all__ = ["Likelihood", "bound", "exact", "log_likelihood"]


@dataclass(frozen=True)
class Likelihood:
    """Of each sample.

    Args:
        nats: its log-likelihood, or a lower bound of it, ``[B]`` in float64.
        dimension: its degrees of freedom over all fields that are not given, ``[B]``.
    """

    nats: Tensor
    dimension: Tensor

    @property
    def bits_per_dimension(self) -> Tensor:
        """``-nats / (dimension log 2)``, ``[B]``; smaller is better. Of densities it may be negative."""
        return -self.nats / (self.dimension * math.log(2))


def exact(process: JointProcess) -> bool:
    """Whether `log_likelihood` can be had: no field of classes moves."""
    return not any(isinstance(process.processes[name], Discrete) for name in _moving(process))


def log_likelihood(
    denoiser: Denoise,
    clean: State,
    process: JointProcess,
    *,
    condition: Mapping[str, Tensor] | None = None,
    steps: int = 32,
    probes: int = 0,
    kind: Literal["rademacher", "normal"] = "rademacher",
    seeds: Seeds | None = None,
) -> Likelihood:
    """The log-likelihood of samples without classes, by the probability flow.

    Args:
        denoiser: a `Denoiser`, or guidance around one (then of the model that it makes). One that was trained with
            self-conditioning is asked without an earlier belief, so that the flow is a function of the state.
        clean: the samples, with what is given in frozen fields. A field of varying size is conditional on its size.
        process: the corruption.
        condition: collated conditions; the likelihood is conditional on them.
        steps: of the Runge-Kutta rule, even in the log-SNR of the field that moves most; each takes four evaluations.
        probes: random directions for each evaluation of the divergence (Hutchinson's estimate, which is unbiased); 0 is
            the exact trace at one backward pass for each entry of a sample.
        kind: of the directions.
        seeds: of the directions.

    Raises:
        ConfigError: a field of classes, for which there is `bound`, or directions without seeds.
    """
    names = _moving(process)
    for name in names:
        if isinstance(process.processes[name], Discrete):
            raise ConfigError(f"likelihood: the field {name} is of classes, which have a bound and no exact likelihood")
    if probes and seeds is None:
        raise ConfigError("likelihood: random directions need seeds; probes=0 is the exact trace")
    flow = _Flow(denoiser, process, clean, condition, names)
    nodes = _nodes(process, names, _even(process, names, steps)[::-1])
    position = {name: flow.enter(name, clean[name], nodes[0][name]) for name in names}
    nats = torch.zeros(clean.batch_size, dtype=torch.float64, device=clean.device)
    for index, (start, end) in enumerate(zip(nodes, nodes[1:], strict=False)):
        span = {name: start[name] - end[name] for name in names}
        if not any(span.values()):
            continue
        middle = {name: (start[name] + end[name]) / 2 for name in names}
        tossed = [_directions(seeds, probes, kind, clean, names, f"probe {stage}", index) for stage in range(4)]
        first, one = flow.slope(position, start, span, tossed[0])
        second, two = flow.slope(_moved(position, first, 0.5), middle, span, tossed[1])
        third, three = flow.slope(_moved(position, second, 0.5), middle, span, tossed[2])
        fourth, four = flow.slope(_moved(position, third, 1.0), end, span, tossed[3])
        for name in names:
            position[name] = position[name] + (first[name] + 2 * second[name] + 2 * third[name] + fourth[name]) / 6
        nats += (one + 2 * two + 2 * three + four) / 6
    total = torch.zeros_like(nats)
    for name in names:
        spec = process.fields[name]
        count = spec.dimension(clean[name], clean.mask)
        total += count
        if isinstance(spec.space, Torus):
            nats -= count * math.log(spec.space.period)
        else:
            norm = spec.sum(position[name].double().square(), clean.mask)
            nats -= norm / 2 + count * (math.log(2 * math.pi) / 2 + math.log(_radius(spec, nodes[0][name])))
    return Likelihood(nats, total)


class _Flow:
    """The slope of the probability flow and its divergence."""

    def __init__(
        self,
        denoiser: Denoise,
        process: JointProcess,
        clean: State,
        condition: Mapping[str, Tensor] | None,
        names: Sequence[str],
    ) -> None:
        self.denoiser, self.process, self.clean, self.condition, self.names = denoiser, process, clean, condition, names
        at = torch.zeros(clean.batch_size, dtype=torch.float64)
        self.given = {
            name: process.level(name, at).to(clean.device, clean.dtype) for name in process.fields if name not in names
        }

    def enter(self, name: str, clean: Tensor, log_snr: float) -> Tensor:
        """The coordinate of the flow at the clean end."""
        spec = self.process.fields[name]
        return clean if isinstance(spec.space, Torus) else clean / _radius(spec, log_snr)

    def slope(
        self,
        position: Mapping[str, Tensor],
        log_snr: Mapping[str, float],
        span: Mapping[str, float],
        directions: Sequence[Mapping[str, Tensor]],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """How far each field moves over ``span`` of l, and the trace of its derivative over all fields, ``[B]``."""
        with torch.enable_grad():
            place = {name: value.detach().requires_grad_() for name, value in position.items()}
            moved = {name: span[name] * value for name, value in self._slope(place, log_snr).items()}
            trace = self._exact(moved, place) if not directions else self._estimate(moved, place, directions)
        return {name: value.detach() for name, value in moved.items()}, trace

    def _slope(self, place: Mapping[str, Tensor], log_snr: Mapping[str, float]) -> dict[str, Tensor]:
        fields, levels = dict(self.clean.fields), dict(self.given)
        for name, value in place.items():
            at = torch.tensor(log_snr[name], dtype=torch.float64)
            alpha, sigma = self.process.processes[name].schedule.alpha_sigma(at)
            whole = Level(alpha, sigma, at, math.exp(-log_snr[name])).to(value.device, self.clean.dtype)
            rows = [part.expand(self.clean.batch_size) for part in whole[:3]]
            levels[name] = Level(rows[0], rows[1], rows[2], whole.ratio)
            spec = self.process.fields[name]
            factor = 1.0 if isinstance(spec.space, Torus) else float(alpha) * _radius(spec, log_snr[name])
            fields[name] = factor * value
        belief = self.denoiser(State(fields, self.clean.mask), levels, self.condition)
        result = {}
        for name, value in place.items():
            spec = self.process.fields[name]
            if isinstance(spec.space, Torus):
                slope = -belief[name].value
            else:
                radius = _radius(spec, log_snr[name])
                slope = value * (spec.scale / radius) ** 2 - belief[name].estimate / radius
            result[name] = spec.tangent(slope, self.clean.mask)
        return result

    def _estimate(
        self, moved: Mapping[str, Tensor], place: Mapping[str, Tensor], directions: Sequence[Mapping[str, Tensor]]
    ) -> Tensor:
        """The mean of ``v . J v`` over the directions, by one backward pass for each."""
        total = torch.zeros(self.clean.batch_size, dtype=torch.float64, device=self.clean.device)
        names, places = list(place), list(place.values())
        for direction in directions:
            along = {
                name: self.process.fields[name].tangent(direction[name].to(place[name]), self.clean.mask)
                for name in names
            }
            dot = torch.stack([(moved[name] * along[name]).sum() for name in names]).sum()
            for name, slope in zip(names, _slopes(dot, places), strict=True):
                total += (slope * along[name]).flatten(1).double().sum(1)
        return total / len(directions)

    def _exact(self, moved: Mapping[str, Tensor], place: Mapping[str, Tensor]) -> Tensor:
        total = torch.zeros(self.clean.batch_size, dtype=torch.float64, device=self.clean.device)
        for name, value in moved.items():
            for entry, column in enumerate(value.flatten(1).unbind(1)):
                (slope,) = _slopes(column.sum(), [place[name]])
                total += slope.flatten(1)[:, entry].double()
        return total


@torch.no_grad()
def bound(
    denoiser: Denoise,
    clean: State,
    process: JointProcess,
    *,
    seeds: Seeds,
    condition: Mapping[str, Tensor] | None = None,
    steps: int = 64,
    draws: int | None = None,
) -> Likelihood:
    """A lower bound of the log-likelihood of samples of any fields; the formula is at the head of this file.

    It is an unbiased estimate of the bound: the noisy states are drawn, so that single samples may come out above it.

    Args:
        denoiser: a `Denoiser`, or guidance around one.
        clean: the samples, with what is given in frozen fields.
        process: the corruption.
        seeds: of the noise.
        condition: collated conditions; the bound is conditional on them.
        steps: of the grid, even in time for classes, in the log-SNR for real values, and half of each for both.
        draws: how many steps stand for all, one from each stretch of the grid and others for each sample; None takes
            every step.

    Raises:
        ConfigError: fewer than one step or draw.
    """
    if steps < 1 or (draws is not None and draws < 1):
        raise ConfigError(f"likelihood: at least one step and one draw are needed, not {steps} and {draws}")
    names, count = _moving(process), clean.batch_size
    times = torch.tensor(_grid(process, names, steps), dtype=torch.float64)
    intervals = len(times) - 1
    tables = {name: process.level(name, times) for name in names}
    nats = torch.zeros(count, dtype=torch.float64, device=clean.device)
    total = torch.zeros_like(nats)
    for name in names:
        total += process.fields[name].dimension(clean[name], clean.mask)
        nats += _ends(name, clean, process, tables[name])
    for draw in range(intervals if draws is None else draws):
        if draws is None:
            where = torch.full((count,), draw)
        else:
            share = (draw + 1 - seeds.at("bound step", draw).uniform("", (count,))) / draws
            where = (share * intervals).long().clamp_max(intervals - 1)
        levels = process.levels(times[where])
        told = {name: level.to(clean.device, clean.dtype) for name, level in levels.items()}
        noisy = process.corrupt(clean, told, seeds.at("bound", draw))
        belief = denoiser(noisy, told, condition)
        weight = 1.0 if draws is None else intervals / draws
        for name in names:
            nats -= weight * _divergence(name, belief, clean, noisy, where, tables[name], process)
    return Likelihood(nats, total)


def _divergence(
    name: str, belief: Posterior, clean: State, noisy: State, where: Tensor, table: Level, process: JointProcess
) -> Tensor:
    """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) of one field for the step ``where`` of each sample, ``[B]``."""
    spec, part = process.fields[name], process.processes[name]
    if isinstance(part, Discrete):
        return _of_classes(part, spec, belief[name], clean[name], noisy[name], where, table, clean.mask)
    log_snr = table.log_snr
    snr = torch.exp(2 * log_snr)
    if isinstance(part, WrappedGaussian):
        assert isinstance(spec.space, Torus)
        inner = (log_snr[1:] + log_snr[:-1]) / 2
        span = torch.cat([inner[:-1], log_snr[-1:]]) - torch.cat([log_snr[:1], inner[:-1]])
        sigma = expand(table.sigma[where].to(clean.device), clean[name])
        target = sigma**2 * wrapped_score(noisy[name] - clean[name], sigma, spec.space.period)
        off = spec.sum((belief[name].value.double() - target).square(), clean.mask)
        return (span * snr[:-1])[where].to(off) * off
    off = spec.sum((belief[name].estimate.double() - clean[name].double()).square(), clean.mask)
    gain, unknown = (snr[1:] - snr[:-1])[where].to(off), (1 / (spec.scale**-2 + snr))[where].to(off)
    grown = 1 + gain * unknown
    count = spec.dimension(clean[name], clean.mask)
    return (count * (grown.log() + 1 / grown - 1) + gain / grown * off) / 2


def _of_classes(
    process: Discrete,
    spec: Field,
    belief: Statement,
    clean: Tensor,
    noisy: Tensor,
    where: Tensor,
    table: Level,
    mask: Tensor | None,
) -> Tensor:
    """That of a field of classes. Rows are taken together where they share a step."""
    assert isinstance(spec.space, Categorical)
    pi = process.pi(clean.device)
    each = torch.zeros(clean.shape, dtype=torch.float64, device=clean.device)
    keeps: list[float] = table.alpha.tolist()
    for step in sorted(set(where.tolist())):
        rows = (where == step).nonzero()[:, 0].to(clean.device)
        truth = torch.nn.functional.one_hot(clean[rows], spec.space.num_classes).double()
        q, p = (
            reverse(known, noisy[rows], keeps[step], keeps[step + 1], pi)
            for known in (truth, belief.value[rows].double().exp())
        )
        q, p = q / q.sum(-1, keepdim=True), p / p.sum(-1, keepdim=True)
        each[rows] = torch.where(q > 0, q * (q.log() - p.log()), 0).sum(-1)
    return spec.sum(each, mask) / (2 if spec.space.symmetric else 1)


def _ends(name: str, clean: State, process: JointProcess, table: Level) -> Tensor:
    """Reconstruction minus the divergence of the noisy end from the prior, of one field, ``[B]``."""
    spec, part = process.fields[name], process.processes[name]
    value = clean[name]
    count = spec.dimension(value, clean.mask).double()
    alpha, sigma = float(table.alpha[0]), float(table.sigma[0])
    if isinstance(part, Discrete):  # the last step reconstructs
        pi = part.pi(value.device)
        truth = pi.new_zeros(*value.shape, len(pi)).scatter(-1, value.unsqueeze(-1), 1.0)
        q = alpha * truth + sigma * pi
        apart = torch.where(q > 0, q * (q.log() - pi.log()), 0).sum(-1)
        assert isinstance(spec.space, Categorical)
        return -spec.sum(apart, clean.mask) / (2 if spec.space.symmetric else 1)
    sharpest = math.exp(-float(table.log_snr[-1]))
    reconstruction = -count * math.log(2 * math.pi * math.e * sharpest**2) / 2
    if isinstance(spec.space, Torus):
        return reconstruction - count * _unevenness(sigma / spec.space.period)
    spread = (alpha * spec.scale) ** 2 + sigma**2
    signal = alpha**2 * spec.sum(value.double().square(), clean.mask)
    apart = (signal + count * sigma**2) / spread - count - count * math.log(sigma**2 / spread)
    return reconstruction - apart / 2


def _unevenness(ratio: float) -> float:
    """KL of a wrapped Gaussian of sigma = ``ratio`` periods from the even distribution, by the midpoint rule."""
    at = 2 * math.pi * (torch.arange(512, dtype=torch.float64) + 0.5) / 512
    order = torch.arange(1.0, 5.0, dtype=torch.float64)
    density = 1 + 2 * (torch.exp(-2 * (math.pi * order * ratio) ** 2) * torch.cos(order * at[:, None])).sum(1)
    return float((density * density.log()).mean())


def _moving(process: JointProcess) -> list[str]:
    """The fields that are not given."""
    return [name for name in process.fields if not process.frozen(name)]


def _nodes(process: JointProcess, names: Sequence[str], times: Sequence[float]) -> list[dict[str, float]]:
    """The log-SNR of each field at each of the times."""
    at = torch.tensor(times, dtype=torch.float64)
    columns = [process.level(name, at).log_snr.tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _grid(process: JointProcess, names: Sequence[str], steps: int) -> list[float]:
    """Falling clock times that suit the kinds of fields that move."""
    classes = [isinstance(process.processes[name], Discrete) for name in names]
    if all(classes):
        return uniform(steps, process.schedule)
    if not any(classes) or steps < 2:
        return _even(process, names, steps)
    numbers = [name for name, of_classes in zip(names, classes, strict=True) if not of_classes]
    both = {*uniform(steps // 2, process.schedule), *_even(process, numbers, steps - steps // 2)}
    return sorted(both, reverse=True)


def _even(process: JointProcess, names: Sequence[str], steps: int) -> list[float]:
    """Falling clock times between which the log-SNR of whichever field moves most changes as evenly as can be."""
    own = [Warped(process.processes[name].schedule, process.warp(name)) for name in names]
    times = {0.0, 1.0, *(time for each in own for time in uniform_lambda(64 * steps, each))}
    fine = torch.tensor(sorted(times), dtype=torch.float64)
    levels = torch.stack([process.level(name, fine).log_snr for name in names])
    travelled = torch.nn.functional.pad(levels.diff(dim=1).abs().amax(0), [1, 0]).cumsum(0)
    wanted = torch.linspace(0, 1, steps + 1, dtype=torch.float64) * travelled[-1]
    places = torch.searchsorted(travelled, wanted).clamp_max(len(fine) - 1)
    places[0], places[-1] = 0, len(fine) - 1
    return sorted({float(fine[place]) for place in places}, reverse=True)


def _radius(spec: Field, log_snr: float) -> float:
    """The standard deviation of y = x / alpha."""
    return math.hypot(spec.scale, math.exp(-log_snr))


def _slopes(value: Tensor, places: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Derivatives of a number; zero by what the network does not look at."""
    return torch.autograd.grad(value, places, retain_graph=True, allow_unused=True, materialize_grads=True)


def _directions(
    seeds: Seeds | None, probes: int, kind: str, clean: State, names: Sequence[str], purpose: str, step: int
) -> list[dict[str, Tensor]]:
    """Random directions of each field, others at each evaluation, so that their errors even out along the way."""
    if seeds is None:
        return []
    tossed = []
    for probe in range(probes):
        draws = seeds.at(f"{purpose} {probe}", step)
        normal = {name: draws.normal(name, tuple(clean[name].shape)) for name in names}
        tossed.append({name: each.sign() if kind == "rademacher" else each for name, each in normal.items()})
    return tossed


def _moved(position: Mapping[str, Tensor], move: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    return {name: value + share * move[name] for name, value in position.items()}
