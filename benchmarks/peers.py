"""The samplers of four libraries as functions of one kind, so that all of them walk the same grid from the same points.

Each library is used through its own public loop, in its own scale of x, with its own defaults: suffuse by `sample`,
k-diffusion by its ``sample_*`` functions, azula by its samplers, and the schedulers of diffusers by the calls that its
pipelines make, with their table of noise levels exchanged for the grid.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from benchmarks.harness import Skipped
from suffuse.fields import Field
from suffuse.posterior import Mean
from suffuse.processes import Gaussian, JointProcess, Level
from suffuse.sampling import Hook, Seeds, Solver, sample
from suffuse.sampling.hooks import Moment
from suffuse.schedules import EDM, RectifiedFlow, Schedule
from suffuse.state import State

__all__ = ["PACKAGES", "Walk", "along", "azula", "ddim", "k_diffusion", "ours", "scheduler", "versions"]

Denoise: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(y, u) -> E[x_0], with y = x / alpha ``[B, ...]`` and the ratio u = sigma / alpha, one number for all."""

Walk: TypeAlias = Callable[[Denoise, Sequence[float], Tensor], Tensor]
"""(denoise, ratios, y) -> y at the last of the falling ratios, from y at the first; the last may be 0, clean."""

PACKAGES = ("diffusers", "k-diffusion", "azula")


def versions() -> dict[str, str]:
    """Of the other libraries.

    Raises:
        Skipped: one of them is not installed.
    """
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError as error:
            raise Skipped(f"{name} is not installed: see benchmarks/README.md") from error
    return found


def k_diffusion() -> Any:
    """``k_diffusion.sampling``, without the head of its package, which imports metrics of images and what they need."""
    if "k_diffusion" not in sys.modules:
        found = importlib.util.find_spec("k_diffusion")
        assert found is not None
        package = types.ModuleType("k_diffusion")
        package.__path__ = list(found.submodule_search_locations or ())
        sys.modules["k_diffusion"] = package
    return importlib.import_module("k_diffusion.sampling")


class _Remember(Hook):
    """The field ``x`` before the last move."""

    value: Tensor

    def after_step(self, state: State, moment: Moment) -> State:
        if moment.index == moment.count - 2:
            self.value = state["x"]
        return state


def ours(solver: Solver, scale: Literal["exploding", "flow"] = "exploding") -> Walk:
    """A walk of `suffuse.sampling.sample`; one that ends before the clean state is left before its last move."""

    def walk(denoise: Denoise, ratios: Sequence[float], y: Tensor) -> Tensor:
        noisy = [ratio for ratio in ratios if ratio > 0]
        bounds = -math.log(noisy[0]), -math.log(noisy[-1] / 2)
        schedule: Schedule = (
            EDM(sigma_min=math.exp(-bounds[1]), sigma_max=noisy[0])
            if scale == "exploding"
            else RectifiedFlow(log_snr_min=bounds[0], log_snr_max=bounds[1])
        )
        process = JointProcess({"x": Field(shape=y.shape[1:])}, {"x": Gaussian(schedule)})
        levels = -torch.tensor(noisy, dtype=torch.float64).log()
        grid = [*schedule.time(levels).clamp(0, 1).tolist(), 0.0]

        def denoiser(
            state: State, levels: Mapping[str, Level], condition: object = None, previous: object = None
        ) -> dict[str, Mean]:
            alpha, sigma = levels["x"].alpha[0], levels["x"].sigma[0]
            return {"x": Mean(denoise(state["x"] / alpha, sigma / alpha))}

        alpha = schedule.alpha_sigma(levels)[0]
        before, seeds = _Remember(), Seeds(0, range(len(y)))
        start = State({"x": alpha[0] * y})
        hooks = [] if ratios[-1] == 0 else [before]
        end = sample(denoiser, start, grid, solver, process=process, seeds=seeds, hooks=hooks)
        return before.value / alpha[-1] if hooks else end["x"]

    return walk


_SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "exploding": torch.ones_like,
    "preserving": lambda ratio: (1 + ratio**2).rsqrt(),
    "flow": lambda ratio: 1 / (1 + ratio),
}
"""alpha for sigma / alpha."""


def scheduler(
    name: str,
    scale: Literal["exploding", "preserving", "flow"],
    output: Literal["epsilon", "sample", "velocity"],
    stages: Literal["one", "ends", "middle"] = "one",
    **settings: Any,
) -> Walk:
    """A walk of a scheduler of diffusers.

    Args:
        name: of its class.
        scale: of x in its formulas.
        output: what it is given for the network's.
        stages: evaluations of a step: at its start, at both of its ends, or at its start and half way in the log-SNR.
        settings: of the class.
    """
    diffusers = importlib.import_module("diffusers")
    if output != "velocity":
        settings |= {"beta_schedule": "linear", "prediction_type": output}

    def walk(denoise: Denoise, ratios: Sequence[float], y: Tensor) -> Tensor:
        final = {"final_sigmas_type": "zero" if ratios[-1] == 0 else "sigma_min"} if scale == "preserving" else {}
        made = getattr(diffusers, name)(**settings, **final)
        visited = torch.tensor(_visited(ratios, stages), dtype=torch.float64)
        made.set_timesteps(len(visited) - 1)
        made.sigmas = visited / (1 + visited) if scale == "flow" else visited
        made.timesteps = torch.arange(len(visited) - 1.0)
        made.set_begin_index(0)
        alpha = _SCALES[scale](visited)
        x = alpha[0] * y
        for place, at in enumerate(made.timesteps):
            now, ratio = x / alpha[place], visited[place]
            if hasattr(made, "scale_model_input"):
                made.scale_model_input(x, at)
            believed = denoise(now, ratio)
            noise = (now - believed) / ratio
            told = {"sample": believed, "epsilon": noise, "velocity": noise - believed}[output]
            x = made.step(told, at, x).prev_sample.to(y)
        return x / alpha[-1]

    return walk


def _visited(ratios: Sequence[float], stages: str) -> list[float]:
    """Where the evaluations of a walk lie, and its end; a step to the clean state has one."""
    visited = [ratios[0]]
    for at, to in zip(ratios, ratios[1:], strict=False):
        if stages == "middle" and to > 0:
            visited.append(math.sqrt(at * to))
        visited += [to, to] if stages == "ends" and to > 0 else [to]
    return visited


def ddim(eta: float = 0.0) -> Walk:
    """A walk of the DDIMScheduler of diffusers, whose table of signal is exchanged for the grid; it ends clean."""
    diffusers: Any = importlib.import_module("diffusers")

    def walk(denoise: Denoise, ratios: Sequence[float], y: Tensor) -> Tensor:
        noisy = torch.tensor(ratios[:-1], dtype=torch.float64)
        made = diffusers.DDIMScheduler(
            num_train_timesteps=len(noisy), beta_schedule="linear", prediction_type="sample", clip_sample=False
        )
        made.set_timesteps(len(noisy))
        made.alphas_cumprod = (1 / (1 + noisy**2)).flip(0)
        alpha = made.alphas_cumprod.sqrt().flip(0)
        x: Tensor = alpha[0] * y
        generator = torch.Generator().manual_seed(0) if eta else None
        for place, at in enumerate(made.timesteps):
            believed = denoise(x / alpha[place], noisy[place])
            x = made.step(believed, at, x, eta=eta, generator=generator).prev_sample
        return x

    return walk


def along(name: str, *, noise: bool = False, **settings: Any) -> Walk:
    """A walk of a function of ``k_diffusion.sampling``; with ``noise`` it is given plain normal numbers."""
    function = getattr(k_diffusion(), name)

    def walk(denoise: Denoise, ratios: Sequence[float], y: Tensor) -> Tensor:
        sigmas = torch.tensor(ratios, dtype=y.dtype)
        fresh = {"noise_sampler": lambda at, to: torch.randn_like(y)} if noise else {}
        made: Tensor = function(lambda x, sigma: denoise(x, sigma[0]), y, sigmas, disable=True, **settings, **fresh)
        return made

    return walk


def azula(name: str, **settings: Any) -> Walk:
    """A walk of a sampler of azula.

    The last step to the clean state is its DDIMSampler's: most of its rules cannot take it, since they need the
    logarithm of sigma or divide by it.
    """
    denoising, noise, samplers = (importlib.import_module(f"azula.{part}") for part in ("denoise", "noise", "sample"))

    class Ratio(noise.Schedule):  # type: ignore[misc, name-defined]
        """The time is the ratio itself."""

        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            return torch.ones_like(t), t

    class Known(denoising.Denoiser):  # type: ignore[misc, name-defined]
        def __init__(self, denoise: Denoise) -> None:
            super().__init__()
            self.schedule, self.denoise = Ratio(), denoise

        def forward(self, x_t: Tensor, t: Tensor) -> Any:
            return denoising.DiracPosterior(self.denoise(x_t, t))

    def run(kind: type, known: Known, ratios: Sequence[float], y: Tensor, **settings: Any) -> Tensor:
        grid = torch.tensor(ratios, dtype=y.dtype)
        given = type(kind.__name__, (kind,), {"timesteps": property(lambda self: grid)})
        made: Tensor = given(known, silent=True, **settings)(y)
        return made

    def walk(denoise: Denoise, ratios: Sequence[float], y: Tensor) -> Tensor:
        known, noisy = Known(denoise), [ratio for ratio in ratios if ratio > 0]
        y = run(getattr(samplers, name), known, noisy, y, **settings)
        return run(samplers.DDIMSampler, known, ratios[-2:], y) if ratios[-1] == 0 else y

    return walk
