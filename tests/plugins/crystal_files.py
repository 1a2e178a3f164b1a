"""What the tests of crystals share: a few known crystals, and sources of them that leave nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from suffuse.errors import SuffuseError
from suffuse_crystal.data.folder import Folder

PEROVSKITE = Structure(
    Lattice.cubic(3.9),
    ["Sr", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
COPPER = Structure(Lattice.cubic(3.61), ["Cu"] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
QUARTZ = Structure.from_spacegroup(
    "P3_121", Lattice.hexagonal(4.91, 5.40), ["Si", "O"], [[0.47, 0, 1 / 3], [0.41, 0.27, 0.45]]
)
"""Of one hand: its mirror image is another crystal."""
RUTILE = Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.3, 0.3, 0]])

KNOWN = {"perovskite": PEROVSKITE, "salt": SALT, "copper": COPPER, "quartz": QUARTZ, "rutile": RUTILE}
SITES = {"perovskite": 5, "salt": 2, "copper": 1, "quartz": 9, "rutile": 6}
"""Of the primitive cells."""


def written(folder: Path, crystals: dict[str, Structure] | None = None) -> Path:
    """A folder with a CIF for each crystal."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, structure in (crystals or KNOWN).items():
        (folder / f"{name}.cif").write_text(str(CifWriter(structure)))
    return folder


def source(tmp_path: Path, crystals: dict[str, Structure] | None = None, **settings: Any) -> Folder:
    """A source of crystals, prepared in this process in a cache of its own."""
    return Folder(**{**plain(tmp_path), "path": written(tmp_path / "crystals", crystals), **settings})


def plain(tmp_path: Path) -> dict[str, Any]:
    """Settings of a source that starts no processes and writes nowhere else."""
    return {"cache_dir": tmp_path / "cache", "processes": 0}


def turned(structure: Structure, seed: int = 0) -> Structure:
    """The same crystal, turned in space at random."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    return Structure(Lattice(structure.lattice.matrix @ turn), structure.species, structure.frac_coords)


def one_line(error: pytest.ExceptionInfo[SuffuseError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text
