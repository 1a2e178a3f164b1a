"""Graphs to states and back: the decoder for molecules that are diffused as atoms and bonds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from suffuse.data import Decoder, Split
from suffuse.errors import ConfigError, DataError, RunError
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.spaces import Categorical
from suffuse.state import State
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.drawing import draw_sheet, draw_svg
from suffuse_molecule.files import first_molecule, read_record, write_sdf, write_smiles
from suffuse_molecule.graphs import BONDS, Packed, Unfit, code_of, name_of
from suffuse_molecule.molecule import Molecule
from suffuse_molecule.repair import Repair, repaired

__all__ = ["Graph"]

_SAMPLE = 200_000
_BLOCK = 10_000


class Graph(Decoder):
    """Molecules as the fields ``atoms`` ``[N]`` and ``bonds`` ``[N, N]``, symmetric, and as SDF or SMILES files.

    An atom's class is its element and formal charge, out of those that the data has; a bond's is none, single, double
    or triple, with aromatic rings kekulised. What a network draws is decoded as it is: a graph that is no molecule
    stays one, with the reason.

    Args:
        file: what is written for each sample: ``sdf`` (drawn in the plane) or ``smiles``.
        repair: none, or what is made of an invalid graph beside it: ``fragment`` takes the largest fragment,
            ``valence`` also lowers bonds until every atom has room for its own. The value itself does not change; the
            repaired molecule is its ``repaired``, counted apart.
        cell: side of the drawing of one molecule, in pixels.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".sdf", ".smi")
    saving: ClassVar[frozenset[str]] = frozenset({"repair"})

    def __init__(
        self,
        *,
        file: Literal["sdf", "smiles"] = "sdf",
        repair: Repair = "none",
        cell: int = 180,
    ) -> None:
        if not 40 <= cell <= 2000:
            raise ConfigError(f"decoder.cell={cell}: a number of pixels from 40 to 2000")
        self.file = file
        self.repair = repair
        self.cell = cell
        self.suffix = ".smi" if file == "smiles" else ".sdf"
        self._codes: NDArray[np.int16] | None = None
        self.explicit = False
        """Whether hydrogens are atoms of the graphs; known once the fields are."""

    def fields(self, train: Split) -> dict[str, Field]:
        """``atoms`` and ``bonds``, with the share of each class in up to 200,000 evenly spaced molecules.

        Raises:
            DataError: there are no molecules to train on.
        """
        assert isinstance(train, MoleculeSplit)
        if len(train) == 0:
            raise DataError("the training part of the data is empty; see data.heldout")
        rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _SAMPLE)).astype(np.int64))
        table = _table(train.codes)
        atoms, bonds = np.zeros(len(train.codes)), np.zeros(len(BONDS))
        for start in range(0, len(rows), _BLOCK):
            part = train.graphs(rows[start : start + _BLOCK])
            atoms += np.bincount(table[part.atoms], minlength=len(atoms))
            orders = np.bincount(part.bonds[:, 2], minlength=len(bonds)).astype(np.float64)
            orders[0] = (part.counts * (part.counts - 1) // 2).sum() - len(part.bonds)
            bonds += orders
        fields = {
            "atoms": Field(
                shape=(-1,),
                space=Categorical(len(atoms)),
                layout=Masked(1),
                frequencies=_shares(atoms),
                names=tuple(name_of(each) for each in train.codes),
            ),
            "bonds": Field(
                shape=(-1, -1),
                space=Categorical(len(bonds), symmetric=True),
                layout=Masked(2),
                frequencies=_shares(bonds),
                names=BONDS,
            ),
        }
        self.adopt(fields)
        return fields

    def adopt(self, fields: Mapping[str, Field]) -> None:
        """Learn from the names of the classes which atom each token is.

        Raises:
            RunError: the fields are not those of molecules.
        """
        try:
            names = fields["atoms"].names
            codes = [code_of(name) for name in names]
            if not names or set(fields) != {"atoms", "bonds"}:
                raise ValueError("atoms without names")
        except (KeyError, ValueError, Unfit) as error:
            raise RunError(
                f"decoder=graph: the fields {', '.join(fields)} are not those of molecules ({error})"
            ) from None
        self._codes = np.array(codes, np.int16)
        self.explicit = "H" in names

    def encode(self, values: Packed | Sequence[Molecule]) -> State:
        """Padded to the largest of them.

        Raises:
            DataError: an atom is none of the run's classes.
        """
        packed = values if isinstance(values, Packed) else Packed.of([(each.atoms, each.bonds) for each in values])
        table = _table(self._known())
        tokens = table[packed.atoms]
        if len(tokens) and int(tokens.min()) < 0:
            strange = name_of(int(packed.atoms[tokens.argmin()]))
            known = ", ".join(name_of(int(each)) for each in self._known())
            raise DataError(f"an atom {strange}: the data of this run has none ({known})")
        batch, size = len(packed), max(1, int(packed.counts.max(initial=0)))
        mask = np.arange(size) < packed.counts[:, None]
        atoms = np.zeros((batch, size), np.int64)
        atoms[mask] = tokens
        bonds = np.zeros((batch, size, size), np.int64)
        owner = np.repeat(np.arange(batch), packed.bond_counts)
        first, second, order = (packed.bonds[:, column].astype(np.int64) for column in range(3))
        bonds[owner, first, second] = bonds[owner, second, first] = order
        return State({"atoms": torch.from_numpy(atoms), "bonds": torch.from_numpy(bonds)}, torch.from_numpy(mask))

    def decode(self, state: State) -> list[Molecule]:
        """The graph of each sample; a token that is no class gives one that is ``unfinished``."""
        codes = np.append(self._known(), np.int16(0))
        tokens = state["atoms"].detach().to("cpu", torch.int64).numpy()
        orders = state["bonds"].detach().to("cpu", torch.int64).numpy()
        atoms = codes[np.where((tokens < 0) | (tokens >= len(codes)), len(codes) - 1, tokens)]
        counts = np.full(len(atoms), atoms.shape[1]) if state.mask is None else state.mask.sum(1).cpu().numpy()
        found = []
        for graph, pairs, count in zip(atoms, orders, counts.tolist(), strict=True):
            first, second = np.nonzero(np.triu(pairs[:count, :count], 1))
            bonds = np.stack([first, second, pairs[first, second]], 1).astype(np.int16)
            molecule = Molecule(graph[:count].copy(), bonds, self.explicit)
            found.append(repaired(molecule, self.repair))
        return found

    def load(self, path: Path, fields: Mapping[str, Field]) -> Molecule:
        """The first molecule of a SMILES or SDF file."""
        molecule = first_molecule(path, self.explicit)
        names = fields["atoms"].names
        for each in molecule.atoms:
            if name_of(int(each)) not in names:
                raise DataError(f"{path}: an atom {name_of(int(each))}; this run knows {', '.join(names)}")
        return molecule

    def load_mask(self, path: Path, fields: Mapping[str, Field]) -> State:
        """A text file with the numbers of the atoms to be made anew, from 1, in the order of the input's file.

        Their bonds are made anew with them.

        Raises:
            DataError: it cannot be read, or names no atom.
        """
        try:
            words = re.split(r"[\s,;]+", path.read_text(encoding="utf-8").strip())
            numbers = [int(word) for word in words if word]
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: numbers of atoms, from 1, are needed ({error})") from error
        if not numbers or min(numbers) < 1:
            raise DataError(f"{path}: numbers of atoms, from 1, are needed; it has {numbers or 'none'}")
        marks = torch.zeros(1, max(numbers), dtype=torch.bool)
        marks[0, torch.tensor(numbers) - 1] = True
        return State({"atoms": marks, "bonds": marks[:, :, None] | marks[:, None]}, torch.ones_like(marks))

    def flaw(self, value: Molecule) -> str | None:
        """The code in `suffuse_molecule.molecule.REASONS` of what is wrong with a graph."""
        return value.reason

    def save(self, value: Molecule, path: Path, record: Mapping[str, Any]) -> None:
        """An SDF with the record as its property ``suffuse``, or a SMILES with the record behind it."""
        (write_smiles if self.file == "smiles" else write_sdf)(value, path, record)

    @staticmethod
    def read_record(path: Path) -> dict[str, Any]:
        """The record inside a file of `save`; the errors are those of `files.read_record`."""
        return read_record(path)

    def sheet(self, values: Sequence[Molecule], captions: Sequence[str], path: Path) -> None:
        """A grid of drawings with their captions; what is no molecule says why."""
        draw_sheet(values, captions, path, self.cell)

    def html(self, value: Molecule) -> str:
        """The drawing as inline SVG, with its SMILES as the title."""
        return draw_svg(value, self.cell)

    def _known(self) -> NDArray[np.int16]:
        if self._codes is None:
            raise RunError("decoder=graph: it does not know the atoms of the data yet; call fields() or adopt() first")
        return self._codes


def _table(codes: Sequence[int] | NDArray[np.int16]) -> NDArray[np.int64]:
    """From an atom's code to its token; -1 for none."""
    table = np.full(1 << 15, -1, np.int64)
    table[np.asarray(codes, np.int64)] = np.arange(len(codes))
    return table


def _shares(counts: NDArray[np.float64]) -> tuple[float, ...]:
    # A class that only held-out data has keeps a place: a prior of zero could never reach it.
    counts = np.maximum(counts, 1)
    return tuple((counts / counts.sum()).tolist())
