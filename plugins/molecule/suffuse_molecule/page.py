"""A page of drawn molecules that opens from disk: a grid to sort and filter, histograms, scaffolds. Nothing is loaded.

The page runs one script, its own, which its content policy names by its hash; what comes from molecules is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from suffuse_molecule.drawing import draw_svg
from suffuse_molecule.graphs import Unfit
from suffuse_molecule.molecule import Molecule

__all__ = ["COMPARED", "Histogram", "histogram", "render_page"]

COMPARED = {"logp": "logP", "qed": "QED", "sa": "SA", "mw": "MW", "tpsa": "TPSA", "heavy_atoms": "heavy atoms"}
"""Numbers whose distributions are shown, with their names."""

_SORTED = ("sample", "qed", "sa", "logp", "mw", "tpsa", "hbd", "hba", "rings", "stereo_centres", "tanimoto")
_CELL = 150
_BINS = 24
_SCAFFOLDS = 12
_WIDTH, _HEIGHT = 320, 120


@dataclass(frozen=True)
class Histogram:
    """Two distributions over the same bins, as paths of a drawing.

    Args:
        title: what is counted.
        low, high: ends of the axis.
        drawn, real: paths of the outlines.
        means: of the draws and of the training data.
    """

    title: str
    low: float
    high: float
    drawn: str
    real: str
    means: tuple[float, float]


def histogram(title: str, drawn: Sequence[float], real: Sequence[float]) -> Histogram | None:
    """Outlines of two histograms of equal area; None where either side has no number."""
    ours, theirs = (np.array([value for value in part if math.isfinite(value)]) for part in (drawn, real))
    if not len(ours) or not len(theirs):
        return None
    both = np.concatenate([ours, theirs])
    low, high = float(both.min()), float(both.max())
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    shares = [np.histogram(part, edges)[0] / len(part) for part in (ours, theirs)]
    top = max(float(part.max()) for part in shares)
    paths = [_outline(part / top) for part in shares]
    return Histogram(title, low, high, paths[0], paths[1], (float(ours.mean()), float(theirs.mean())))


def _outline(heights: NDArray[np.float64]) -> str:
    step = _WIDTH / len(heights)
    words = [f"M0 {_HEIGHT}"]
    for place, height in enumerate(heights.tolist()):
        words.append(f"V{_HEIGHT * (1 - height):.1f}H{(place + 1) * step:.1f}")
    return "".join([*words, f"V{_HEIGHT}"])


def render_page(
    rows: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    drawn: Mapping[str, Sequence[float]],
    training: Mapping[str, Sequence[float]],
    scaffolds: Counter[str],
    record: Mapping[str, Any],
    rank: str = "",
) -> str:
    """The page as text.

    Args:
        rows: of the table, distinct valid molecules in the order in which they are shown at first.
        summary: of the table.
        drawn: descriptors of all distinct valid molecules, for the names in `COMPARED`.
        training: those of training molecules; empty where they are not known.
        scaffolds: of all distinct valid molecules, and how many have each.
        record: of how the samples were made.
        rank: the number by which the rows are in order, with a minus before it where the lowest is first.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.4g}"
    files = resources.files(__package__)
    script = files.joinpath("page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    drawings = [histogram(title, drawn[name], training[name]) for name, title in COMPARED.items() if name in training]
    first = rank.removeprefix("-") or "sample"
    names = list(dict.fromkeys((first, *_SORTED)))
    keys = ("alerts", "novel", "passes")
    return environment.from_string(files.joinpath("page.html.j2").read_text("utf-8")).render(
        script=script,
        digest=digest,
        summary=summary,
        record=record,
        histograms=[drawing for drawing in drawings if drawing is not None],
        scaffolds=[(_drawing(text), text, count) for text, count in scaffolds.most_common(_SCAFFOLDS)],
        cards=[(_drawing(row["smiles"]), row) for row in rows],
        sorted=[name for name in names if any(row.get(name) is not None for row in rows)],
        known={key: any(row[key] is not None for row in rows) for key in keys},
        falling=bool(rank) and not rank.startswith("-"),
        width=_WIDTH,
        height=_HEIGHT,
    )


def _drawing(smiles: str) -> str:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    try:
        return draw_svg(Molecule.of(mol), _CELL)
    except Unfit:
        return ""
