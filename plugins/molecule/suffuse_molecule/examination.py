"""Everything that the metrics ask of one molecule, found in one go by child processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from suffuse.progress import Progress
from suffuse_molecule.descriptors import describe, fingerprint, scaffold
from suffuse_molecule.graphs import Atoms, Bonds, atoms_of
from suffuse_molecule.molecule import Molecule
from suffuse_molecule.workers import Lost, Workers

__all__ = ["COMPARED", "Facts", "examine", "examine_all"]

COMPARED = ("logp", "qed", "sa", "mw", "tpsa")
"""The descriptors whose distributions are compared."""

_CHUNK = 250


class Facts(NamedTuple):
    """What is known of one graph.

    Args:
        reason: why it is no valid molecule; None for a valid one.
        sanitised: whether RDKit accepts it, in however many pieces.
        smiles: canonical, without stereo. From here on everything is empty unless it is valid.
        numbers: the descriptors `COMPARED`.
        scaffold: its Bemis-Murcko scaffold; empty without a ring.
        atoms: codes.
        orders: of the bonds, kekulised.
        rings: sizes of the smallest rings.
        charged: how many atoms have a formal charge.
        fingerprint: packed bits.
    """

    reason: str | None
    sanitised: bool
    smiles: str = ""
    numbers: tuple[float, ...] = ()
    scaffold: str = ""
    atoms: tuple[int, ...] = ()
    orders: tuple[int, ...] = ()
    rings: tuple[int, ...] = ()
    charged: int = 0
    fingerprint: bytes = b""

    @property
    def valid(self) -> bool:
        """A molecule in one piece."""
        return self.reason is None


def examine(
    graphs: Iterable[tuple[Atoms, Bonds]], count: int, explicit: bool, processes: int | None, seconds: float
) -> list[Facts]:
    """The facts of each graph; one that hangs or ends its process has the reason ``timeout`` or ``crash``.

    Args:
        graphs: atoms and bonds.
        count: how many.
        explicit: whether hydrogens are atoms of the graphs.
        processes: that work on it; None is one for each core, 0 none but this one.
        seconds: of work that one graph may take.
    """
    found: list[Facts] = []
    task = "suffuse_molecule.examination:examine_all"
    with Workers(task, explicit, processes=processes, seconds=seconds) as workers, Progress(count, "molecule") as bar:
        for results in workers.map(_chunks(graphs)):
            found += [Facts(str(each), False) if isinstance(each, Lost) else each for each in results]
            bar.update(len(found))
    return found


def examine_all(graphs: Sequence[tuple[Atoms, Bonds]], explicit: bool) -> list[Facts]:
    """The facts of each graph, in this process."""
    return [_facts(Molecule(atoms, bonds, explicit)) for atoms, bonds in graphs]


def _facts(value: Molecule) -> Facts:
    mol = value.mol
    if mol is None or not value.valid:
        return Facts(value.reason, mol is not None, value.smiles)
    return Facts(
        None,
        True,
        value.smiles,
        tuple(describe(mol, name) for name in COMPARED),
        scaffold(mol),
        tuple(value.atoms.tolist()),
        tuple(value.bonds[:, 2].tolist()),
        tuple(len(ring) for ring in mol.GetRingInfo().AtomRings()),
        sum(atom.GetFormalCharge() != 0 for atom in atoms_of(mol)),
        fingerprint(mol),
    )


def _chunks(graphs: Iterable[tuple[Atoms, Bonds]]) -> Iterator[list[tuple[Atoms, Bonds]]]:
    chunk: list[tuple[Atoms, Bonds]] = []
    for graph in graphs:
        chunk.append(graph)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
