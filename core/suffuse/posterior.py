"""What a denoiser knows of the clean state: for each field, a statement about x_0 given x_t.

Samplers, guidance and editing see nothing of a network but this. Continuous fields have a `Mean`; each kind of
statement says how two of it combine, so that guidance needs no case for each kind of field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Mean", "Posterior"]


@dataclass(frozen=True)
class Mean:
    """E[x_0 | x_t], of the field's own shape."""

    value: Tensor

    def towards(self, other: Mean, weight: float) -> Mean:
        """``self + weight (other - self)``; weights beyond 1 extrapolate, as guidance does."""
        return Mean(torch.lerp(self.value, other.value, weight))


Posterior = Mapping[str, Mean]
"""By field name."""
