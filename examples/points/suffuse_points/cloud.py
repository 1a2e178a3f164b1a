"""The decoder: between clouds of points and the state that is diffused."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from suffuse import Decoder, Field, Masked, Split, State, ZeroCenterOfMass
from suffuse.fields import measured


class Cloud(Decoder):
    """Points ``[N, 2]`` around their centre are the field ``points``; files are tables of x and y."""

    suffix = ".csv"

    def fields(self, train: Split) -> dict[str, Field]:
        points = Field(shape=(-1, 2), space=ZeroCenterOfMass(), layout=Masked())
        return measured({"points": points}, self.encode(train.some()))

    def encode(self, values: Sequence[NDArray[np.floating]]) -> State:
        return State.padded(points=values)

    def decode(self, state: State) -> list[NDArray[np.floating]]:
        return [points.numpy() for points in state.elements("points")]

    def draw(self, value: NDArray[np.floating], axes: Axes) -> None:
        axes.scatter(value[:, 0], value[:, 1], s=4)
        axes.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
