"""A number and a class that depend on each other, with the exact denoiser of both: c ~ p and x | c ~ N(m_c, s^2).

Both share one clock: x on the cosine schedule, c kept with the probability alpha^2, which is the squared cosine.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.special import ndtr

from suffuse.fields import Field
from suffuse.noise import Draws
from suffuse.posterior import LogProbs, Mean, Posterior
from suffuse.processes import Discrete, Gaussian, JointProcess, Level
from suffuse.sampling import Seeds, Solver, sample, uniform_lambda
from suffuse.schedules import Cosine, SquaredCosine
from suffuse.spaces import Categorical
from suffuse.state import State

__all__ = ["denoise", "distance", "exact", "walked"]

SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MEANS = torch.tensor([-2.0, 0.5, 2.5], dtype=torch.float64)
DEVIATION = 0.4
BINS = torch.linspace(-4, 4.5, 41, dtype=torch.float64)
START = 4.5
"""Walks begin at log-SNR -4.5 and make their last step from 4.5."""


def process() -> JointProcess:
    """Of both fields."""
    fields = {"x": Field(shape=()), "c": Field(shape=(), space=Categorical(len(SHARES)))}
    number = Gaussian(Cosine(log_snr_min=-START, log_snr_max=START))
    return JointProcess(fields, {"x": number, "c": Discrete(SquaredCosine(), (1 / 3,) * 3)})


def denoise(state: State, levels: Mapping[str, Level], condition: object = None, previous: object = None) -> Posterior:
    """What is known of both fields from both of them."""
    x, c = state["x"][:, None], state["c"]
    alpha, sigma = (part.double()[:, None] for part in levels["x"][:2])
    keep = levels["c"].alpha.double()[:, None]
    variance = (alpha * DEVIATION) ** 2 + sigma**2
    token = keep * (c[:, None] == torch.arange(len(SHARES))) + (1 - keep) / len(SHARES)
    log_share = SHARES.log() - (x - alpha * MEANS).square() / variance / 2 + token.log()
    mean = MEANS + alpha * DEVIATION**2 / variance * (x - alpha * MEANS)
    return {"x": Mean((log_share.softmax(1) * mean).sum(1)), "c": LogProbs.of(log_share)}


def exact(count: int, seed: int) -> State:
    """Draws of the data."""
    generator = torch.Generator().manual_seed(seed)
    c = torch.multinomial(SHARES, count, replacement=True, generator=generator)
    noise = torch.randn(count, generator=generator, dtype=torch.float64)
    return State({"x": MEANS[c] + DEVIATION * noise, "c": c})


def walked(solver: Solver, evaluations: int, count: int) -> State:
    """Samples by the public loop, from data with the noise of the first level, so that no prior errs."""
    joint = process()
    schedule = joint.schedule
    grid = uniform_lambda(solver.intervals(evaluations), schedule)
    levels = joint.levels(torch.full((count,), grid[0], dtype=torch.float64))
    start = joint.corrupt(exact(count, 0), levels, Draws(1, "start", range(count)))
    return sample(denoise, start, grid, solver, process=joint, seeds=Seeds(2, range(count)))


def distance(made: State) -> float:
    """Total variation between the samples and the data, over the classes and 40 bins of x."""
    edges = [torch.as_tensor(ndtr(((BINS - mean) / DEVIATION).numpy())).diff() for mean in MEANS]
    truth = SHARES[:, None] * torch.stack(edges)
    place = torch.bucketize(made["x"], BINS) - 1
    inside = (place >= 0) & (place < len(BINS) - 1)
    cells = made["c"][inside] * (len(BINS) - 1) + place[inside]
    found = torch.bincount(cells, minlength=truth.numel()).reshape(truth.shape) / len(place)
    return float((found - truth).abs().sum()) / 2
