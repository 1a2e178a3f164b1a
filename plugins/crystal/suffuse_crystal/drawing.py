"""Pictures of crystals: one as inline SVG, many as a sheet.

The cell is seen from a little above and beside its first vector, without perspective. Where it begins means nothing, so
that its first atom is drawn at the corner; atoms on a face are drawn on the opposite one too, which is how the cell of
a crystal is read.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from suffuse.files import whole

__all__ = ["draw_sheet", "draw_svg"]

Point: TypeAlias = tuple[float, float]

_COLUMNS = 10
_MOST = 300
"""Atoms of the largest crystal that is drawn; nothing could be seen of a larger one."""
_MARGIN = 0.14
_FACE = 0.02
"""Of the cell, within which an atom counts as lying on a face."""
_TURN = (math.radians(-20), math.radians(-75))
"""About the third vector of a box, and then about x, so that it goes up."""


@dataclass(frozen=True)
class _Ball:
    place: Point
    radius: float
    colour: str


@dataclass(frozen=True)
class _Picture:
    """In a square from 0 to 1, y downwards.

    Args:
        edges: of the cell.
        balls: the farthest first.
        title: what is seen.
    """

    edges: Sequence[tuple[Point, Point]]
    balls: Sequence[_Ball]
    title: str


def draw_svg(value: Structure, cell: int) -> str:
    """A drawing as one ``<svg>`` element with the formula below; its title says formula, cell and volume."""
    picture, high = _picture(value), cell + 16
    parts = [
        f'<line x1="{a[0] * cell:.1f}" y1="{a[1] * cell:.1f}" x2="{b[0] * cell:.1f}" y2="{b[1] * cell:.1f}"/>'
        for a, b in picture.edges
    ]
    lines = f'<g stroke="#888" stroke-width="1">{"".join(parts)}</g>'
    parts = [
        f'<circle cx="{ball.place[0] * cell:.1f}" cy="{ball.place[1] * cell:.1f}" r="{ball.radius * cell:.1f}" '
        f'fill="{ball.colour}"/>'
        for ball in picture.balls
    ]
    balls = f'<g stroke="#333" stroke-width="0.6">{"".join(parts)}</g>'
    words = (
        f'<text x="{cell / 2:.0f}" y="{high - 4}" text-anchor="middle" font-size="13" font-family="sans-serif" '
        f'fill="#555">{html.escape(value.composition.reduced_formula)}</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {cell} {high}" width="{cell}" height="{high}" '
        f'style="max-width:100%;height:auto"><title>{html.escape(picture.title)}</title>{lines}{balls}{words}</svg>'
    )


def draw_sheet(values: Sequence[Structure], captions: Sequence[str], path: Path, cell: int) -> None:
    """A PNG with a drawing for each value, its formula and its caption below.

    Raises:
        DataError: the file cannot be written.
        ValueError: there are no values, or not as many captions.
    """
    from matplotlib.collections import EllipseCollection, LineCollection
    from matplotlib.figure import Figure

    if not values or len(values) != len(captions):
        raise ValueError(f"a sheet takes one caption for each of one or more values, not {len(captions)}/{len(values)}")
    columns = min(_COLUMNS, math.ceil(math.sqrt(len(values))))
    lines = math.ceil(len(values) / columns)
    high = cell + 30
    figure = Figure(figsize=(columns * cell / 100, lines * high / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, columns * cell), ylim=(lines * high, 0), frameon=False)
    axes.set_axis_off()
    for place, (value, caption) in enumerate(zip(values, captions, strict=True)):
        picture = _picture(value)
        corner = np.array([place % columns * cell, place // columns * high])
        edges = [[corner + cell * np.array(end) for end in edge] for edge in picture.edges]
        axes.add_collection(LineCollection(edges, colors="#888888", linewidths=0.7))
        if picture.balls:
            widths = [2 * ball.radius * cell for ball in picture.balls]
            axes.add_collection(
                EllipseCollection(
                    widths,
                    widths,
                    np.zeros(len(widths)),
                    units="xy",
                    offsets=[corner + cell * np.array(ball.place) for ball in picture.balls],
                    offset_transform=axes.transData,
                    facecolors=[ball.colour for ball in picture.balls],
                    edgecolors="#333333",
                    linewidths=0.5,
                )
            )
        words = (value.composition.reduced_formula, " ".join(caption.split())[:28])
        for row, text in enumerate(words):
            axes.text(corner[0] + cell / 2, corner[1] + cell + 6 + 14 * row, text, ha="center", va="center", size=7)
    with whole(path) as draft:
        figure.savefig(draft, format="png")


def _picture(value: Structure) -> _Picture:
    a, b, c, alpha, beta, gamma = value.lattice.parameters
    title = (
        f"{value.composition.formula}; {a:.2f} {b:.2f} {c:.2f} Å, {alpha:.1f} {beta:.1f} {gamma:.1f} degrees, "
        f"{value.volume:.1f} Å³"
    )
    matrix = _upright(value.lattice.parameters) @ _view()
    corners = np.array(list(product((0, 1), repeat=3)), float)
    centre = (corners @ matrix).mean(0)
    reach = np.abs((corners @ matrix - centre)[:, :2]).max()
    scale = (0.5 - _MARGIN) / reach if reach > 0 else 1.0

    def flat(fractions: NDArray[np.floating]) -> Point:
        x, y = ((fractions @ matrix - centre) * scale)[:2] + 0.5
        return float(x), float(1 - y)

    edges = [
        (flat(start), flat(end))
        for start, end in product(corners, corners)
        if (end - start).min() >= 0 and (end - start).sum() == 1
    ]
    balls = [
        (float((place @ matrix)[2]), _Ball(flat(place), min(0.1, scale * radius), colour))
        for place, radius, colour in _seen(value)
    ]
    return _Picture(edges, [ball for _, ball in sorted(balls, key=lambda pair: pair[0])], title)


def _seen(value: Structure) -> Iterator[tuple[NDArray[np.float64], float, str]]:
    """Place, radius in Å and colour of every atom, and of those on the opposite faces."""
    from ase.data import atomic_numbers, covalent_radii
    from ase.data.colors import jmol_colors

    for site in value[:_MOST]:
        number = atomic_numbers.get(site.specie.symbol, 0)
        colour = "#" + "".join(f"{round(255 * float(part)):02x}" for part in jmol_colors[number])
        fractions = (site.frac_coords - value[0].frac_coords) % 1.0
        shifts = [[0, 1] if part < _FACE else [0, -1] if part > 1 - _FACE else [0] for part in fractions]
        for shift in product(*shifts):
            yield fractions + np.array(shift), 0.45 * float(covalent_radii[number]), colour


def _upright(parameters: Sequence[float]) -> NDArray[np.float64]:
    """Lattice vectors as rows: the first along x, the second in the plane, the third up."""
    a, b, c = parameters[:3]
    alpha, beta, gamma = (math.radians(angle) for angle in parameters[3:])
    x = (math.cos(alpha) - math.cos(beta) * math.cos(gamma)) / max(math.sin(gamma), 1e-6)
    high = math.sqrt(max(1 - math.cos(beta) ** 2 - x**2, 0))
    return np.array(
        [
            [a, 0, 0],
            [b * math.cos(gamma), b * math.sin(gamma), 0],
            [c * math.cos(beta), c * x, c * high],
        ]
    )


def _view() -> NDArray[np.float64]:
    """The turn of the crystal before the eye, which looks along z."""
    (sin_z, cos_z), (sin, cos) = ((math.sin(angle), math.cos(angle)) for angle in _TURN)
    about_z = np.array([[cos_z, sin_z, 0], [-sin_z, cos_z, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    turn: NDArray[np.float64] = about_z @ about_x
    return turn
