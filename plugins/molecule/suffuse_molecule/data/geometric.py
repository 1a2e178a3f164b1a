"""QM9, ZINC and MoleculeNet through PyTorch Geometric, which fetches them from the network the first time.

What it holds is written once as a file of SMILES with the targets as columns, and read like any other such file.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from rdkit import Chem

from suffuse.data import DataSource
from suffuse.errors import ConfigError, DataError, PluginError, suggest
from suffuse.files import cache_folder
from suffuse.fitting import Range
from suffuse_molecule.data.library import Preparing
from suffuse_molecule.data.source import read_splits
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.data.standard import Standard
from suffuse_molecule.data.tables import SmilesTable
from suffuse_molecule.graphs import build, code_of

__all__ = ["MoleculeNet", "Qm9", "Zinc"]

Count = Annotated[int, Range(least=1)]

QM9_TARGETS = (
    "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "u0", "u298", "h298", "g298", "cv",
    "u0_atom", "u298_atom", "h298_atom", "g298_atom", "a", "b", "c",
)  # fmt: skip
"""In the order of the dataset's ``y``; Debye, Bohr³, eV, eV, eV, Bohr², eV …, cal/(mol K), eV …, GHz …"""

_ZINC_ATOMS = (
    "C", "O", "N", "F", "C", "S", "Cl", "O-", "N+", "Br", "N+", "N+", "N+", "N-", "S-", "I", "P", "O+", "N-", "O+",
    "S+", "P", "P", "C-", "P+", "S+", "C-", "P+",
)  # fmt: skip
"""Element and charge of the 28 atom classes of the dataset, which tells some apart by their hydrogens."""


class Qm9(DataSource):
    """QM9: 133,885 molecules of up to nine heavy atoms C, N, O and F, with 19 properties.

    Args:
        root: where the table that is made of it is kept; None for the user's own folder of caches.
        numbers: properties that become conditions: mu, alpha, homo, lumo, gap, r2, zpve, u0, u298, h298, g298, cv …
        descriptors: that become conditions, such as ``[logp, qed]``.
        hydrogens: ``implicit``, or ``explicit`` as atoms of the graph.
        split: ``random``, or ``scaffold``.
        heldout: the share that training never sees.
        cache_dir: where prepared molecules lie; None for the user's own folder of caches.
        processes: that prepare them; None is one for each core.

    Raises:
        PluginError: PyTorch Geometric is missing.
        DataError: it cannot be fetched.

    References:
        Ramakrishnan et al. 2014, "Quantum chemistry structures and properties of 134 kilo molecules".
    """

    train: MoleculeSplit
    heldout: MoleculeSplit

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        numbers: Sequence[str] | str = (),
        descriptors: Sequence[str] | str = (),
        hydrogens: Literal["implicit", "explicit"] = "implicit",
        split: Literal["random", "scaffold"] = "random",
        heldout: float = 0.1,
        cache_dir: str | Path | None = None,
        processes: int | None = None,
    ) -> None:
        columns = _chosen(numbers, QM9_TARGETS)
        path = _exported("qm9", root, QM9_TARGETS, _qm9)
        standard = Standard(max_atoms=29 if hydrogens == "explicit" else 9, hydrogens=hydrogens)
        preparing = Preparing(cache_dir=cache_dir, processes=processes)
        self.train, self.heldout = read_splits(
            [SmilesTable(path, "smiles", columns)], standard, preparing, split, heldout, descriptors
        )


class Zinc(DataSource):
    """ZINC: 249,456 drug-like molecules with the target penalised logP, or a subset of 12,000; split as published.

    Args:
        root: where the table that is made of it is kept; None for the user's own folder of caches.
        subset: the 12,000 molecules alone.
        numbers: ``[penalised_logp]`` makes a condition of it.
        descriptors: that become conditions, such as ``[logp, qed]``.
        split: ``given``, ``random`` or ``scaffold``.
        heldout: the share that training never sees, where the split is not given.
        cache_dir: where prepared molecules lie; None for the user's own folder of caches.
        processes: that prepare them; None is one for each core.

    Raises:
        PluginError: PyTorch Geometric is missing.
        DataError: it cannot be fetched.

    References:
        Gómez-Bombarelli et al. 2018; Dwivedi et al. 2023, "Benchmarking graph neural networks".
    """

    train: MoleculeSplit
    heldout: MoleculeSplit

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        subset: bool = False,
        numbers: Sequence[str] | str = (),
        descriptors: Sequence[str] | str = (),
        split: Literal["random", "scaffold", "given"] = "given",
        heldout: float = 0.1,
        cache_dir: str | Path | None = None,
        processes: int | None = None,
    ) -> None:
        columns = _chosen(numbers, ("penalised_logp",))
        name = "zinc_subset" if subset else "zinc"
        path = _exported(name, root, ("penalised_logp", "part"), lambda place: _zinc(place, subset))
        preparing = Preparing(cache_dir=cache_dir, processes=processes)
        table = SmilesTable(path, "smiles", columns, "part" if split == "given" else None)
        self.train, self.heldout = read_splits([table], Standard(), preparing, split, heldout, descriptors)


class MoleculeNet(DataSource):
    """A set of MoleculeNet: esol, freesolv, lipo, pcba, muv, hiv, bace, bbbp, tox21, toxcast, sider or clintox.

    Args:
        dataset: its name.
        root: where the table that is made of it is kept; None for the user's own folder of caches.
        numbers: targets that become conditions: ``y0``, ``y1`` … in the order of the set.
        min_atoms, max_atoms: of the molecules that are taken.
        salts: ``reject`` what has several fragments, or take the ``largest``.
        min_count: atom kinds seen in fewer molecules are left out with them.
        descriptors: that become conditions, such as ``[logp, qed]``.
        split: ``random``, or ``scaffold``.
        heldout: the share that training never sees.
        cache_dir: where prepared molecules lie; None for the user's own folder of caches.
        processes: that prepare them; None is one for each core.

    Raises:
        PluginError: PyTorch Geometric is missing.
        DataError: it cannot be fetched.

    References:
        Wu et al. 2018, "MoleculeNet: a benchmark for molecular machine learning".
    """

    train: MoleculeSplit
    heldout: MoleculeSplit

    def __init__(
        self,
        *,
        dataset: str,
        root: str | Path | None = None,
        numbers: Sequence[str] | str = (),
        min_atoms: Count = 1,
        max_atoms: Count = 64,
        salts: Literal["reject", "largest"] = "largest",
        min_count: Count = 1,
        descriptors: Sequence[str] | str = (),
        split: Literal["random", "scaffold"] = "random",
        heldout: float = 0.1,
        cache_dir: str | Path | None = None,
        processes: int | None = None,
    ) -> None:
        known = _datasets().MoleculeNet.names
        if dataset.lower() not in known:
            raise ConfigError(f"data.dataset={dataset}: known are {', '.join(known)}{suggest(dataset, known)}")
        columns = (numbers,) if isinstance(numbers, str) else tuple(numbers)
        path = _exported(f"moleculenet_{dataset.lower()}", root, (), lambda place: _moleculenet(place, dataset))
        preparing = Preparing(cache_dir=cache_dir, processes=processes, min_count=min_count)
        standard = Standard(min_atoms=min_atoms, max_atoms=max_atoms, salts=salts)
        self.train, self.heldout = read_splits(
            [SmilesTable(path, "smiles", columns)], standard, preparing, split, heldout, descriptors
        )


def _chosen(numbers: Sequence[str] | str, known: Sequence[str]) -> tuple[str, ...]:
    columns = (numbers,) if isinstance(numbers, str) else tuple(numbers)
    for name in columns:
        if name not in known:
            raise ConfigError(f"data.numbers={name}: known are {', '.join(known)}{suggest(name, known)}")
    return columns


def _datasets() -> Any:
    try:
        import torch_geometric.datasets
    except ImportError as error:
        raise PluginError('this data needs PyTorch Geometric: pip install "suffuse[molecule]"') from error
    return torch_geometric.datasets


Line = Sequence[Any]


def _exported(name: str, root: str | Path | None, columns: Sequence[str], lines: Any) -> Path:
    """The dataset as a CSV file, written once.

    PyTorch Geometric unpickles what lies in its folder. It gets a new one, in which only what it fetches can lie.

    Args:
        name: of the file.
        root: of the file's folder.
        columns: after the SMILES; empty for ``y0`` on.
        lines: (folder) -> rows of the file.

    Raises:
        DataError: it cannot be fetched or written.
    """
    base = cache_folder("molecule") / "geometric" if root is None else Path(root).expanduser()
    path = base / "suffuse" / f"{name}.csv"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".", ignore_cleanup_errors=True) as hidden:
            draft = Path(hidden) / path.name
            with draft.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                for number, row in enumerate(lines(str(Path(hidden) / "fetched"))):
                    if number == 0:
                        writer.writerow(["smiles", *(columns or [f"y{place}" for place in range(len(row) - 1)])])
                    writer.writerow(row)
            draft.replace(path)
    except (OSError, RuntimeError) as error:  # of urllib, and of a damaged download
        raise DataError(f"{name}: cannot be fetched or written below {base} ({error})") from error
    return path


def _targets(data: Any) -> list[str]:
    return ["" if np.isnan(value) else repr(float(value)) for value in data.y.reshape(-1).tolist()]


def _qm9(root: str) -> Iterable[Line]:
    for data in _datasets().QM9(root):
        yield [data.smiles, *_targets(data)]


def _moleculenet(root: str, dataset: str) -> Iterable[Line]:
    for data in _datasets().MoleculeNet(root, dataset):
        yield [data.smiles, *_targets(data)]


def _zinc(root: str, subset: bool) -> Iterable[Line]:
    codes = [code_of(name) for name in _ZINC_ATOMS]
    for part in ("train", "val", "test"):
        for data in _datasets().ZINC(root, subset, part):
            ends, orders = data.edge_index.numpy(), data.edge_attr.reshape(-1).numpy()
            once = ends[0] < ends[1]
            bonds = np.stack([ends[0][once], ends[1][once], orders[once]], 1).astype(np.int16)
            mol = build([codes[int(token)] for token in data.x.reshape(-1)], bonds)
            mol.UpdatePropertyCache(strict=False)
            yield [Chem.MolToSmiles(mol), *_targets(data), part]
