"""What a team wants to know of each molecule that was drawn, found in child processes that may hang or die."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from rdkit import Chem, rdBase
from rdkit.Chem import AllChem
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from suffuse.progress import Progress
from suffuse_molecule.alerts import alerts_of
from suffuse_molecule.descriptors import describe, fingerprint, scaffold
from suffuse_molecule.graphs import Atoms, Bonds
from suffuse_molecule.molecule import Molecule
from suffuse_molecule.workers import Lost, Workers

__all__ = ["MEASURED", "Asked", "Marks", "fold", "fold_all", "isomers_all", "score", "score_all"]

MEASURED = (
    "qed", "sa", "logp", "mw", "tpsa", "hbd", "hba", "rings", "aromatic_rings", "rotatable_bonds", "stereo_centres",
    "heavy_atoms", "charge",
)  # fmt: skip
"""The descriptors of every table."""

Graph: TypeAlias = tuple[Atoms, Bonds]

_CHUNK = 100


class Asked(NamedTuple):
    """What is looked for.

    Args:
        explicit: whether hydrogens are atoms of the graphs.
        filters: names of `suffuse_molecule.alerts`.
        conformers: whether to fold each molecule.
        isomers: at most so many stereoisomers are listed.
        described: more descriptors.
        spans: lowest and highest that were asked for, by descriptor.
    """

    explicit: bool
    filters: tuple[str, ...] = ()
    conformers: bool = False
    isomers: int = 0
    described: tuple[str, ...] = ()
    spans: tuple[tuple[str, float, float], ...] = ()


class Marks(NamedTuple):
    """What was found of one graph. From the key on all but ``repaired`` is empty unless it is valid.

    Args:
        reason: why it is no valid molecule; None for a valid one.
        smiles: canonical, without stereo; also that of several fragments.
        key: InChIKey.
        numbers: the descriptors `MEASURED` and those that were asked for beside them.
        scaffold: its Bemis-Murcko scaffold; empty without a ring.
        alerts: of the filters, by name.
        fingerprint: packed bits.
        conformer: ``ok`` or what failed, with ``timeout`` or ``crash`` too; empty where none was asked for.
        block: the MOL block of the conformer, with hydrogens.
        isomers: SMILES of the stereoisomers.
        repaired: SMILES of what ``decoder.repair`` made of an invalid graph.
    """

    reason: str | None
    smiles: str = ""
    key: str = ""
    numbers: tuple[float, ...] = ()
    scaffold: str = ""
    alerts: tuple[str, ...] = ()
    fingerprint: bytes = b""
    conformer: str = ""
    block: str = ""
    isomers: tuple[str, ...] = ()
    repaired: str = ""


def score(values: Sequence[Molecule], asked: Asked, processes: int | None, seconds: float) -> list[Marks]:
    """The marks of each molecule; one that hangs or ends its process has the reason ``timeout`` or ``crash``.

    To be hard to fold is no such reason: conformers and stereoisomers are looked for once all else is known.
    """

    def look(task: str, places: Sequence[int], *settings: Any) -> Iterator[tuple[int, Any]]:
        graphs = [(values[place].atoms, values[place].bonds) for place in places]
        chunks = (graphs[start : start + _CHUNK] for start in range(0, len(graphs), _CHUNK))
        with (
            Workers(f"{__name__}:{task}", *settings, processes=processes, seconds=seconds) as workers,
            Progress(len(graphs), "molecule") as bar,
        ):
            found = (each for results in workers.map(chunks) for each in results)
            for done, (place, each) in enumerate(zip(places, found, strict=True), 1):
                bar.update(done)
                yield place, each

    marks = [
        Marks(str(mark)) if isinstance(mark, Lost) else mark for _, mark in look("score_all", range(len(values)), asked)
    ]
    good = [place for place, mark in enumerate(marks) if mark.reason is None]
    if asked.conformers and good:
        for place, found in look("fold_all", good, asked.explicit):
            word, block = (f"not embedded: {found}", "") if isinstance(found, Lost) else found
            marks[place] = marks[place]._replace(conformer=word, block=block)
    if asked.isomers and good:
        for place, found in look("isomers_all", good, asked.explicit, asked.isomers):
            marks[place] = marks[place]._replace(isomers=() if isinstance(found, Lost) else found)
    return [
        mark if value.repaired is None else mark._replace(repaired=value.repaired.smiles)
        for mark, value in zip(marks, values, strict=True)
    ]


def score_all(graphs: Sequence[Graph], asked: Asked) -> list[Marks]:
    """The marks of each graph but conformers and stereoisomers, in this process; so too the next two."""
    return [_marks(Molecule(*graph, asked.explicit), asked) for graph in graphs]


def fold_all(graphs: Sequence[Graph], explicit: bool) -> list[tuple[str, str]]:
    """The conformer of each valid graph; see `fold`."""
    return [fold(Molecule(*graph, explicit).mol) for graph in graphs]


def isomers_all(graphs: Sequence[Graph], explicit: bool, most: int) -> list[tuple[str, ...]]:
    """Distinct stereoisomers of each valid graph, at most so many; some of those that can be drawn cannot be built."""
    options = StereoEnumerationOptions(maxIsomers=most, unique=True)
    with rdBase.BlockLogs():
        return [
            tuple(
                sorted(
                    {
                        str(Chem.MolToSmiles(each))
                        for each in EnumerateStereoisomers(Molecule(*graph, explicit).mol, options=options)
                    }
                )
            )
            for graph in graphs
        ]


def _marks(value: Molecule, asked: Asked) -> Marks:
    mol = value.mol
    if mol is None or not value.valid:
        return Marks(value.reason, value.smiles)
    with rdBase.BlockLogs():
        return Marks(
            None,
            value.smiles,
            str(Chem.MolToInchiKey(mol)),
            tuple(describe(mol, name) for name in (*MEASURED, *asked.described)),
            scaffold(mol),
            tuple(alerts_of(mol, asked.filters)),
            fingerprint(mol),
        )


def fold(mol: Chem.Mol) -> tuple[str, str]:
    """The word for how it went, and one conformer by ETKDG, relaxed by MMFF94, as a MOL block; empty for none.

    References:
        Riniker and Landrum 2015; Wang et al. 2020 (ETKDG version 3); Halgren 1996 (MMFF94).
    """
    settings = AllChem.ETKDGv3()
    settings.randomSeed = 1
    with rdBase.BlockLogs():
        full = Chem.AddHs(mol)
        if AllChem.EmbedMolecule(full, settings) < 0:
            return "not embedded", ""
        if not AllChem.MMFFHasAllMoleculeParams(full):
            return "not relaxed: no MMFF94 parameters", str(Chem.MolToMolBlock(full))
        word = "ok" if AllChem.MMFFOptimizeMolecule(full, maxIters=1000) == 0 else "not relaxed: no minimum found"
        return word, str(Chem.MolToMolBlock(full))
