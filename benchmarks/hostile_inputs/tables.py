"""Bad tables: labels of pictures, and molecules that are lines of a file."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.hostile_inputs.case import Case
from benchmarks.hostile_inputs.entries import molecule_table, picture_folder
from benchmarks.hostile_inputs.files import block, coloured, lone

__all__ = ["tables"]


def tables() -> Iterator[Case]:
    """Labels of three good pictures, and files of molecules that are tables."""
    labels: dict[str, tuple[str, bytes]] = {
        "an empty file": ("csv", b""),
        "no UTF-8": ("csv", "file,kind\n0.png,für\n1.png,a\n2.png,b\n".encode("latin-1")),
        "zeros": ("csv", bytes(10_000)),
        "a cell of a megabyte": ("csv", b"file,kind\n0.png," + b"x" * 1_000_000 + b"\n"),
        "a quote without an end": ("csv", b'file,kind\n0.png,"' + b"a\n" * 200_000),
        "a file with two rows": ("csv", b"file,kind\n0.png,a\n0.png,b\n1.png,c\n2.png,a\n"),
        "one column": ("csv", b"file\n0.png\n1.png\n"),
        "no row that names a picture": ("csv", b"file,kind\n/etc/passwd,a\n../../x.png,b\n"),
        "lines that are no objects": ("jsonl", b"[1, 2]\n3\n"),
        "JSON nested 100,000 deep": ("jsonl", b"[" * 100_000 + b"\n"),
        "a number of 10,000 digits": ("jsonl", b'{"file": "0.png", "kind": ' + b"9" * 10_000 + b"}\n"),
    }

    def write(suffix: str, content: bytes, folder: Path) -> None:
        coloured(folder / "p", 3)
        (folder / f"bad.{suffix}").write_bytes(content)

    for name, (suffix, content) in labels.items():
        meet = partial(labelled, path=f"bad.{suffix}")
        yield Case(kind="tables", name=f"labels: {name}", write=partial(write, suffix, content), meet=meet)
    number = b"file,age\n0.png,1\n1.png,%s\n2.png,3\n"
    for name, cell in (("text", b"old"), ("infinity", b"1e999"), ("hexadecimal", b"0x10")):
        meet = partial(labelled, path="bad.csv", column="numbers=[age]")
        yield Case(
            kind="tables", name=f"labels: {name} for a number", write=partial(write, "csv", number % cell), meet=meet
        )
    plain = b"smiles\nCCO\nCCN\n"
    packed = gzip.compress(b"".join(b"%s %d\n" % (b"C" * (1 + place % 40), place) for place in range(50_000)))
    files: dict[str, tuple[str, Callable[[], bytes], str]] = {
        "a quote without an end": ("csv", lambda: plain + b'"' + b"C" * 150_000 + b"\n", "left out"),
        "a column of another name": ("csv", lambda: plain.replace(b"smiles", b"name"), "bad.csv"),
        "no molecules": ("csv", lambda: b"smiles\n", "bad.csv"),
        "an archive cut short": ("smi.gz", lambda: packed[: len(packed) // 2], "bad.smi.gz"),
        "a line that unpacks to 2 GB": ("smi.gz", lambda: gzip.compress(plain[7:]) + repeated(b"C"), "bad.smi.gz"),
        "zeros for a Parquet": ("parquet", lambda: b"PAR1" + bytes(5000) + b"PAR1", "bad.parquet"),
        "a line of an SDF that unpacks to 2 GB": (
            "sdf.gz",
            lambda: gzip.compress(block(atom="N") + block(atom="O")) + repeated(b"C"),
            "bad.sdf.gz",
        ),
        "a table of zeros that unpacks to 2 GB": (
            "csv.gz",
            lambda: gzip.compress(plain) + repeated(b"\0"),
            "bad.csv.gz",
        ),
    }
    for name, (suffix, make, says) in files.items():
        yield Case(
            kind="tables",
            name=f"molecules: {name}",
            write=lambda folder, make=make, suffix=suffix: lone(folder, f"bad.{suffix}", make()),  # type: ignore[misc]
            meet=partial(molecule_table, path=f"bad.{suffix}", data="sdf" if "sdf" in suffix else "smiles"),
            says=says,
            good=2,
            needs="rdkit",
        )


def labelled(folder: Path, path: str, column: str = "classes=[kind]") -> int:
    """Pictures with a table beside them."""
    return picture_folder(folder, "p", f"data.labels={folder / path}", f"data.{column}")


def repeated(letter: bytes) -> bytes:
    """Two gigabytes of a letter as 2 MB of gzip."""
    return gzip.compress(letter * (1 << 26), 9) * 32
