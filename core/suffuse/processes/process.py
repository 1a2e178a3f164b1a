"""The contract of a corruption: its marginal, its prior, its noise level. How to undo it belongs to the kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from suffuse.fields import Field
from suffuse.layouts import expand

__all__ = ["Level", "Process"]


class Level(NamedTuple):
    """How noisy a Gaussian field is, for each sample ``[B]`` or each element ``[B, N]``.

    ``log_snr`` is log(alpha / sigma). ``ratio`` is sigma / alpha as a plain number where all samples share it, so
    that guidance can decide by noise level without asking the device.
    """

    alpha: Tensor
    sigma: Tensor
    log_snr: Tensor
    ratio: float | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> Level:
        """The tensors in another place and precision."""
        alpha, sigma, log_snr = (part.to(device, dtype) for part in (self.alpha, self.sigma, self.log_snr))
        return Level(alpha, sigma, log_snr, self.ratio)

    def like(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma broadcast against a field."""
        return expand(self.alpha, value), expand(self.sigma, value)


class Process(ABC):
    """The corruption of one field."""

    @abstractmethod
    def level(self, time: Tensor) -> Level:
        """The noise level at the clock's time in [0, 1], of any shape."""

    @abstractmethod
    def corrupt(self, clean: Tensor, level: Level, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        """A draw of p(x_t | x_0) made from standard ``noise``."""

    @abstractmethod
    def prior(self, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        """A draw of the distribution that sampling starts from, made from standard ``noise``."""
