r"""How much an error counts at each noise level, as a factor on the squared error of the clean estimate.

All are written in units of x_0, whatever the network emits, so that a weighting means the same for every
parameterization. SNR = alpha^2 / sigma^2.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.processes import Level

__all__ = ["Weighting", "edm", "min_snr", "uniform"]


class Weighting(Protocol):
    """From a noise level to what an error counts there."""

    def __call__(self, level: Level, out: Tensor, scale: float) -> Tensor:
        """The weight, in the shape of the level.

        Args:
            level: of the field.
            out: the output factor of the parameterization.
            scale: of the field.
        """
        ...


def uniform() -> Weighting:
    """The plain squared error of what the network emits: ``1 / out^2``. With eps it is the loss of DDPM."""
    return lambda level, out, scale: out.square().reciprocal()


def edm() -> Weighting:
    """``SNR + 1 / scale^2``, which gives every level the same expected loss at the start of training.

    References:
        Karras et al. 2022, table 1, for any alpha.
    """
    return lambda level, out, scale: torch.exp(2 * level.log_snr) + scale**-2


def min_snr(*, gamma: float = 5.0) -> Weighting:
    """``min(SNR, gamma)``: the eps loss without its emphasis on nearly clean inputs.

    Args:
        gamma: the cap.

    References:
        Hang et al. 2023, "Efficient diffusion training via min-SNR weighting strategy".
    """
    if gamma <= 0:
        raise ConfigError(f"process.weighting.gamma={gamma}: must be positive")
    return lambda level, out, scale: torch.exp(2 * level.log_snr).clamp_max(gamma)
