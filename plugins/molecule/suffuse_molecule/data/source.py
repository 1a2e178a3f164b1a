"""From prepared libraries to the two splits of a data source."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from suffuse.conditions import Scalar
from suffuse.errors import ConfigError, DataError, suggest
from suffuse_molecule.data.library import Library, Preparing, Table, open_library
from suffuse_molecule.data.splits import MoleculeSplit, check_share, held_out_by_key
from suffuse_molecule.data.standard import Standard
from suffuse_molecule.descriptors import check_names, columns_of, scaffolds_of
from suffuse_molecule.molecule import key_of

__all__ = ["SPLITS", "read_splits", "split_library"]

SPLITS = ("random", "scaffold", "given")
_TRAINING = ("train", "training")
_UNUSED = ("ignore", "unused", "none", "")


def read_splits(
    tables: Sequence[Table],
    standard: Standard,
    preparing: Preparing,
    split: str,
    heldout: float,
    descriptors: Sequence[str] | str,
) -> tuple[MoleculeSplit, MoleculeSplit]:
    """Both parts of a source, from its file and perhaps a second one of held-out molecules.

    Raises:
        ConfigError, DataError: as `open_library` and `split_library`.
    """
    names = (descriptors,) if isinstance(descriptors, str) else tuple(descriptors)
    check_names(names)
    check_share(heldout)
    if len(tables) > 1 and split != "given":
        raise ConfigError(f"data.heldout_path is the held-out part; data.split={split} would make another: split=given")
    libraries = [open_library(table, standard, preparing) for table in tables]
    return split_library(
        libraries[0],
        split=split,
        heldout=heldout,
        descriptors=names,
        preparing=preparing,
        explicit=standard.explicit,
        other=libraries[1] if len(libraries) > 1 else None,
    )


def split_library(
    library: Library,
    *,
    split: str,
    heldout: float,
    descriptors: Sequence[str],
    preparing: Preparing,
    explicit: bool,
    other: Library | None = None,
) -> tuple[MoleculeSplit, MoleculeSplit]:
    """The training part and the held-out part.

    Args:
        library: of the file.
        split: ``random``, ``scaffold`` (molecules with one Bemis-Murcko scaffold stay together), or ``given`` by a
            column of the file or by another file.
        heldout: the share that is held out where the file does not say it.
        descriptors: that become conditions, beside the numbers of the library.
        preparing: how they are computed.
        explicit: whether hydrogens are atoms of the graphs.
        other: of the file of held-out molecules.

    Raises:
        ConfigError: an unknown rule or descriptor.
        DataError: a part is empty.
    """
    share = check_share(heldout)
    if split not in SPLITS:
        raise ConfigError(f"data.split={split}: allowed are {', '.join(SPLITS)}{suggest(split, SPLITS)}")
    check_names(descriptors)
    rows = np.asarray(library.kept)
    if other is not None:
        parts = [(library, rows), (other, np.asarray(other.kept))]
    else:
        held = _held_out(library, rows, split, share, preparing)
        parts = [(library, rows[held == 0]), (library, rows[held == 1])]
    codes = sorted(set(library.codes) | set(other.codes if other is not None else ()))
    if not len(parts[0][1]):
        raise DataError(f"{library.facts['file']}: no molecule is left to train on; see data.split and data.heldout")
    numbers = [_numbers(each, chosen, descriptors, preparing) for each, chosen in parts]
    conditions = {name: _scale(values, name, library) for name, values in numbers[0].items()}
    train, held_out = (
        MoleculeSplit(library=each, rows=chosen, codes=codes, numbers=values, conditions=conditions, explicit=explicit)
        for (each, chosen), values in zip(parts, numbers, strict=True)
    )
    return train, held_out


def _held_out(
    library: Library, rows: NDArray[np.int64], split: str, share: float, preparing: Preparing
) -> NDArray[np.int8]:
    """0 for training, 1 for held out, 2 for neither."""
    if split == "given":
        words = [str(word).strip().lower() for word in library.facts["parts"]]
        if words in ([], [""]):
            raise ConfigError("data.split=given needs data.split_column or data.heldout_path")
        codes = [0 if word in _TRAINING else 2 if word in _UNUSED else 1 for word in words]
        return np.asarray(np.array(codes, np.int8)[library.parts[rows]])
    keys = library.keys[rows]
    if split == "scaffold":
        # What has no ring has no scaffold: such molecules are spread one by one.
        own = [key_of(each) if each else 0 for each in scaffolds_of(library, preparing)]
        keys = np.where(np.array(own, np.uint64) > 0, np.array(own, np.uint64), keys)
    return held_out_by_key(keys, share).astype(np.int8)


def _numbers(
    library: Library, rows: NDArray[np.int64], descriptors: Sequence[str], preparing: Preparing
) -> dict[str, NDArray[np.float64]]:
    names = [condition_name(column) for column in library.facts["columns"]]
    if len(set(names)) < len(names):
        raise ConfigError(f"data.numbers give two conditions of one name: {', '.join(names)}")
    columns = {name: np.asarray(library.numbers[rows, place]) for place, name in enumerate(names)}
    for name in descriptors:
        if name in columns:
            raise ConfigError(f"data.descriptors={name}: a column of the data has that name; leave one of them out")
        columns[name] = columns_of(library, name, preparing)[rows]
    return columns


def _scale(values: NDArray[np.float64], name: str, library: Library) -> Scalar:
    known = values[~np.isnan(values)]
    if not len(known):
        raise DataError(f"{library.facts['file']}: the column {name} holds no number for any training molecule")
    return Scalar.of(known)


def condition_name(column: str) -> str:
    """A column's name as it can be typed after ``condition.``: letters, digits and ``_``."""
    return re.sub(r"\W+", "_", column.strip()).strip("_") or "number"
