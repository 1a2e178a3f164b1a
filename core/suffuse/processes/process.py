"""The contract of a corruption: its marginal, its prior, its noise level. How to undo it belongs to the kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from suffuse.fields import Field
from suffuse.layouts import expand
from suffuse.posterior import Statement
from suffuse.schedules import Schedule
from suffuse.state import sent

__all__ = ["Level", "Process"]


class Level(NamedTuple):
    """How noisy a field is, for each sample ``[B]`` or each element ``[B, N]``.

    Of a real-valued field ``x = alpha x_0 + sigma eps``; of a categorical one an entry is still the clean one with
    probability alpha = 1 - sigma. ``log_snr`` is log(alpha / sigma) within the bounds of the schedule, which is what
    networks see. ``ratio`` is sigma / alpha as a plain number where all samples share it and the field is not given,
    so that guidance can decide by noise level without asking the device.
    """

    alpha: Tensor
    sigma: Tensor
    log_snr: Tensor
    ratio: float | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Level:
        """The function applied to every tensor."""
        return Level(function(self.alpha), function(self.sigma), function(self.log_snr), self.ratio)

    def to(self, device: torch.device, dtype: torch.dtype) -> Level:
        """The tensors in another place and precision."""
        return self.map(lambda part: sent(part.to(dtype), device))

    def like(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma broadcast against a field."""
        return expand(self.alpha, value), expand(self.sigma, value)

    def repeat(self, times: int) -> Level:
        """That of the samples several times over, one round after another."""
        return self.map(lambda part: torch.cat([part] * times))

    def where(self, chosen: Tensor, other: Level) -> Level:
        """``other`` where ``chosen`` (``[B]`` or ``[B, N]`` of bool) is true, this level elsewhere."""
        pairs = zip((self.alpha, self.sigma, self.log_snr), (other.alpha, other.sigma, other.log_snr), strict=True)
        parts = [torch.where(chosen, expand(theirs.to(mine), chosen), expand(mine, chosen)) for mine, theirs in pairs]
        return Level(parts[0], parts[1], parts[2], self.ratio)


class Process(ABC):
    """The corruption of one field."""

    schedule: Schedule
    """From time to the noise level."""

    noise: ClassVar[Literal["normal", "uniform"]] = "normal"
    """The standard noise that `corrupt` and `begin` are given: N(0, 1), or even in (0, 1] as float64."""

    weighted: ClassVar[bool] = False
    """Whether `error` is a squared error in units of x_0, which training weighs by the noise level."""

    def level(self, time: Tensor) -> Level:
        """The noise level at a time in [0, 1], of any shape; time 0 is the clean state itself, sigma = 0."""
        # In float64: near t = 1 the log-SNR of float32 times is good to two digits only.
        exact = time.double()
        log_snr = self.schedule.log_snr(exact)
        alpha, sigma = self.schedule.alpha_sigma(self._exact(exact, log_snr))
        clean = exact <= 0
        alpha, sigma = alpha.masked_fill(clean, 1), sigma.masked_fill(clean, 0)
        return Level(alpha.to(time.dtype), sigma.to(time.dtype), log_snr.to(time.dtype))

    def _exact(self, time: Tensor, log_snr: Tensor) -> Tensor:
        """The log-SNR that the corruption itself uses; ``log_snr`` is what networks see."""
        return log_snr

    @abstractmethod
    def corrupt(self, clean: Tensor, level: Level, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        """A draw of p(x_t | x_0) made from standard ``noise``."""

    @abstractmethod
    def begin(self, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        """A draw of the distribution that sampling starts from, made from standard ``noise``."""

    @abstractmethod
    def error(self, belief: Statement, clean: Tensor, noisy: Tensor, level: Level, field: Field) -> Tensor:
        """How far a statement about the clean value is off, for each entry of the field ``[B, ...]``."""

    @abstractmethod
    def absent(self, value: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        """What a network sees in place of a value that is not known at all, together with the noisiest level."""
