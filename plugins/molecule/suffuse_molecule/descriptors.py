"""Numbers that chemists know, by name; each can be a condition, and the metrics compare their distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import QED, Crippen, Descriptors, Lipinski, rdFingerprintGenerator, rdMolDescriptors
from rdkit.Chem.Scaffolds import MurckoScaffold

from suffuse.errors import ConfigError, suggest
from suffuse.files import whole
from suffuse.progress import Progress
from suffuse_molecule.workers import Lost, Workers

if TYPE_CHECKING:
    from suffuse_molecule.data.library import Library, Preparing

__all__ = [
    "BITS",
    "DESCRIPTORS",
    "check_names",
    "columns_of",
    "describe",
    "describe_all",
    "fingerprint",
    "fingerprint_all",
    "fingerprints_of",
    "scaffold",
    "scaffold_all",
    "scaffolds_of",
]

BITS = 1024
"""Of a Morgan fingerprint of radius 2."""

_CHUNK = 500


def _sa(mol: Chem.Mol) -> float:
    from rdkit.Contrib.SA_Score import sascorer

    return float(sascorer.calculateScore(mol))


DESCRIPTORS: Mapping[str, Callable[[Chem.Mol], float]] = {
    "logp": Crippen.MolLogP,
    "qed": QED.qed,
    "sa": _sa,
    "mw": Descriptors.MolWt,
    "tpsa": rdMolDescriptors.CalcTPSA,
    "hbd": Lipinski.NumHDonors,
    "hba": Lipinski.NumHAcceptors,
    "rings": rdMolDescriptors.CalcNumRings,
    "aromatic_rings": rdMolDescriptors.CalcNumAromaticRings,
    "rotatable_bonds": rdMolDescriptors.CalcNumRotatableBonds,
    "fraction_csp3": rdMolDescriptors.CalcFractionCSP3,
    "heavy_atoms": Chem.Mol.GetNumHeavyAtoms,
    "stereo_centres": rdMolDescriptors.CalcNumAtomStereoCenters,
    "molar_refractivity": Crippen.MolMR,
    "charge": Chem.GetFormalCharge,
}
"""Wildman and Crippen's logP, Bickerton's QED, Ertl and Schuffenhauer's synthetic accessibility, and counts."""


def check_names(names: Sequence[str]) -> None:
    """
    Raises:
        ConfigError: a descriptor is unknown, or named twice.
    """
    for name in names:
        if name not in DESCRIPTORS:
            known = ", ".join(DESCRIPTORS)
            raise ConfigError(f"data.descriptors={name}: unknown; known are {known}{suggest(name, DESCRIPTORS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"data.descriptors={list(names)}: one of them is named twice")


def describe(mol: Chem.Mol, name: str) -> float:
    """One descriptor of a sanitised molecule; NaN where RDKit has none."""
    try:
        return float(DESCRIPTORS[name](mol))
    except (ValueError, RuntimeError, ZeroDivisionError):
        return math.nan


def scaffold(mol: Chem.Mol) -> str:
    """The SMILES of the Bemis-Murcko scaffold; empty where there is no ring."""
    try:
        return str(Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol), isomericSmiles=False))
    except (ValueError, RuntimeError):
        return ""


def describe_all(texts: list[str], names: Sequence[str]) -> list[list[float]]:
    """Descriptors of each SMILES, NaN where it is none; what the child processes run."""
    with rdBase.BlockLogs():
        mols = [Chem.MolFromSmiles(text) for text in texts]
        return [[math.nan if mol is None else describe(mol, name) for name in names] for mol in mols]


def scaffold_all(texts: list[str]) -> list[str]:
    """The scaffold of each SMILES; what the child processes run."""
    with rdBase.BlockLogs():
        mols = [Chem.MolFromSmiles(text) for text in texts]
        return ["" if mol is None else scaffold(mol) for mol in mols]


def fingerprint(mol: Chem.Mol) -> bytes:
    """The Morgan fingerprint of a sanitised molecule, packed."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=BITS)
    bits: NDArray[np.uint8] = generator.GetFingerprintAsNumPy(mol)
    return np.packbits(bits).tobytes()


def fingerprint_all(texts: list[str]) -> list[bytes]:
    """The fingerprint of each SMILES, without bits where it is none; what the child processes run."""
    with rdBase.BlockLogs():
        mols = [Chem.MolFromSmiles(text) for text in texts]
        return [bytes(BITS // 8) if mol is None else fingerprint(mol) for mol in mols]


def columns_of(library: Library, name: str, preparing: Preparing) -> NDArray[np.float64]:
    """A descriptor of every kept molecule, by row; computed once and kept beside the molecules.

    Raises:
        DataError: it cannot be kept.
    """
    path = library.folder / "descriptors" / f"{name}.npy"
    if not _kept(path):
        values = np.full(len(library.parts), math.nan)
        found = _over(library, "describe_all", preparing, [name], unit=name)
        values[library.kept] = [math.nan if isinstance(each, Lost) else each[0] for each in found]
        _keep(path, lambda stream: np.save(stream, values))
    return np.asarray(np.load(path, mmap_mode="r"))


def scaffolds_of(library: Library, preparing: Preparing) -> list[str]:
    """The scaffold of every kept molecule, in order; computed once and kept beside the molecules.

    Raises:
        DataError: they cannot be kept.
    """
    path = library.folder / "scaffolds.txt"
    if not path.is_file():
        lines = ["" if isinstance(each, Lost) else each for each in _over(library, "scaffold_all", preparing)]
        _keep(path, lambda stream: stream.write(("\n".join(lines) + "\n").encode("ascii")))
    return path.read_text(encoding="ascii").split("\n")[: len(library.kept)]


def fingerprints_of(library: Library, preparing: Preparing) -> NDArray[np.uint8]:
    """The packed fingerprint of every kept molecule, in order, ``[N, BITS / 8]``; computed once and kept beside the
    molecules.

    Raises:
        DataError: they cannot be kept.
    """
    path = library.folder / "fingerprints.npy"
    if not _kept(path):
        found = _over(library, "fingerprint_all", preparing, unit="fingerprint")
        prints = b"".join(bytes(BITS // 8) if isinstance(each, Lost) else each for each in found)
        _keep(path, lambda stream: np.save(stream, np.frombuffer(prints, np.uint8).reshape(-1, BITS // 8)))
    return np.asarray(np.load(path, mmap_mode="r"))


def _over(
    library: Library, function: str, preparing: Preparing, *settings: object, unit: str = "scaffold"
) -> Iterator[Any]:
    kept = np.asarray(library.kept)
    task = f"suffuse_molecule.descriptors:{function}"
    chunks = (library.smiles(kept[start : start + _CHUNK]) for start in range(0, len(kept), _CHUNK))
    done = 0
    with (
        Workers(task, *settings, processes=preparing.processes, seconds=preparing.seconds) as workers,
        Progress(len(kept), unit) as bar,
    ):
        for results in workers.map(chunks):
            yield from results
            done += len(results)
            bar.update(done)


def _kept(path: Path) -> bool:
    """Whether there is a file of an array, and it is not damaged."""
    try:
        np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return False
    return True


def _keep(path: Path, write: Callable[[BinaryIO], object]) -> None:
    with whole(path) as draft:
        path.parent.mkdir(exist_ok=True)
        with draft.open("wb") as stream:
            write(stream)
