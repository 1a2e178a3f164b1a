"""Bad crystals beside good ones, as CIF, POSCAR and extxyz."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.hostile_inputs.case import Case
from benchmarks.hostile_inputs.entries import source
from benchmarks.hostile_inputs.files import cif

__all__ = ["crystals"]


def crystals() -> Iterator[Case]:
    """A folder with two good crystals and a bad one."""
    contents = {
        "an empty file": ("cif", b""),
        "text": ("cif", b"hello\n"),
        "lengths that are not numbers": ("cif", cif(edge="nan")),
        "a cell of no volume": ("cif", cif(edge="0")),
        "an edge of 10^300": ("cif", cif(edge="1e300")),
        "an angle of 180": ("cif", cif(angle="180")),
        "places that are not numbers": ("cif", cif(place="nan")),
        "100,000 atoms": ("cif", cif(atoms=100_000)),
        "an element that is none": ("cif", cif(element="Qq")),
        "two billion atoms of a POSCAR": ("vasp", poscar("2000000000")),
        "-1 atoms of a POSCAR": ("vasp", poscar("-1")),
        "two billion atoms of an extxyz": ("extxyz", b'2000000000\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0 0 0\n'),
        "junk": ("cif", np.random.default_rng(0).bytes(100_000)),
    }

    def write(suffix: str, content: bytes, folder: Path) -> None:
        (folder / "c").mkdir()
        for element, edge in (("Cu", "2.5"), ("Po", "3.4")):
            (folder / "c" / f"{element}.cif").write_bytes(cif(element=element, edge=edge))
        (folder / "c" / f"bad.{suffix}").write_bytes(content)

    def meet(folder: Path) -> int:
        words = (f"data.cache_dir={folder / 'cache'}", "data.processes=0", "data.max_bad_share=0.5")
        return source(folder, "crystal", "folder", "c", *words)

    for name, (suffix, content) in contents.items():
        put = partial(write, suffix, content)
        yield Case(kind="crystals", name=name, write=put, meet=meet, says="left out", good=2, needs="suffuse_crystal")


def poscar(count: str) -> bytes:
    """Of one element."""
    return f"x\n1.0\n3 0 0\n0 3 0\n0 0 3\nCu\n{count}\nDirect\n0 0 0\n".encode()
