"""The Fréchet ChemNet distance, by the network that comes inside `fcd_torch` (extra ``fcd``)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from suffuse.metrics import frechet_distance

with warnings.catch_warnings(action="ignore"):
    import fcd_torch

__all__ = ["ChemNet"]


class ChemNet:
    """The penultimate activations of a network that was trained to predict the activity of drugs.

    References:
        Preuer et al. 2018, "Fréchet ChemNet distance".
    """

    def __init__(self) -> None:
        with warnings.catch_warnings(action="ignore"):
            self._net = fcd_torch.FCD(device="cpu", n_jobs=1, canonize=True)

    def activations(self, smiles: Sequence[str]) -> NDArray[np.float64]:
        """``[N, 512]``."""
        with warnings.catch_warnings(action="ignore"):
            return np.asarray(self._net.get_predictions(list(smiles)), np.float64)

    def distance(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        """Between Gaussians fitted to the activations."""
        return frechet_distance(a, b)
