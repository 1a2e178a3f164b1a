"""The split that all sources of molecules share, and the rules by which molecules are held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from suffuse.conditions import Scalar
from suffuse.data import Batch, Item, Split
from suffuse.errors import ConfigError
from suffuse_molecule.data.library import Library, Preparing
from suffuse_molecule.descriptors import fingerprints_of
from suffuse_molecule.graphs import Packed
from suffuse_molecule.molecule import Molecule

__all__ = ["MoleculeSplit", "check_share", "held_out_by_key"]


class MoleculeSplit(Split):
    """Some molecules of a library.

    Args:
        library: of prepared molecules.
        rows: those that belong to this split.
        codes: every atom kind of the data, of this split and of others.
        numbers: for each condition a value for each row of this split, NaN where it is missing.
        conditions: their descriptions.
        explicit: whether hydrogens are atoms of the graphs.
    """

    def __init__(
        self,
        *,
        library: Library,
        rows: NDArray[np.int64],
        codes: Sequence[int],
        numbers: Mapping[str, NDArray[np.float64]],
        conditions: Mapping[str, Scalar],
        explicit: bool = False,
    ) -> None:
        self.conditions = dict(conditions)
        self.codes = tuple(codes)
        self.explicit = explicit
        self.library = library
        self._rows = np.asarray(rows, np.int32)
        self._numbers = {name: np.asarray(numbers[name], np.float32) for name in self.conditions}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        ((atoms, bonds),) = self.library.graphs(self._rows[[index]]).graphs()
        known = {name: float(values[index]) for name, values in self._numbers.items() if not np.isnan(values[index])}
        return Item(Molecule(atoms, bonds, self.explicit), known)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def sizes(self) -> NDArray[np.int32]:
        """Atoms of each molecule."""
        return self.library.sizes(self._rows)

    def gather(self, indices: Sequence[int], rngs: Sequence[np.random.Generator] | None = None) -> Batch:
        """``values`` is `Packed`; all molecules are fetched by one index operation."""
        chosen = np.asarray(indices, np.int64)
        conditions = {name: torch.from_numpy(values[chosen]) for name, values in self._numbers.items()}
        return Batch(self.library.graphs(self._rows[chosen]), conditions)

    def graphs(self, indices: Sequence[int] | NDArray[np.int64]) -> Packed:
        """Some molecules, without their conditions."""
        return self.library.graphs(self._rows[np.asarray(indices, np.int64)])

    def keys(self) -> NDArray[np.uint64]:
        """A hash of each molecule, as `suffuse_molecule.molecule.key_of` its SMILES."""
        return np.asarray(self.library.keys[self._rows])

    def fingerprints(self, preparing: Preparing) -> NDArray[np.uint8]:
        """Packed fingerprints, ``[N, BITS / 8]``; computed once for the library and kept beside it."""
        places = np.searchsorted(np.asarray(self.library.kept), self._rows)
        return fingerprints_of(self.library, preparing)[places]

    def smiles(self, indices: Sequence[int] | NDArray[np.int64] | None = None) -> list[str]:
        """Canonical SMILES of some molecules or of all, without stereo."""
        return self.library.smiles(self._rows if indices is None else self._rows[np.asarray(indices, np.int64)])


def check_share(share: float) -> float:
    """``share`` itself.

    Raises:
        ConfigError: it is not a share of the data that leaves something to train on.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"data.heldout={share}: a share of the data from 0 to less than 1")
    return share


def held_out_by_key(keys: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Which molecules are held out, decided by each one's own key, a hash.

    So a molecule stays on its side when others are added or taken away, and those with one key stay together. With two
    keys or more neither side is empty, unless ``share`` is 0.
    """
    places = np.asarray(keys, np.uint64) / 2.0**64
    held = places < share
    distinct = np.unique(places)
    if share > 0 and len(distinct) > 1:
        if not held.any():
            held = places == distinct[0]
        elif held.all():
            held = places != distinct[-1]
    return held
