"""Where a sampler stops on its way from noise to data.

A grid is a falling list of times u on the common clock, from the noisiest level to 0, the clean state; with n steps it
has n + 1 entries. Grids that are even in noise level rather than in time are built on the schedule of one field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from suffuse.errors import ConfigError
from suffuse.schedules import Schedule

__all__ = ["Resample", "check", "cosine", "explicit", "karras", "uniform", "uniform_lambda"]


def uniform(steps: int, schedule: Schedule, *, start: float = 1.0) -> list[float]:
    """Even in the clock's time."""
    _check_start(start)
    return [start * (steps - i) / steps for i in range(steps + 1)]


def cosine(steps: int, schedule: Schedule, *, start: float = 1.0) -> list[float]:
    """Denser towards the data, ``u = start (1 - cos(pi/2 (1 - i/n)))``."""
    _check_start(start)
    return [start * (1 - math.cos(math.pi / 2 * (1 - i / steps))) for i in range(steps + 1)]


def karras(
    steps: int, schedule: Schedule, *, start: float = 1.0, rho: float = 7.0, sigma_max: float | None = None
) -> list[float]:
    """Even in ``(sigma / alpha)^(1/rho)``, down to the schedule's smallest level, then clean.

    Args:
        rho: curvature; 7 is the paper's choice.
        sigma_max: begin at this sigma / alpha in place of the schedule's own; more suits a network than a large one.

    References:
        Karras et al. 2022, equation 5.
    """
    if rho <= 0:
        raise ConfigError(f"sampler.grid.rho={rho}: must be positive")
    high, low = _ends(schedule, start)
    if sigma_max is not None:
        if sigma_max <= 0:
            raise ConfigError(f"sampler.grid.sigma_max={sigma_max}: must be positive")
        high = max(high, -math.log(sigma_max))
    a, b = math.exp(-high / rho), math.exp(-low / rho)
    return _from_log_snr([-rho * math.log(a + (b - a) * _share(i, steps)) for i in range(steps)], schedule)


def uniform_lambda(steps: int, schedule: Schedule, *, start: float = 1.0) -> list[float]:
    """Even in the log-SNR, down to the schedule's smallest level, then clean."""
    high, low = _ends(schedule, start)
    return _from_log_snr([high + (low - high) * _share(i, steps) for i in range(steps)], schedule)


def explicit(steps: int, schedule: Schedule, *, times: Sequence[float], start: float = 1.0) -> list[float]:
    """The given times u themselves; the final 0 may be left out.

    Raises:
        ConfigError: they are not as many as there are steps.
    """
    _check_start(start)
    inner = [float(t) for t in times if t != 0]
    if len(inner) != steps:
        raise ConfigError(f"sampler.grid.times: {len(inner)} times above 0 for {steps} steps of the solver")
    if start < 1:
        inner = [start, *(t for t in inner if t < start)]
    return [*inner, 0.0]


@dataclass(frozen=True)
class Resample:
    """Going back to noise on the way down and down again, so that made and given parts come to agree.

    Args:
        jump: how many steps are gone back at once.
        repeats: how often each stretch of so many steps is walked in all; 1 changes nothing.

    References:
        Lugmayr et al. 2022, "RePaint".
    """

    jump: int = 10
    repeats: int = 1

    def __post_init__(self) -> None:
        for name, value in (("jump", self.jump), ("repeats", self.repeats)):
            if value < 1:
                raise ConfigError(f"resample.{name}={value}: must be at least 1")

    def runs(self, grid: Sequence[float]) -> list[Sequence[float]]:
        """The falling pieces of the walk; between two of them lies the way back up. The last step is taken once."""
        pieces: list[Sequence[float]] = [[grid[0]]]
        for at in range(0, len(grid) - 2, self.jump):
            stretch = grid[at : min(at + self.jump + 1, len(grid) - 1)]
            pieces[-1] = [*pieces[-1], *stretch[1:]]
            pieces += [stretch] * (self.repeats - 1)
        pieces[-1] = [*pieces[-1], grid[-1]]
        return pieces


def check(grid: Sequence[float]) -> None:
    """
    Raises:
        ConfigError: the grid does not fall from at most 1 to 0.
    """
    if len(grid) < 2 or not 0 < grid[0] <= 1 or grid[-1] != 0:
        raise ConfigError(f"sampler.grid: needs falling times from at most 1 down to 0, not {_short(grid)}")
    for earlier, later in zip(grid, grid[1:], strict=False):
        if not later < earlier:
            raise ConfigError(
                f"sampler.grid: must fall, but {later:g} follows {earlier:g}; take fewer steps or another grid"
            )


def _check_start(start: float) -> None:
    if not 0 < start <= 1:
        raise ConfigError(f"sampler.grid: start={start}: must lie above 0 (clean) and at most at 1 (pure noise)")


def _share(index: int, steps: int) -> float:
    return index / (steps - 1) if steps > 1 else 0.0


def _ends(schedule: Schedule, start: float) -> tuple[float, float]:
    _check_start(start)
    high = float(schedule.log_snr(torch.tensor(start, dtype=torch.float64)))
    return high, schedule.log_snr_max


def _from_log_snr(levels: Sequence[float], schedule: Schedule) -> list[float]:
    times: list[float] = schedule.time(torch.tensor(levels, dtype=torch.float64)).clamp(0, 1).tolist()
    times[-1] = max(times[-1], 1e-12)  # EDM's smallest level lies at t = 0, and is one step before the clean state
    return [*times, 0.0]


def _short(grid: Sequence[float]) -> str:
    shown = ", ".join(f"{t:g}" for t in grid[:6])
    return f"[{shown}{', …' if len(grid) > 6 else ''}]"
