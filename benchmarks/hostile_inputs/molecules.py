"""Bad molecules beside good ones, as SMILES and as SDF: what a parser is given."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.hostile_inputs.case import ACT, Case
from benchmarks.hostile_inputs.entries import molecule_table
from benchmarks.hostile_inputs.files import block, lone
from suffuse import Registry, compose
from suffuse.assembly import build_data

__all__ = ["molecules"]


def molecules() -> Iterator[Case]:
    """A table or an SDF with two good molecules and a bad one."""
    lines: dict[str, tuple[int | None, str]] = {
        "nothing": (38, ""),
        "a blank": (39, " "),
        "a NUL": (40, "C\0C"),
        "an open bracket": (41, "C("),
        "an open ring": (42, "C1CC"),
        "five bonds of carbon": (43, "C(C)(C)(C)(C)C"),
        "a ring that cannot be aromatic": (44, "c1cccc1"),
        "aromatic atoms outside a ring": (45, "CcccC12c1"),
        "a chain of 100,000": (46, "C" * 100_000),
        "a chain of 1,000,000": (47, "C" * 1_000_000),
        "100,000 brackets in each other": (48, "C(" * 100_000 + "C" + ")" * 100_000),
        "a chain that kills RDKit": (49, "C" * 18_069),
        "10,000 fragments": (52, "C." * 10_000 + "C"),
        "carbon of mass 999 and charge 15": (53, "[999C+15]"),
        "element 119": (54, "[#119]"),
        "text that is written from right to left": (57, "CC\u202eO"),
        "dummy atoms": (58, "*C*"),
        "a SMARTS": (59, "[#6]~[#7;R]"),
        "five hundred rings through each other": (None, knot(500)),
        "sixty rings through each other": (None, knot(60)),
        "a formula of a spreadsheet": (None, f"=cmd|'/C {ACT}'!A0"),
    }
    odd: dict[str, tuple[int | None, str]] = {
        "a huge atom map": (55, "[CH3:2147483648]C"),
        "a ring label of 100,000": (56, "C%(100000)CC%(100000)"),
    }

    def write(text: str, folder: Path) -> None:
        with (folder / "bad.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([["id", "smiles"], ["1", "CCO"], ["2", text], ["3", "CCN"]])

    make = partial(Case, kind="molecules", good=2, says="left out", needs="rdkit")
    for sound, group in ((False, lines), (True, odd)):
        for name, (item, text) in group.items():
            yield make(name=name, item=item, write=partial(write, text), meet=molecule_table, sound=sound)
    for name, text in (("five hundred rings", knot(500)), ("a chain that kills RDKit", "C" * 18_069)):
        roomy = partial(molecule_table, words=("data.max_atoms=1000",))
        yield make(name=f"{name}, with room for 1,000 atoms", write=partial(write, text), meet=roomy)
    blocks: dict[str, tuple[int | None, Callable[[], bytes], bool]] = {
        "a block of 999,999 atoms": (60, lambda: block(counts="999999999999"), False),
        "a block of -1 atoms": (61, lambda: block(counts=" -1  0"), False),
        "a bond to an atom that is not there": (63, lambda: block(bond="  1  9  1  0"), False),
        "a V3000 block of 2,000,000,000 atoms": (64, lambda: v3000(), False),
        "junk": (66, lambda: np.random.default_rng(0).bytes(100_000).replace(b"$", b"") + b"\n$$$$\n", False),
        "coordinates that are not numbers": (62, lambda: block(x="       nan"), True),
        "no end of a record": (65, lambda: block().replace(b"$$$$\n", b""), True),
        "a property of 50 MB": (
            67,
            lambda: block().replace(b"$$$$", b"> <x>\n" + b"y" * 50_000_000 + b"\n\n$$$$"),
            True,
        ),
    }
    for name, (item, content, sound) in blocks.items():
        meet = partial(molecule_table, path="bad.sdf", data="sdf")
        yield make(name=f"an SDF: {name}", item=item, write=partial(sdf, content), meet=meet, sound=sound)
    for name, item, text in (
        ("300 carbons to be embedded", 50, "C" * 300),
        ("a double bond at a bridgehead to be embedded", 51, "C1CC2=CC1CC2"),
    ):
        yield make(
            name=name, item=item, write=partial(write, text), meet=conformers, good=3, sound=True, says="timeout"
        )
    for name, text in (("a chain that kills RDKit", "C" * 18_069), ("five hundred rings", knot(500))):
        put = partial(lone, name="bad.smi", content=text.encode())
        yield make(name=f"a scaffold: {name}", write=put, meet=partial(opened, path="bad.smi"), says="bad.smi", good=0)


def conformers(folder: Path) -> int:
    """The table of draws with their places in space; returns how many rows it has."""
    config = compose("modality=molecule", "data=smiles", f"data.path={folder / 'bad.csv'}", "data.max_atoms=400",
                     f"data.cache_dir={folder / 'cache'}", "data.processes=1", "data.heldout=0")  # fmt: skip
    registry = Registry()
    data = build_data(config, registry)
    decoder = registry.build("decoder", config["decoder"], plugin="molecule")
    made = registry.build(
        "session",
        {"name": "molecule", "conformers": True, "processes": 1, "nearest": False},
        decoder.fields(data.train),
        plugin="molecule",
        offers={"decoder": decoder, "data": lambda: data},
    )
    values = [data.train[index].value for index in range(len(data.train))]
    made.write(
        values,
        [{"sample": index, "seed_key": "", "run": "", "checkpoint": ""} for index in range(len(values))],
        [{}] * len(values),
        folder / "part",
    )
    made.join([folder / "part"], folder)
    with (folder / "molecules.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return sum(row["valid"] == "True" for row in rows)


def opened(folder: Path, path: str) -> None:
    """What a user gives to be changed."""
    from suffuse_molecule.decoder import Graph

    Graph().load(folder / path, {})


def knot(count: int) -> str:
    """Rings through each other, whose smallest nobody finds in time."""
    marks = [f"%({place + 1})" for place in range(2 * count)]
    ends = [marks[place] for place in np.random.default_rng(0).permutation(2 * count)]
    pairs = [*zip(marks[::2], marks[1::2], strict=True), *zip(ends[::2], ends[1::2], strict=True)]
    return "".join(f"C{first}{second}" for first, second in pairs)


def v3000() -> bytes:
    """A V3000 record that promises more atoms than there can be."""
    lines = ["", " written", "", "  0  0  0  0  0  0  0  0  0  0999 V3000", "M  V30 BEGIN CTAB",
             "M  V30 COUNTS 2000000000 0 0 0 0", "M  V30 BEGIN ATOM", "M  V30 1 C 0 0 0 0", "M  V30 END ATOM",
             "M  V30 END CTAB", "M  END", "$$$$", ""]  # fmt: skip
    return "\n".join(lines).encode()


def sdf(content: Callable[[], bytes], folder: Path) -> None:
    """Two good records and a bad one, which is the last."""
    (folder / "bad.sdf").write_bytes(block(atom="N") + block(atom="O") + content())
