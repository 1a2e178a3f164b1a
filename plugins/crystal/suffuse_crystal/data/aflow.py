"""The embedded data: real crystals, one of each structure type, that come inside pymatgen; nothing is fetched."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from suffuse.data import DataSource
from suffuse.errors import DataError
from suffuse_crystal.data.library import Preparing, Row
from suffuse_crystal.data.source import Count, Place, read_splits
from suffuse_crystal.data.splits import CrystalSplit
from suffuse_crystal.data.standard import Standard

__all__ = ["Aflow"]


class Aflow(DataSource):
    """The prototypes of AFLOW: 288 real crystals of as many structure types, from copper to spinel.

    Source: Mehl et al. 2017, "The AFLOW library of crystallographic prototypes", as pymatgen ships them.

    Args:
        max_sites: crystals with more atoms in the cell are left out.
        elements: others are left out with their crystals; empty for all.
        descriptors: that become conditions, such as ``[space_group, density]``.
        split: ``random``, or ``formula``, where crystals of one formula stay together.
        heldout: the share that training never sees.
        cache_dir: where prepared crystals lie; None for the user's own folder of caches.
    """

    train: CrystalSplit
    heldout: CrystalSplit

    def __init__(
        self,
        *,
        max_sites: Count = 20,
        elements: Sequence[str] = (),
        descriptors: Sequence[str] = (),
        split: Literal["random", "formula"] = "random",
        heldout: float = 0.1,
        cache_dir: Place | None = None,
    ) -> None:
        self.train, self.heldout = read_splits(
            [_Prototypes()],
            Standard(max_sites=max_sites, elements=tuple(elements)),
            Preparing(cache_dir=cache_dir),
            split=split,
            heldout=heldout,
            descriptors=descriptors,
        )


class _Prototypes:
    """The file that pymatgen ships."""

    origin = "AFLOW prototypes"
    columns: tuple[str, ...] = ()

    def __init__(self) -> None:
        found = find_spec("pymatgen.analysis.prototypes")
        folders = [] if found is None else found.submodule_search_locations or []
        paths = [Path(folder) / "aflow_prototypes.json.gz" for folder in folders]
        self.path = next((path for path in paths if path.is_file()), None)
        if self.path is None:
            raise DataError("data=aflow: this pymatgen comes without the AFLOW prototypes; install the wheel of PyPI")

    def identity(self) -> Mapping[str, Any]:
        return {"prototypes": version("pymatgen")}

    def count(self) -> int:
        return 288

    def rows(self) -> Iterator[Row]:
        assert self.path is not None
        with gzip.open(self.path, "rt", encoding="utf-8") as stream:
            entries = json.load(stream)
        for entry in entries:
            structure = {key: entry["snl"][key] for key in ("lattice", "sites")}
            structure.update({"@module": "pymatgen.core.structure", "@class": "Structure"})
            yield Row(str(entry["tags"]["aflow"]), json.dumps(structure), "json", {})
