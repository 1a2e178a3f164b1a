"""``suffuse sample`` for molecules: a scaffold that all of them keep, and tables of everything that was drawn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from suffuse.conditions import Span
from suffuse.data import DataSource, Decoder, Part, Session
from suffuse.errors import ConfigError, PluginError, suggest
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.state import State
from suffuse_molecule.alerts import check_filters
from suffuse_molecule.decoder import Graph
from suffuse_molecule.descriptors import DESCRIPTORS
from suffuse_molecule.graphs import code_of, name_of
from suffuse_molecule.scaffolds import Scaffold
from suffuse_molecule.scoring import MEASURED, Asked, score
from suffuse_molecule.workers import Lost, alone

__all__ = ["MoleculeSession"]


class MoleculeSession(Session):
    """The settings of ``suffuse sample`` that only molecules have.

    Args:
        fields: of the run.
        decoder: of the run.
        data: opens its data.
        spans: ranges that were asked for, by condition.
        scaffold: a SMILES that every molecule keeps, with ``*`` where it may grow; empty for none.
        linker: atoms between the fragments of a scaffold, a number or a range such as ``3..6``; None for any.
        table: whether all draws go into tables; so too where one of the following is set.
        filters: names of alerts.
        rank: a number by which the SDF file is ordered, highest first, or lowest first with a minus before it.
        conformers: whether the SDF file has coordinates in space.
        stereoisomers: so many of each molecule are listed at most; 0 for none.
        page: so many molecules are on the page at most; 0 writes none.
        nearest: whether the most similar training molecule of each is searched for.
        processes: that score molecules; None is one for each core, 0 works in this process.
        seconds: of work that one molecule may take, and so many more for its conformer and for its stereoisomers.

    Raises:
        ConfigError: a scaffold that is none, or does not fit the run; an unknown filter or number.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        decoder: Decoder,
        data: Callable[[], DataSource],
        spans: Mapping[str, Span] | None = None,
        scaffold: str = "",
        linker: int | str | None = None,
        table: bool = False,
        filters: Sequence[str] | str = (),
        rank: str = "",
        conformers: bool = False,
        stereoisomers: Annotated[int, Range(least=0, most=1000)] = 0,
        page: Annotated[int, Range(least=0, most=10_000)] = 400,
        nearest: bool = True,
        processes: Annotated[int, Range(least=0)] | None = None,
        seconds: Annotated[float, Range(above=0)] = 2.0,
    ) -> None:
        assert isinstance(decoder, Graph)
        self._names = fields["atoms"].names
        self._decoder, self._data = decoder, data
        self._nearest, self._processes, self._seconds = nearest, processes, seconds
        self._scaffold = self._read(scaffold) if scaffold else None
        self._linker = self._linking(linker)
        chosen = (filters,) if isinstance(filters, str) else tuple(filters)
        check_filters(chosen)
        column = rank.removeprefix("-")
        if column and column not in DESCRIPTORS:
            known = ", ".join(DESCRIPTORS)
            raise ConfigError(f"rank={rank}: known are {known}{suggest(column, DESCRIPTORS)}")
        self._rank, self._page = rank, page
        described = (column,) if column and column not in MEASURED else ()
        asked = tuple((name, span.low, span.high) for name, span in (spans or {}).items())
        self._asked = Asked(decoder.explicit, chosen, conformers, stereoisomers, described, asked)
        self.tables = bool(table or chosen or rank or conformers or stereoisomers)
        if self.tables:
            _check_pyarrow()

    def _read(self, text: str) -> Scaffold:
        """In a process of its own, for who knows what was typed."""
        task, processes = "suffuse_molecule.scaffolds:read_all", 0 if self._processes == 0 else 1
        found = alone(task, text, self._decoder.explicit, processes=processes, seconds=self._seconds)
        if isinstance(found, Lost):
            raise ConfigError(f"scaffold={text[:80]}: RDKit cannot cope with it ({found})")
        if isinstance(found, str):
            raise ConfigError(found)
        assert isinstance(found, Scaffold)
        return found

    def _linking(self, typed: int | str | None) -> Span | None:
        if typed is None:
            return None
        if self._scaffold is None or self._scaffold.fragments < 2:
            raise ConfigError(
                f"linker={typed}: joins a scaffold of two fragments, such as 'scaffold=*c1ccccc1.*C1CCNCC1'"
            )
        try:
            span = Span.read(str(typed), "linker") or Span(int(typed), int(typed))
        except ValueError:
            raise ConfigError(f"linker={typed}: must be a whole number, or a range such as 3..6") from None
        if span.high < max(1, self._scaffold.least):
            raise ConfigError(f"linker={typed}: at least {self._scaffold.least} atoms are needed here")
        return span

    def part(self) -> Part | None:
        """The scaffold, whose atoms come first, and its bonds to the new atoms.

        Raises:
            ConfigError: the run knows no such atom.
        """
        scaffold = self._scaffold
        if scaffold is None:
            return None
        strange = sorted({name_of(each) for each in scaffold.atoms.tolist()} - set(self._names))
        if strange:
            raise ConfigError(
                f"scaffold={scaffold.text}: has {', '.join(strange)}; this run knows {', '.join(self._names)}"
            )
        own, linker = len(scaffold.atoms), self._linker
        least = scaffold.least if linker is None else max(scaffold.least, int(np.ceil(max(0, linker.low))))
        most = None if linker is None or np.isinf(linker.high) else own + int(linker.high)
        return Part(own + least, most, lambda mask: self._place(scaffold, mask), f"scaffold={scaffold.text}")

    def _place(self, scaffold: Scaffold, mask: Tensor) -> tuple[State, State]:
        count, room = mask.shape
        own = len(scaffold.atoms)
        codes = {code_of(name): token for token, name in enumerate(self._names)}
        atoms = torch.zeros(count, room, dtype=torch.long)
        atoms[:, :own] = torch.tensor([codes[each] for each in scaffold.atoms.tolist()])
        bonds = torch.zeros(count, room, room, dtype=torch.long)
        first, second, order = torch.from_numpy(scaffold.bonds.astype(np.int64)).unbind(1)
        bonds[:, first, second] = bonds[:, second, first] = order
        hosts, orders = torch.from_numpy(scaffold.hosts), torch.from_numpy(scaffold.orders)
        for row, size in enumerate(mask.sum(1).tolist()):
            ends = own + torch.from_numpy(scaffold.ends(size - own))
            bonds[row, hosts, ends] = bonds[row, ends, hosts] = orders
        new = (torch.arange(room) >= own).expand(count, room)
        unknown = State({"atoms": new, "bonds": new[:, :, None] & new[:, None]}, mask)
        return State({"atoms": atoms, "bonds": bonds}, mask), unknown

    def write(
        self,
        values: Sequence[Any],
        records: Sequence[Mapping[str, Any]],
        asked: Sequence[Mapping[str, Any]],
        path: Path,
    ) -> None:
        """The marks of each molecule as one Parquet file.

        Raises:
            DataError: it cannot be written.
        """
        from suffuse_molecule.parts import write_part

        # What was asked for and can be measured stands beside what was achieved.
        named = dict.fromkeys((*self._asked.described, *(name for wishes in asked for name in wishes)))
        described = tuple(name for name in named if name in DESCRIPTORS and name not in MEASURED)
        looked = self._asked._replace(described=described)
        write_part(score(values, looked, self._processes, self._seconds), records, asked, looked, path)

    def join(self, paths: Sequence[Path], folder: Path) -> None:
        """``molecules.parquet``, ``.csv``, ``.sdf`` and ``.html``, ``summary.json``, perhaps ``stereoisomers.csv``.

        Raises:
            DataError: they cannot be written.
        """
        from suffuse_molecule.results import join_parts, told

        summary = join_parts(
            paths,
            folder,
            self._asked,
            self._data,
            search=self._nearest,
            processes=self._processes,
            rank=self._rank,
            page=self._page,
        )
        print(told(summary), file=sys.stderr, flush=True)


def _check_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise PluginError('tables of molecules need pyarrow: pip install "suffuse[molecule]"') from error
