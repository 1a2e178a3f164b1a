"""Pictures of molecules: one as inline SVG, many as a sheet."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor

from suffuse.errors import PluginError
from suffuse.files import whole
from suffuse_molecule.graphs import build
from suffuse_molecule.molecule import REASONS, Molecule

__all__ = ["draw_sheet", "draw_svg", "layout"]

_LARGEST = 200
"""Atoms of the largest graph that is drawn; nothing could be seen of a larger one."""
_COLUMNS = 10


def layout(value: Molecule) -> Chem.Mol | None:
    """The molecule laid out in the plane, or the bare graph of an invalid one; None where there is nothing to draw."""
    if value.reason in ("empty", "unfinished", "tangled") or not 0 < len(value.atoms) <= _LARGEST:
        return None
    mol = Chem.Mol(value.mol) if value.mol is not None else build(value.atoms, value.bonds, True).GetMol()
    with rdBase.BlockLogs():
        mol.UpdatePropertyCache(strict=False)
        Chem.FastFindRings(mol)
        rdDepictor.Compute2DCoords(mol)
    return mol


def draw_svg(value: Molecule, cell: int) -> str:
    """A drawing as one ``<svg>`` element; its title is the SMILES, or what is wrong."""
    canvas = _pencils().MolDraw2DSVG(cell, cell)
    _draw(canvas, value, "" if value.valid else f"invalid: {value.reason}", cell)
    canvas.FinishDrawing()
    body = canvas.GetDrawingText()
    body = re.sub(r"<\?xml.*?\?>|<!--.*?-->| class='[^']*'", "", body, flags=re.DOTALL)
    body = re.sub(r"\s+", " ", body).strip()
    words = value.smiles if value.valid else f"invalid: {REASONS.get(value.reason or '', value.reason)} {value.smiles}"
    return body.replace(">", f"><title>{html.escape(words.strip())}</title>", 1)


def draw_sheet(values: Sequence[Molecule], captions: Sequence[str], path: Path, cell: int) -> None:
    """A PNG with a drawing for each value and its caption below; an invalid one says so.

    Raises:
        DataError: the file cannot be written.
        ValueError: there are no values, or not as many captions.
    """
    if not values or len(values) != len(captions):
        raise ValueError(f"a sheet takes one caption for each of one or more values, not {len(captions)}/{len(values)}")
    columns = min(_COLUMNS, math.ceil(math.sqrt(len(values))))
    lines = math.ceil(len(values) / columns)
    canvas = _pencils().MolDraw2DCairo(columns * cell, lines * cell, cell, cell)
    canvas.drawOptions().includeMetadata = False  # each molecule again, in RDKit's own binary
    canvas.ClearDrawing()  # to white, for what is dark has to be seen on any page
    for place, (value, caption) in enumerate(zip(values, captions, strict=True)):
        canvas.SetOffset(place % columns * cell, place // columns * cell)
        words = " ".join(caption.split())
        if not value.valid:
            words = f"invalid: {value.reason}" + (f" ({words})" if words else "")
        _draw(canvas, value, words, cell)
    canvas.FinishDrawing()
    with whole(path) as draft:
        draft.write_bytes(canvas.GetDrawingText())


def _pencils() -> ModuleType:
    """RDKit's drawing, which needs libraries that a bare server lacks; all else works without."""
    try:
        from rdkit.Chem.Draw import rdMolDraw2D
    except ImportError as error:
        raise PluginError(
            f"molecules cannot be drawn here: {error}; install it (Debian: apt install libxrender1 libxext6), or do "
            "without pictures: trainer.preview_every=0"
        ) from error
    return rdMolDraw2D  # type: ignore[no-any-return]


def _draw(canvas: Any, value: Molecule, legend: str, cell: int) -> None:
    options = canvas.drawOptions()
    options.fixedBondLength = 0.14 * cell  # so that small molecules look small
    options.clearBackground = False
    options.prepareMolsBeforeDrawing = False
    options.legendFontSize = 12
    mol = layout(value)
    if mol is not None and value.mol is not None:
        mol = _pencils().PrepareMolForDrawing(mol, kekulize=True)
    with rdBase.BlockLogs():
        canvas.DrawMolecule(_unseen() if mol is None else mol, legend=legend)


def _unseen() -> Chem.Mol:
    """An atom without a name, for RDKit draws no legend where there is no atom."""
    mol = Chem.MolFromSmiles("*")
    mol.GetAtomWithIdx(0).SetProp("_displayLabel", " ")
    return mol
