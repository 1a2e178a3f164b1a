"""From records to the two splits of a data source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from suffuse.errors import ConfigError
from suffuse.fitting import Range
from suffuse_crystal.data.library import Preparing, Records, open_library
from suffuse_crystal.data.splits import CrystalSplit, Rule, split_libraries
from suffuse_crystal.data.standard import Standard

__all__ = ["Count", "Place", "read_splits"]

Count: TypeAlias = Annotated[int, Range(least=1)]
Place: TypeAlias = str | Path


def read_splits(
    records: Sequence[Records],
    standard: Standard,
    preparing: Preparing,
    *,
    split: Rule,
    heldout: float,
    split_column: str | None = None,
    classes: Sequence[str] = (),
    numbers: Sequence[str] = (),
    descriptors: Sequence[str] = (),
) -> tuple[CrystalSplit, CrystalSplit]:
    """Both parts of a source, from its records and perhaps others that are held out.

    Raises:
        ConfigError, DataError: as `open_library` and `split_libraries`.
    """
    if len(records) > 1 and split != "given":
        raise ConfigError(f"data.heldout_path is the held-out part; data.split={split} would make another: split=given")
    libraries = [open_library(each, standard, preparing) for each in records]
    return split_libraries(
        libraries[0],
        libraries[1] if len(libraries) > 1 else None,
        split=split,
        split_column=split_column,
        heldout=heldout,
        classes=classes,
        numbers=numbers,
        descriptors=descriptors,
    )
