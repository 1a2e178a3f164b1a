"""Curves of a run as small SVG drawings that suit a phone, a dark screen and paper alike.

Matplotlib draws them, without pyplot's global figures. No text from outside goes into a drawing (names stand
in the HTML beside it), and its colours are variables of the page's style sheet, which serve light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

__all__ = ["Panel", "Series", "panels", "series", "smooth", "svg", "thin", "wants_log"]

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 440, 270
"""Of a drawing in px: as wide as a phone, so that its text is not scaled down there."""

MOST_POINTS = 500
"""Of a drawn line; more cannot be told apart at this width and would fill the file."""

FEW_POINTS = 60
"""Up to so many, every value is marked and none is smoothed."""

LOG_FROM = 10.0
"""A quotient of largest and smallest value from which a logarithmic axis shows more."""

# Stand-ins that the drawing carries until they become variables of the style sheet.
_INK, _GRID, _SERIES = "#000001", "#000002", ("#000003", "#000004")
_VARIABLES = {_INK: "--muted", _GRID: "--line", _SERIES[0]: "--series-1", _SERIES[1]: "--series-2"}

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "suffuse",
    "font.size": 13.0,
    "font.family": "sans-serif",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "grid.color": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """The finite values of one curve.

    Args:
        name: of the curve.
        steps: ``[N]``, rising.
        values: ``[N]``, finite.
        missing: how many values were not finite.
    """

    name: str
    steps: Floats
    values: Floats
    missing: int

    @property
    def last(self) -> float:
        """The value at the last step."""
        return float(self.values[-1])

    @property
    def lowest(self) -> tuple[int, float]:
        """Step and value of the minimum."""
        index = int(self.values.argmin())
        return int(self.steps[index]), float(self.values[index])


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One drawing: a name for its axis, and the curves that share it."""

    title: str
    series: Sequence[Series]

    @property
    def log(self) -> bool:
        """Whether the axis of values is logarithmic."""
        return wants_log(np.concatenate([curve.values for curve in self.series]))


def series(name: str, points: Sequence[tuple[int, float]]) -> Series:
    """The points of one curve without those that are not finite."""
    table = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    finite = np.isfinite(table).all(axis=1)
    steps, values = table[finite].T
    return Series(name=name, steps=steps, values=values, missing=int((~finite).sum()))


def panels(curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[Panel]:
    """Curves sorted into drawings: ``"training X"`` and ``"validation X"`` together, every other alone.

    A curve without points is left out; one without a single finite value stays, because that is news.
    """
    found: dict[str, list[Series]] = {}
    for name, points in curves.items():
        if len(points):
            found.setdefault(re.sub(r"^(training|validation) ", "", name), []).append(series(name, points))
    return [Panel(title=title, series=curves) for title, curves in found.items()]


def wants_log(values: Floats) -> bool:
    """True where all ``values`` are positive and span more than a factor of `LOG_FROM`."""
    return bool(values.size and values.min() > 0 and values.max() >= LOG_FROM * values.min())


def thin(steps: Floats, values: Floats, limit: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """At most ``limit`` of the points: both ends, and the smallest and largest of equal stretches between.

    Peaks stay, which plain striding would lose. ``limit`` is 4 or more.
    """
    if len(values) <= limit:
        return steps, values
    inner = np.arange(1, len(values) - 1)
    kept = [0, len(values) - 1]
    for part in np.array_split(inner, (limit - 2) // 2):
        kept += [part[values[part].argmin()], part[values[part].argmax()]]
    index = np.unique(kept)
    return steps[index], values[index]


def smooth(values: Floats, half: int) -> Floats:
    """Means over windows of ``2 * half + 1`` values, ``[N] -> [N]``.

    At the start the windows narrow and stay centred, so that a steep first fall is not flattened; at the end they
    lose their later part, so that the last value is a mean too.
    """
    count = len(values)
    place = np.arange(count)
    before = np.minimum(half, place)
    after = np.minimum(before, count - 1 - place)
    total = np.concatenate([[0.0], np.cumsum(values)])
    means: Floats = (total[place + after + 1] - total[place - before]) / (before + after + 1)
    return means


def svg(panel: Panel, prefix: str) -> str:
    """The drawing of a panel as an ``<svg>`` element, equal for equal input; empty where no value is finite.

    Args:
        panel: what to draw: each curve light, its running mean dark on top.
        prefix: put before every id, so that several drawings fit in one page.
    """
    drawn = [curve for curve in panel.series if len(curve.values)]
    if not drawn:
        return ""
    file = io.StringIO()
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained")
        axes = figure.add_subplot()
        for curve in drawn:
            colour = _SERIES[curve.name.startswith("validation ")]
            _draw(axes, curve, colour, panel.log)
        _set_axes(axes, np.concatenate([curve.values for curve in drawn]), panel.log)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _embed(file.getvalue(), prefix)


def _draw(axes: Axes, curve: Series, colour: str, log: bool) -> None:
    line: dict[str, Any] = {"color": colour, "solid_joinstyle": "round", "solid_capstyle": "round"}
    if len(curve.values) <= FEW_POINTS:
        axes.plot(curve.steps, curve.values, marker="o", markersize=3.5, linewidth=1.8, **line)
        return
    # On a logarithmic axis a plain mean would run along the upper edge of the noise.
    seen = np.log(curve.values) if log else curve.values
    mean = smooth(seen, len(seen) // 60)
    axes.plot(*thin(curve.steps, curve.values), linewidth=0.9, alpha=0.32, **line)
    axes.plot(*thin(curve.steps, np.exp(mean) if log else mean), linewidth=2.0, **line)


def _set_axes(axes: Axes, values: Floats, log: bool) -> None:
    if log:
        decades = np.log10(values.max() / values.min())
        axes.set_yscale("log")
        marks = (1.0, 2.0, 5.0) if decades < 1.6 else (1.0, 3.0) if decades < 3 else (1.0,)
        axes.yaxis.set_major_locator(LogLocator(subs=marks, numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("step")
    axes.grid(axis="y", linewidth=0.8)
    axes.tick_params(length=0, pad=6)
    axes.margins(x=0.02, y=0.06)


def _embed(document: str, prefix: str) -> str:
    """The bare element of an SVG document, sized and coloured by the page, with ids of its own."""
    element = document[document.index("<svg") :]
    # Its style element would apply to the whole page; the page has the same rule for drawings.
    element = re.sub(r"\s*<(metadata|style)\b.*?</\1>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", element)
    for colour, variable in _VARIABLES.items():
        element = element.replace(colour, f"var({variable})")
    return element
