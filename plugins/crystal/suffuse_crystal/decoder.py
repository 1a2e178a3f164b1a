"""Structures to states and back: the decoder for crystals that are diffused as positions, lattice and elements."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure

from suffuse.data import Decoder, Gap, Split
from suffuse.errors import ConfigError, DataError, RunError
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.spaces import Categorical, Torus
from suffuse.state import State
from suffuse_crystal.cells import ELEMENTS, Cells, cell_of, structure_of
from suffuse_crystal.data.splits import CrystalSplit
from suffuse_crystal.drawing import draw_sheet, draw_svg
from suffuse_crystal.files import first_structure, write_cif, write_extxyz
from suffuse_crystal.lattices import LOGS, logs_of, polar_of

__all__ = ["Crystal"]

_SAMPLE = 50_000
_FIELDS = {"positions", "lattice", "atoms"}
_SYMBOLS = {number: symbol for symbol, number in ELEMENTS.items()}


class Crystal(Decoder):
    """Crystals as three fields, as pymatgen's ``Structure``, and as CIF or extxyz files.

    ``positions`` ``[N, 3]`` are fractions of the cell on a torus, ``lattice`` ``[6]`` the logarithm of the metric
    (`suffuse_crystal.lattices`), ``atoms`` ``[N]`` the elements, out of those that the data has. What a network draws
    is decoded as it is; nothing is relaxed or moved to symmetric places.

    Args:
        file: what is written for each sample: ``cif`` or ``extxyz``.
        given: ``none``, or ``atoms``: the network is told which elements are in the cell and makes the structure of
            them, which is crystal structure prediction.
        drawing: side of that of one crystal, in pixels.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".cif", ".extxyz")
    tasks: ClassVar[Mapping[str, str]] = {"predict": "given"}

    def __init__(
        self,
        *,
        file: Literal["cif", "extxyz"] = "cif",
        given: Literal["none", "atoms"] = "none",
        drawing: int = 180,
    ) -> None:
        if not 40 <= drawing <= 2000:
            raise ConfigError(f"decoder.drawing={drawing}: a number of pixels from 40 to 2000")
        self.file = file
        self.given = given
        self.drawing = drawing
        self.suffix = f".{file}"
        self._numbers: NDArray[np.int16] | None = None

    def fields(self, train: Split) -> dict[str, Field]:
        """The three fields, measured on up to 50,000 evenly spaced crystals.

        Raises:
            DataError: there are no crystals to train on.
        """
        assert isinstance(train, CrystalSplit)
        if len(train) == 0:
            raise DataError("the training part of the data is empty; see data.heldout")
        rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _SAMPLE)).astype(np.int64))
        cells = train.cells(rows)
        counts = np.bincount(_table(train.elements)[cells.numbers], minlength=len(train.elements))
        counts = np.maximum(counts, 1)  # an element that only held-out data has keeps a place
        six = logs_of(torch.from_numpy(cells.lattices), torch.from_numpy(cells.counts))
        fields = {
            "positions": Field(shape=(-1, 3), space=Torus(), layout=Masked(1)),
            "lattice": Field(shape=(LOGS,), scale=max(float(six.square().mean().sqrt()), 0.01)),
            "atoms": Field(
                shape=(-1,),
                space=Categorical(max(2, len(counts))),
                layout=Masked(1),
                frequencies=tuple((counts / counts.sum()).tolist()),
                names=tuple(_SYMBOLS[number] for number in train.elements),
                given=self.given == "atoms",
            ),
        }
        self.adopt(fields)
        return fields

    def adopt(self, fields: Mapping[str, Field]) -> None:
        """Learn from the names of the classes which element each token is.

        Raises:
            RunError: the fields are not those of crystals.
        """
        names = fields["atoms"].names if "atoms" in fields else ()
        if set(fields) != _FIELDS or not names or any(name not in ELEMENTS for name in names):
            raise RunError(f"decoder=structure: the fields {', '.join(fields)} are not those of crystals")
        self._numbers = np.array([ELEMENTS[name] for name in names], np.int16)

    def encode(self, values: Cells | Sequence[Structure]) -> State:
        """Padded to the largest of them.

        Raises:
            DataError: an atom is of none of the run's elements.
        """
        cells = values if isinstance(values, Cells) else Cells.of(cell_of(value) for value in values)
        known = self._known()
        tokens = _table(known.tolist())[cells.numbers]
        if len(tokens) and int(tokens.min()) < 0:
            strange = _SYMBOLS[int(cells.numbers[tokens.argmin()])]
            names = ", ".join(_SYMBOLS[int(each)] for each in known)
            raise DataError(f"an atom {strange}: the data of this run has none ({names})")
        size = max(1, int(cells.counts.max(initial=0)))
        mask = np.arange(size) < cells.counts[:, None]
        atoms = np.zeros(mask.shape, np.int64)
        positions = np.zeros((*mask.shape, 3), np.float32)
        atoms[mask] = tokens
        positions[mask] = cells.positions % 1.0
        six = logs_of(torch.from_numpy(cells.lattices), torch.from_numpy(cells.counts)).float()
        place = torch.from_numpy(positions)
        return State(
            {"positions": place.where(place < 1, 0), "lattice": six, "atoms": torch.from_numpy(atoms)},
            torch.from_numpy(mask),
        )

    def decode(self, state: State) -> list[Structure]:
        """The structure of each sample; a token that is no element becomes a dummy atom X."""
        known = np.append(self._known(), np.int16(0))
        tokens = state["atoms"].detach().to("cpu", torch.int64).numpy()
        numbers = known[np.where((tokens < 0) | (tokens >= len(known)), len(known) - 1, tokens)]
        positions = state["positions"].detach().to("cpu", torch.float64).numpy()
        mask = torch.ones(tokens.shape, dtype=torch.bool) if state.mask is None else state.mask.cpu()
        counts = mask.sum(1)
        lattices = polar_of(state["lattice"].detach().to("cpu", torch.float64), counts).numpy()
        return [
            structure_of(species[:count], places[:count], lattice)
            for species, places, lattice, count in zip(numbers, positions, lattices, counts.tolist(), strict=True)
        ]

    def load(self, path: Path, fields: Mapping[str, Field]) -> Structure:
        """The first structure of a CIF, POSCAR or extxyz file in its Niggli cell or, to predict, a formula."""
        structure = first_structure(path, fields["atoms"].given)
        names = fields["atoms"].names
        for site in structure:
            if site.specie.symbol not in names:
                raise DataError(f"{path}: an atom {site.specie.symbol}; this run knows {', '.join(names)}")
        return structure

    def load_mask(self, path: Path, fields: Mapping[str, Field]) -> State:
        """A text file with the numbers of the atoms to be made anew, from 1, in the order of the input's file.

        The lattice is kept.

        Raises:
            DataError: it cannot be read, or names no atom.
        """
        return _marks(_numbers_in(path), 0)

    def gap(self, value: Structure, mask: Path | None, fields: Mapping[str, Field]) -> Gap:
        """See `load_mask`; known are the other atoms and the lattice."""
        if mask is None:
            raise ConfigError("task=inpaint needs mask=FILE, with the numbers of the atoms to make anew")
        numbers = _numbers_in(mask)
        if max(numbers) > len(value):
            raise DataError(f"{mask}: an atom {max(numbers)}; the input has {len(value)}")
        return Gap(_marks(numbers, len(value)), lambda made: made)

    def obstacle(self, task: str, fields: Mapping[str, Field]) -> str | None:
        """Only a run that was told the elements can be asked for the structure of some."""
        if task == "predict" and not fields["atoms"].given:
            return "this run makes elements itself; train one with decoder.given=atoms"
        return None

    def save(self, value: Structure, path: Path, record: Mapping[str, Any]) -> None:
        """A CIF with the record as the item ``_suffuse_record``, or an extxyz with it in its second line."""
        (write_extxyz if self.file == "extxyz" else write_cif)(value, path, record)

    def sheet(self, values: Sequence[Structure], captions: Sequence[str], path: Path) -> None:
        """A grid of drawings with formulas and captions."""
        draw_sheet(values, captions, path, self.drawing)

    def html(self, value: Structure) -> str:
        """The drawing as inline SVG, with formula, cell and volume as the title."""
        return draw_svg(value, self.drawing)

    def _known(self) -> NDArray[np.int16]:
        if self._numbers is None:
            raise RunError("decoder=structure: it does not know the elements of the data yet; call fields() or adopt()")
        return self._numbers


def _table(numbers: Sequence[int]) -> NDArray[np.int64]:
    """From an atomic number to its token; -1 for none."""
    table = np.full(max(_SYMBOLS) + 1, -1, np.int64)
    table[np.asarray(numbers, np.int64)] = np.arange(len(numbers))
    return table


def _numbers_in(path: Path) -> list[int]:
    try:
        words = re.split(r"[\s,;]+", path.read_text(encoding="utf-8").strip())
        numbers = [int(word) for word in words if word]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: numbers of atoms, from 1, are needed ({error})") from error
    if not numbers or min(numbers) < 1:
        raise DataError(f"{path}: numbers of atoms, from 1, are needed; it has {numbers or 'none'}")
    return numbers


def _marks(numbers: Sequence[int], count: int) -> State:
    marks = torch.zeros(1, max(count, *numbers), dtype=torch.bool)
    marks[0, torch.tensor(numbers) - 1] = True
    positions = marks.unsqueeze(-1).expand(-1, -1, 3).clone()
    return State({"positions": positions, "lattice": torch.zeros(1, LOGS, dtype=torch.bool), "atoms": marks})
