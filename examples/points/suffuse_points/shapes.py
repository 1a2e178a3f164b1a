"""The data: clouds of points along outlines in the plane, out of formulas."""

import numpy as np
from numpy.typing import NDArray

from suffuse import InMemory

SHAPES = ("circle", "square", "flower", "eight", "spiral")


def outline(shape: str, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points ``[N, 2]`` at places from 0 to 1 along a shape, around their centre."""
    turn = np.exp(2j * np.pi * place)  # the plane as complex numbers
    line = {
        "circle": turn,
        "square": turn / np.maximum(np.abs(turn.real), np.abs(turn.imag)),
        "flower": turn * (1 + 0.4 * (turn**5).real),
        "eight": turn.real + 1j * turn.real * turn.imag,
        "spiral": 1.4 * place * turn**2,
    }[shape]
    line = line - line.mean()
    return np.stack([line.real, line.imag], -1)


class Shapes(InMemory):
    """Clouds of 16 to 40 points with the condition ``shape``; ``count`` of them, a share ``heldout`` held out."""

    def __init__(self, *, count: int = 4000, heldout: float = 0.1) -> None:
        rng = np.random.default_rng(0)
        names = [SHAPES[row % len(SHAPES)] for row in range(count)]
        sizes = rng.integers(16, 41, count)
        clouds = [outline(n, (np.arange(size) + rng.random()) / size) for n, size in zip(names, sizes, strict=True)]
        super().__init__(clouds, {"shape": names}, heldout=heldout, size=len)
