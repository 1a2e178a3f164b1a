"""What a team wants to know of each molecule that was drawn, found in child processes that may hang or die."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rdkit import Chem, rdBase
from rdkit.Chem import AllChem
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from suffuse.conditions import Span
from suffuse.progress import Progress
from suffuse_molecule.alerts import alerts_of
from suffuse_molecule.descriptors import describe, fingerprint, scaffold
from suffuse_molecule.graphs import Atoms, Bonds
from suffuse_molecule.molecule import Molecule
from suffuse_molecule.workers import Lost, Workers

__all__ = ["MEASURED", "Asked", "Marks", "fold", "score", "score_all"]

MEASURED = (
    "qed", "sa", "logp", "mw", "tpsa", "hbd", "hba", "rings", "aromatic_rings", "rotatable_bonds", "stereo_centres",
    "heavy_atoms", "charge",
)  # fmt: skip
"""The descriptors of every table."""

_CHUNK = 100


class Asked(NamedTuple):
    """What is looked for.

    Args:
        explicit: whether hydrogens are atoms of the graphs.
        filters: names of `suffuse_molecule.alerts`.
        conformers: whether to fold each molecule.
        isomers: at most so many stereoisomers are listed.
        described: more descriptors.
        spans: that were asked for, by descriptor.
    """

    explicit: bool
    filters: tuple[str, ...] = ()
    conformers: bool = False
    isomers: int = 0
    described: tuple[str, ...] = ()
    spans: tuple[tuple[str, Span], ...] = ()


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

    To be hard to fold is no such reason: what is lost is looked at once more without conformers, and then without
    stereoisomers.
    """
    graphs = [(value.atoms, value.bonds) for value in values]
    found = _score(graphs, asked, processes, seconds)
    for less in _less(asked):
        lost = [place for place, each in enumerate(found) if isinstance(each, Lost)]
        again = _score([graphs[place] for place in lost], less, processes, seconds) if lost else []
        for place, mark in zip(lost, again, strict=True):
            if asked.conformers and isinstance(mark, Marks) and mark.reason is None:
                mark = mark._replace(conformer=f"not embedded: {found[place]}")
            found[place] = mark
    marks = [Marks(str(each)) if isinstance(each, Lost) else each for each in found]
    return [
        mark if value.repaired is None else mark._replace(repaired=value.repaired.smiles)
        for mark, value in zip(marks, values, strict=True)
    ]


def _less(asked: Asked) -> Iterator[Asked]:
    """The same without what may take forever."""
    if asked.conformers:
        yield asked._replace(conformers=False)
    if asked.isomers:
        yield asked._replace(conformers=False, isomers=0)


def _score(
    graphs: Sequence[tuple[Atoms, Bonds]], asked: Asked, processes: int | None, seconds: float
) -> list[Marks | Lost]:
    found: list[Marks | Lost] = []
    with (
        Workers("suffuse_molecule.scoring:score_all", asked, processes=processes, seconds=seconds) as workers,
        Progress(len(graphs), "molecule") as bar,
    ):
        for results in workers.map(_chunks(graphs)):
            found += results
            bar.update(len(found))
    return found


def score_all(graphs: Sequence[tuple[Atoms, Bonds]], asked: Asked) -> list[Marks]:
    """The marks of each graph, in this process."""
    return [_marks(Molecule(atoms, bonds, asked.explicit), asked) for atoms, bonds in graphs]


def _marks(value: Molecule, asked: Asked) -> Marks:
    mol = value.mol
    if mol is None or not value.valid:
        return Marks(value.reason, value.smiles)
    with rdBase.BlockLogs():
        key = str(Chem.MolToInchiKey(mol))
        conformer, block = fold(mol) if asked.conformers else ("", "")
        return Marks(
            None,
            value.smiles,
            key,
            tuple(describe(mol, name) for name in (*MEASURED, *asked.described)),
            scaffold(mol),
            tuple(alerts_of(mol, asked.filters)),
            fingerprint(mol),
            conformer,
            block,
            _isomers(mol, asked.isomers) if asked.isomers else (),
        )


def fold(mol: Chem.Mol) -> tuple[str, str]:
    """The word for how it went, and one conformer by ETKDG, relaxed by MMFF94, as a MOL block; empty for none.

    References:
        Riniker and Landrum 2015; Wang et al. 2020 (ETKDG version 3); Halgren 1996 (MMFF94).
    """
    full = Chem.AddHs(mol)
    settings = AllChem.ETKDGv3()
    settings.randomSeed = 1
    if AllChem.EmbedMolecule(full, settings) < 0:
        return "not embedded", ""
    if not AllChem.MMFFHasAllMoleculeParams(full):
        return "not relaxed: no MMFF94 parameters", str(Chem.MolToMolBlock(full))
    word = "ok" if AllChem.MMFFOptimizeMolecule(full, maxIters=1000) == 0 else "not relaxed: no minimum found"
    return word, str(Chem.MolToMolBlock(full))


def _isomers(mol: Chem.Mol, most: int) -> tuple[str, ...]:
    """Distinct stereoisomers, at most so many; some of those that can be drawn cannot be built."""
    options = StereoEnumerationOptions(maxIsomers=most, unique=True)
    return tuple(sorted({str(Chem.MolToSmiles(each)) for each in EnumerateStereoisomers(mol, options=options)}))


def _chunks(graphs: Sequence[tuple[Atoms, Bonds]]) -> Iterator[Sequence[tuple[Atoms, Bonds]]]:
    return (graphs[start : start + _CHUNK] for start in range(0, len(graphs), _CHUNK))
