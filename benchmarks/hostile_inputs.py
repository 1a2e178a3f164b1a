"""The corpus of `benchmarks.hostile`: how each bad input is written, and the entry point that meets it."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

import suffuse
from suffuse import Registry, compose
from suffuse.assembly import build_data
from suffuse.cli import main
from suffuse.commands.train import train
from suffuse.commands.verify import find_record
from suffuse.disk import facts
from suffuse.errors import SuffuseError

__all__ = ["CANARY", "Case", "cases", "sound_run", "warm"]

CANARY = "canary"
"""A file that hostile code would make where it is met."""

Write: TypeAlias = Callable[[Path], object]
Meet: TypeAlias = Callable[[Path], int | None]
ACT = f"touch {CANARY}"
PICKLE = b"cos\nsystem\n(S'" + ACT.encode() + b"'\ntR."


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bad input.

    Args:
        kind: its class.
        write: puts it, and good ones beside it, into a folder.
        meet: what a user would call; returns how many items of data were used.
        item: of the list of bad inputs that were once tried; None for a later one.
        says: what must be in the line that refuses it, or tells that it is left out.
        good: how many good items lie beside it.
        sound: it is odd, and may be used nevertheless.
        needs: a package that its modality needs.
    """

    kind: str
    name: str
    write: Write
    meet: Meet
    item: int | None = None
    says: str = "bad"
    good: int = 0
    sound: bool = False
    needs: str = ""


def cases(run: Path) -> Iterator[Case]:
    """The whole corpus.

    Args:
        run: a small run of pictures, from `sound_run`.
    """
    yield from pictures()
    yield from sounds()
    yield from molecules()
    yield from crystals()
    yield from tables()
    yield from archives()
    yield from records()
    yield from configurations(run)
    yield from folders_of_configuration()
    yield from checkpoints(run)


def source(folder: Path, modality: str, data: str, path: str, *words: str) -> int:
    """Read a source of data whole. Returns how many items it has."""
    config = compose(f"modality={modality}", f"data={data}", f"data.path={folder / path}", *words)
    made = build_data(config, Registry())
    return sum(1 for split in (made.train, made.heldout) for index in range(len(split)) if split[index] is not None)


def warm(place: Path) -> None:
    """Meet good data of every modality, so that no process has to import or look up anything for itself."""
    for case in (*pictures(), *sounds(), *molecules(), *crystals()):
        folder = place / f"{case.kind}-{getattr(case.meet, 'func', case.meet).__name__}"
        if not folder.exists():
            folder.mkdir(parents=True)
            case.write(folder)
            with contextlib.suppress(SuffuseError, ImportError), contextlib.redirect_stderr(io.StringIO()):
                case.meet(folder)


def sound_run(directory: Path) -> None:
    """Train a small network for two steps."""
    torch.set_num_threads(1)
    words = ("trainer.steps=2", "trainer.batch_size=4", "trainer.validate_every=0", "trainer.preview_every=0")
    small = ("backbone=unet_tiny", "callbacks=none", "device=cpu", "sampler.steps=2")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        train(compose("modality=image", "data=digits", *words, *small), directory)


# Pictures ------------------------------------------------------------------------------------------------------------


def pictures() -> Iterator[Case]:
    """A folder with two good pictures and a bad one."""
    whole, jpeg = encoded(picture()), encoded(picture(), "JPEG")
    spoilt = bytearray(whole)
    spoilt[whole.index(b"IDAT") + 40] ^= 16
    header = bytearray(whole)
    header[29] ^= 1  # of the checksum of IHDR
    upright = Image.Exif()
    upright[0x0112] = 6
    float_tiff = Image.fromarray(np.full((8, 8), np.nan, np.float32))
    frames = [Image.new("RGB", (8, 8), (each, 0, 0)) for each in range(200)]
    tall = encoded(Image.new("L", (1, 60_000)))
    contents: dict[str, tuple[int | None, Callable[[], bytes]]] = {
        "an empty file": (1, lambda: b""),
        "text": (2, lambda: b"hello\n"),
        "a PNG cut short": (3, lambda: whole[: len(whole) // 2]),
        "a PNG with a flipped bit": (4, lambda: bytes(spoilt)),
        "a PNG whose header has another checksum": (5, lambda: bytes(header)),
        "a PNG of 10,000 x 10,000": (6, lambda: large_png(10_000, 2)),
        "a PNG of 20,000 x 20,000": (7, lambda: large_png(20_000, 0)),
        "a PNG of 0 x 0": (8, lambda: png(0, 0, b"")),
        "a PNG 2^31 - 1 wide": (9, lambda: png(2**31 - 1, 1, b"")),
        "text in a PNG that unpacks to 80 MB": (
            10,
            lambda: inserted(whole, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000)))),
        ),
        "a JPEG cut short": (16, lambda: jpeg[: len(jpeg) // 2]),
        "an SVG with a script": (
            19,
            lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        ),
        "an EPS": (
            20,
            lambda: f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%{ACT}) (w) file\n".encode(),
        ),
        "a TIFF of NaN": (22, lambda: encoded(float_tiff, "TIFF")),
    }
    odd: dict[str, tuple[int | None, Callable[[], bytes]]] = {
        "16 bits of grey": (11, lambda: encoded(Image.fromarray(np.full((8, 8), 40_000, np.uint16)))),
        "one bit": (12, lambda: encoded(picture().convert("1"))),
        "a palette": (12, lambda: encoded(picture().quantize())),
        "a transparent picture": (13, lambda: encoded(picture().convert("RGBA"))),
        "a JPEG in CMYK": (14, lambda: encoded(picture().convert("CMYK"), "JPEG")),
        "a JPEG in grey": (15, lambda: encoded(picture().convert("L"), "JPEG")),
        "an animation": (
            17,
            lambda: encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        ),
        "a JPEG on its side": (18, lambda: encoded(picture(), "JPEG", exif=upright)),
        "60,000 times as high as wide": (None, lambda: tall),
        "just under the most pixels, transparent": (None, lambda: large_png(8900, 6)),
    }

    def write(content: Callable[[], bytes], folder: Path, name: str = "bad.png") -> None:
        (folder / "p").mkdir()
        for index in range(2):
            picture(index).save(folder / "p" / f"{index}.png")
        (folder / "p" / name).write_bytes(content())

    make = partial(Case, kind="pictures", meet=picture_folder, good=2)
    for sound, group in ((False, contents), (True, odd)):
        for name, (item, content) in group.items():
            yield make(name=name, item=item, write=partial(write, content), sound=sound)
    yield make(name="a PNG named .jpg", item=21, write=partial(write, lambda: whole, name="bad.jpg"), sound=True)


def picture_folder(folder: Path, path: str = "p", *words: str) -> int:
    """The source that meets pictures; a third of them may be bad."""
    return source(folder, "image", "folder", path, "data.size=8", "data.max_bad_share=0.5", *words)


def picture(seed: int = 0) -> Image.Image:
    """A small one of noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """As a file of a kind."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def inserted(whole: bytes, more: bytes) -> bytes:
    """A PNG with another chunk after its header."""
    return whole[:33] + more + whole[33:]


def png(width: int, height: int, body: bytes, colour: int = 2) -> bytes:
    """A PNG of 8 bits whose rows are the packed ``body``."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def large_png(side: int, colour: int) -> bytes:
    """A square of nothing, some hundred kilobytes; ``colour`` 0 is grey, 2 RGB and 6 RGBA."""
    row = bytes(1 + side * {0: 1, 2: 3, 6: 4}[colour])
    packer = zlib.compressobj(1)
    return png(side, side, b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()]), colour)


# Sounds --------------------------------------------------------------------------------------------------------------

RATE = 8000


def sounds() -> Iterator[Case]:
    """A folder with two good sounds and a bad one."""
    whole = tone()
    noise = np.where(np.arange(2000) == 500, np.nan, 0.1)
    contents: dict[str, tuple[int | None, str, Callable[[], bytes]]] = {
        "an empty file": (23, "wav", lambda: b""),
        "a header alone": (24, "wav", lambda: wav(b"")),
        "said to have 4 GB": (25, "wav", lambda: wav(size=2**32 - 5)),
        "a WAV cut short": (26, "wav", lambda: file_of(whole)[:3000]),
        "a rate of 0": (27, "wav", lambda: wav(rate=0)),
        "a rate of 2^31": (28, "wav", lambda: wav(rate=2**31)),
        "no channels": (29, "wav", lambda: wav(channels=0)),
        "65,535 channels": (30, "wav", lambda: wav(channels=65_535, bits=8)),
        "samples that are not numbers": (32, "wav", lambda: file_of(noise, subtype="FLOAT")),
        "infinite samples": (32, "wav", lambda: file_of(np.nan_to_num(noise, nan=np.inf), subtype="FLOAT")),
        "an ID3 tag and nothing": (35, "mp3", lambda: b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(5000)),
        "silence": (36, "wav", lambda: file_of(np.zeros(4000))),
        "full-scale DC": (37, "wav", lambda: file_of(np.full(4000, 0.9999))),
        "a thousand times as loud as full scale": (None, "wav", lambda: file_of(1000 * whole, subtype="FLOAT")),
        "a FLAC cut short": (None, "flac", lambda: file_of(whole, format="FLAC")[:2000]),
        "text named .ogg": (None, "ogg", lambda: b"hello\n"),
        "three hours of silence in a small FLAC": (None, "flac", quiet_flac),
    }
    odd: dict[str, tuple[int | None, Callable[[], bytes]]] = {
        "an odd number of bytes": (31, lambda: wav(pcm(whole) + b"\0")),
        "24 bits": (33, lambda: file_of(whole, subtype="PCM_24")),
        "stereo": (34, lambda: file_of(np.stack([whole, whole], 1))),
        "a stream without a length": (25, lambda: wav(pcm(whole), size=0xFFFFFFFF)),
    }

    def write(content: Callable[[], bytes], name: str, folder: Path) -> None:
        (folder / "s").mkdir()
        for index in range(2):
            (folder / "s" / f"{index}.wav").write_bytes(file_of(tone(300.0 + 200 * index)))
        (folder / "s" / name).write_bytes(content())

    def meet(folder: Path) -> int:
        words = (f"data.cache_dir={folder / 'cache'}", "data.max_bad_share=0.5")
        return source(folder, "audio", "folder", "s", *words)

    make = partial(Case, kind="sounds", meet=meet, good=2)
    for name, (item, suffix, content) in contents.items():
        yield make(name=name, item=item, write=partial(write, content, f"bad.{suffix}"))
    for name, (item, content) in odd.items():
        yield make(name=name, item=item, write=partial(write, content, "bad.wav"), sound=True)


def tone(frequency: float = 440.0, seconds: float = 0.7) -> np.ndarray[Any, Any]:
    """A sine."""
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


def pcm(samples: np.ndarray[Any, Any]) -> bytes:
    """As 16 bits."""
    return (samples * 32767).astype("<i2").tobytes()


def file_of(samples: np.ndarray[Any, Any], **options: Any) -> bytes:
    """As a file of a kind, a WAV where none is named."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, **{"format": "WAV", **options})
    return stream.getvalue()


def wav(
    data: bytes = bytes(2000), *, rate: int = RATE, channels: int = 1, bits: int = 16, size: int | None = None
) -> bytes:
    """A WAV whose header may say anything."""
    align = channels * bits // 8
    layout = struct.pack("<HHIIHH", 1, channels, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + layout
    return head + b"data" + struct.pack("<I", len(data) if size is None else size) + data


def quiet_flac() -> bytes:
    """86 million zeros, of which FLAC makes little."""
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", RATE, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(3 * 36):
            file.write(np.zeros(100 * RATE, np.int16))
    return stream.getvalue()


# Molecules -----------------------------------------------------------------------------------------------------------


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


def molecule_table(
    folder: Path, path: str = "bad.csv", data: str = "smiles", words: Sequence[str] = ("data.max_atoms=64",)
) -> int:
    """The source that meets molecules; a third of them may be bad."""
    settings = (f"data.cache_dir={folder / 'cache'}", "data.processes=1", "data.max_bad_share=0.5")
    return source(folder, "molecule", data, path, *settings, *words)


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


def block(counts: str = "  2  1", x: str = "    0.0000", bond: str = "  1  2  1  0", atom: str = "C") -> bytes:
    """An SDF record of two atoms and a bond."""
    atoms = [f"{each}    0.0000    0.0000 {atom}   0  0" for each in (x, "    1.5000")]
    lines = ["", " written", "", f"{counts}  0  0  0  0  0  0  0  0999 V2000", *atoms, bond, "M  END", "$$$$", ""]
    return "\n".join(lines).encode()


def v3000() -> bytes:
    """A V3000 record that promises more atoms than there can be."""
    lines = ["", " written", "", "  0  0  0  0  0  0  0  0  0  0999 V3000", "M  V30 BEGIN CTAB",
             "M  V30 COUNTS 2000000000 0 0 0 0", "M  V30 BEGIN ATOM", "M  V30 1 C 0 0 0 0", "M  V30 END ATOM",
             "M  V30 END CTAB", "M  END", "$$$$", ""]  # fmt: skip
    return "\n".join(lines).encode()


def sdf(content: Callable[[], bytes], folder: Path) -> None:
    """Two good records and a bad one, which is the last."""
    (folder / "bad.sdf").write_bytes(block(atom="N") + block(atom="O") + content())


def lone(folder: Path, name: str, content: bytes) -> None:
    """One file."""
    (folder / name).write_bytes(content)


# Crystals ------------------------------------------------------------------------------------------------------------


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


def cif(edge: str = "3", angle: str = "90", element: str = "Cu", place: str = "0", atoms: int = 1) -> bytes:
    """A cubic cell."""
    cell = [f"_cell_length_{each} {edge}" for each in "abc"]
    cell += [f"_cell_angle_{each} {angle}" for each in ("alpha", "beta", "gamma")]
    loop = ["loop_", *(f"_atom_site_{each}" for each in ("label", "type_symbol", "fract_x", "fract_y", "fract_z"))]
    rows = [f"{element}{each} {element} {place} {each / atoms:.6f} 0" for each in range(atoms)]
    symmetry = ["loop_", "_symmetry_equiv_pos_as_xyz", "'x, y, z'"]
    return "\n".join(["data_x", *cell, *symmetry, *loop, *rows, ""]).encode()


def poscar(count: str) -> bytes:
    """Of one element."""
    return f"x\n1.0\n3 0 0\n0 3 0\n0 0 3\nCu\n{count}\nDirect\n0 0 0\n".encode()


# Tables --------------------------------------------------------------------------------------------------------------


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


def coloured(folder: Path, count: int) -> None:
    """Pictures ``0.png``, ``1.png`` and so on."""
    folder.mkdir()
    for index in range(count):
        picture(index).save(folder / f"{index}.png")


def labelled(folder: Path, path: str, column: str = "classes=[kind]") -> int:
    """Pictures with a table beside them."""
    return picture_folder(folder, "p", f"data.labels={folder / path}", f"data.{column}")


def repeated(letter: bytes) -> bytes:
    """Two gigabytes of a letter as 2 MB of gzip."""
    return gzip.compress(letter * (1 << 26), 9) * 32


# Archives and folders ------------------------------------------------------------------------------------------------


def archives() -> Iterator[Case]:
    """Zip archives and folders of two good pictures, with something bad in them."""
    bomb = zipfile.ZIP_DEFLATED
    members: dict[str, Callable[[zipfile.ZipFile], object]] = {
        "a member that unpacks to 1 GB": lambda archive: stream(archive, "bad.png", 1 << 30),
        "a member of 50 MB of zeros": lambda archive: archive.writestr("bad.png", bytes(50_000_000), bomb),
        "a member that is an archive": lambda archive: archive.writestr("bad.png", nested(6)),
    }
    odd: dict[str, Callable[[zipfile.ZipFile], object]] = {
        "a member outside the folder": lambda archive: archive.writestr(f"../{CANARY}.png", encoded(picture(7))),
        "a member of an absolute path": lambda archive: archive.writestr(f"/tmp/{CANARY}.png", encoded(picture(7))),
        "200,000 members": lambda archive: many(archive, 200_000),
        "a nested archive": lambda archive: archive.writestr("42.zip", nested(6)),
        "a link": lambda archive: archive.writestr(link("bad.png"), "/etc/passwd"),
    }

    def write(add: Callable[[zipfile.ZipFile], object], folder: Path) -> None:
        with zipfile.ZipFile(folder / "bad.zip", "w") as archive:
            for index in range(2):
                archive.writestr(f"{index}.png", encoded(picture(index)))
            add(archive)

    def spoilt(change: Callable[[bytearray], object], folder: Path) -> None:
        write(lambda archive: archive.writestr("bad.png", encoded(picture(5))), folder)
        data = bytearray((folder / "bad.zip").read_bytes())
        change(data)
        (folder / "bad.zip").write_bytes(data)

    def set_field(data: bytearray, offset: int, value: bytes) -> None:
        place = data.rindex(b"PK\x01\x02") + offset
        data[place : place + len(value)] = value

    changes: dict[str, Callable[[bytearray], object]] = {
        "cut short": lambda data: data.__delitem__(slice(len(data) // 2, None)),
        "a member with another checksum": lambda data: set_field(data, 16, b"\1\2\3\4"),
        "a member under a password": lambda data: set_field(data, 8, b"\1"),
        "a member of an unknown compression": lambda data: set_field(data, 10, b"\x63"),
        "a member that lies beyond the end": lambda data: set_field(data, 42, b"\xff\xff\xff\x7f"),
        "a member said to have 4 GB": lambda data: set_field(data, 24, b"\xfe\xff\xff\xff"),
        "a damaged list of members": lambda data: set_field(data, 0, b"XXXX"),
    }
    meet = partial(picture_folder, path="bad.zip")
    make = partial(Case, kind="archives", meet=meet, good=2)
    for sound, group in ((False, members), (True, odd)):
        for name, add in group.items():
            yield make(name=name, write=partial(write, add), sound=sound)
    for name, change in changes.items():
        yield make(name=name, write=partial(spoilt, change))
    yield make(name="a tar named .zip", write=partial(lone, name="bad.zip", content=bytes(10_240)))
    strange: dict[str, tuple[Callable[[Path], object], bool]] = {
        "a file that nobody may read": (locked, False),
        "a link to itself": (lambda file: file.symlink_to(file), True),
        "a link to endless zeros": (lambda file: file.symlink_to("/dev/zero"), True),
        "a pipe": (lambda file: os.mkfifo(file), True),
        "a folder": (lambda file: file.mkdir(), True),
        "a sparse file of 1 TB": (sparse, False),
    }

    def beside(put: Callable[[Path], object], folder: Path) -> None:
        coloured(folder / "p", 2)
        put(folder / "p" / "bad.png")

    for name, (put, sound) in strange.items():
        yield Case(kind="archives", name=name, write=partial(beside, put), meet=unprivileged, good=2, sound=sound)
    whole = partial(beside, lambda file: file.write_bytes(encoded(picture(9))))
    yield Case(kind="archives", name="a file that is cut while it is read", write=whole, meet=shrinking)


def many(archive: zipfile.ZipFile, count: int) -> None:
    """Add empty members."""
    for each in range(count):
        archive.writestr(f"{each}.txt", b"")


def stream(archive: zipfile.ZipFile, name: str, size: int) -> None:
    """Add a member of zeros."""
    member = zipfile.ZipInfo(name)
    member.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(member, "w") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))


def nested(depth: int) -> bytes:
    """An archive of ten archives of ten archives ..."""
    data = bytes(1_000_000)
    for _ in range(depth):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for index in range(10):
                archive.writestr(f"{index}.zip", data)
        data = packed.getvalue()
    return data


def link(name: str) -> zipfile.ZipInfo:
    """A member that a program which unpacks would make a link of."""
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o120777 << 16
    return member


def locked(file: Path) -> None:
    """A picture that nobody may read."""
    file.write_bytes(encoded(picture()))
    file.chmod(0)


def sparse(file: Path) -> None:
    """A terabyte that takes no place."""
    file.touch()
    os.truncate(file, 1 << 40)


def unprivileged(folder: Path) -> int:
    """As a user who may not read everything."""
    if os.getuid() == 0:
        os.seteuid(65_534)
    return picture_folder(folder)


def shrinking(folder: Path) -> None:
    """A file is cut after it was looked at, and before it is used."""
    config = compose("modality=image", "data=folder", f"data.path={folder / 'p'}", "data.cache=never")
    made = build_data(config, Registry())
    (folder / "p" / "bad.png").write_bytes(b"")
    for split in (made.train, made.heldout):
        for index in range(len(split)):
            split[index]


# Records -------------------------------------------------------------------------------------------------------------


def records() -> Iterator[Case]:
    """Files whose record of how they were made is not one; `suffuse verify` reads it."""
    texts = {
        "nested 100,000 deep": "[" * 100_000,
        "a list": "[1, 2]",
        "cut short": '{"run": ',
        "a number of 10,000 digits": '{"seed": ' + "9" * 10_000 + "}",
    }
    for name, text in texts.items():
        for suffix, make in (("png", png_of), ("wav", wav_of), ("sdf", sdf_of), ("smi", smi_of), ("cif", cif_of)):
            yield Case(
                kind="records",
                name=f"{suffix}: {name}",
                write=lambda folder, make=make, text=text, suffix=suffix: lone(folder, f"bad.{suffix}", make(text)),  # type: ignore[misc]
                meet=partial(verified, name=f"bad.{suffix}"),
                needs={"sdf": "rdkit", "smi": "rdkit", "cif": "suffuse_crystal"}.get(suffix, ""),
            )
    unpacked = chunk(b"iTXt", b"suffuse\0\1\0\0\0" + zlib.compress(bytes(80_000_000)))
    bomb = partial(lone, name="bad.png", content=inserted(encoded(picture()), unpacked))
    yield Case(kind="records", name="png: 80 MB", item=10, write=bomb, meet=partial(verified, name="bad.png"))


def verified(folder: Path, name: str) -> None:
    """Find the record."""
    find_record(folder / name)


def png_of(text: str) -> bytes:
    """With a record."""
    return inserted(encoded(picture()), chunk(b"iTXt", b"suffuse\0\0\0\0\0" + text.encode()))


def wav_of(text: str) -> bytes:
    """With a record in its comment."""
    comment = text.encode() + b"\0" * (2 - len(text) % 2)
    listed = b"INFOICMT" + struct.pack("<I", len(comment)) + comment
    return wav(pcm(tone())) + b"LIST" + struct.pack("<I", len(listed)) + listed


def sdf_of(text: str) -> bytes:
    """With a record as a property."""
    return block().replace(b"$$$$", f">  <suffuse>\n{text}\n\n$$$$".encode())


def smi_of(text: str) -> bytes:
    """With a record behind the SMILES."""
    return f"CCO\t{text}\n".encode()


def cif_of(text: str) -> bytes:
    """With a record as an item."""
    return cif() + f"_suffuse_record\n;\n{text}\n;\n".encode()


# Configurations ------------------------------------------------------------------------------------------------------

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
)
"""Nine times nine times ... of two letters: a few hundred bytes that unfold to a million."""

ACTING: Mapping[str, tuple[int, Any]] = {
    "os.system": (69, {"_target_": "os.system", "command": ACT}),
    "pathlib.Path.touch": (
        69,
        {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [CANARY]}},
    ),
    "builtins.open": (69, {"_target_": "builtins.open", "file": CANARY, "mode": "w"}),
    "subprocess.run": (69, {"_target_": "subprocess.run", "args": ["touch", CANARY]}),
    "an interpolation of the environment": (70, {"path": "${oc.env:HOME}"}),
}


def configurations(run: Path) -> Iterator[Case]:
    """The configuration of a stranger's run, and settings that are typed."""
    make = partial(Case, kind="configurations")

    def replaced(content: bytes, folder: Path) -> None:
        shutil.copytree(run, folder / "run")
        (folder / "run" / "config.yaml").write_bytes(content)

    texts: dict[str, tuple[int, bytes]] = {
        "an alias bomb": (72, BOMB.encode()),
        "lists nested 2,000 deep": (73, b"a: " + b"[" * 2000 + b"]" * 2000),
        "mappings nested 20,000 deep": (73, b"{a: " * 20_000 + b"1" + b"}" * 20_000),
        "a tag of Python": (74, f"a: !!python/object/apply:os.system ['{ACT}']\n".encode()),
        "a key twice": (75, b"modality: {name: image}\nmodality: {name: audio}\n"),
        "a tab": (79, b"a:\n\tb: 1\n"),
        "no UTF-8": (82, "a: für\n".encode("latin-1")),
        "megabytes": (72, b"#" * 5_000_000 + b"\n"),
        "a list": (81, b"- 1\n"),
        "nothing": (81, b""),
        "no modality": (81, b"seed: 1\n"),
        "a modality that is a number": (81, b"modality: 3\n"),
        "another modality": (96, b"modality: {name: audio}\n"),
    }
    for name, (item, text) in texts.items():
        write = partial(replaced, text)
        yield make(name=f"config.yaml: {name}", item=item, write=write, meet=loaded, says="config.yaml")
    for name, (item, part) in ACTING.items():
        data = yaml.safe_dump({"modality": {"name": "image"}, "backbone": part}).encode()
        yield make(
            name=f"config.yaml: {name}", item=item, write=partial(replaced, data), meet=loaded, says="config.yaml"
        )

    def recorded(line: str, folder: Path) -> None:
        (folder / "run" / ".hydra").mkdir(parents=True)
        (folder / "run" / ".hydra" / "overrides.yaml").write_text(json.dumps(["modality=image", line]))

    for name, item, line in (
        ("a target", 69, f"+data.x={{_target_: os.system, command: {ACT}}}"),
        ("a callback of Hydra", 69, "+hydra.callbacks.x._target_=os.system"),
        ("the environment", 70, "data.path=${oc.env:HOME}"),
    ):
        yield make(
            name=f"a run to be resumed: {name}",
            item=item,
            write=partial(recorded, line),
            meet=resumed,
            says="overrides.yaml",
        )
    typed: dict[str, tuple[int | None, Sequence[str], str]] = {
        "an interpolation in a circle": (
            71,
            ["trainer.steps=${trainer.warmup}", "trainer.warmup=${trainer.steps}"],
            "trainer.",
        ),
        "a learning rate that is no number": (76, ["trainer.lr=.nan"], "trainer.lr"),
        "an infinite learning rate": (76, ["trainer.lr=.inf"], "trainer.lr"),
        "no for a number": (77, ["trainer.steps=no"], "trainer.steps"),
        "22:30 for a number": (77, ["trainer.steps=22:30"], "trainer.steps"),
        "no value": (78, ["data=folder"], "data.path"),
        "an unknown key": (81, ["trainer.stepz=3"], "stepz"),
        "text for a number": (81, ["trainer.steps=many"], "trainer.steps"),
        "a negative batch": (81, ["trainer.batch_size=-4"], "trainer.batch_size"),
        "infinite steps": (81, ["trainer.steps=inf"], "trainer.steps"),
        "10^30 steps": (81, ["trainer.steps=1e30"], "trainer.steps"),
        "an open bracket": (None, ["trainer.betas=[0.9"], "trainer.betas"),
        "a modality outside": (80, ["modality=../../x"], "modality"),
        "a group outside": (80, ["data=../../../etc/passwd"], "data"),
        "an unknown backbone": (96, ["backbone.name=os.system"], "backbone"),
    }
    for name, (number, words, says) in typed.items():
        given = words if any(word.startswith("modality=") for word in words) else ["modality=image", *words]
        yield make(name=f"typed: {name}", item=number, write=nothing, meet=partial(begun, words=given), says=says)
    yield make(name="typed: 012 for a number", item=77, write=nothing, sound=True,
               meet=partial(composed, words=["modality=image", "trainer.steps=012"]), says="trainer.steps")  # fmt: skip
    yield make(name="config.yaml: a byte order mark", item=82, sound=True, meet=loaded,
               write=partial(marked, run), says="config.yaml")  # fmt: skip


def nothing(folder: Path) -> None:
    """It is all in the words."""


def marked(run: Path, folder: Path) -> None:
    """A run whose configuration was saved by another editor."""
    shutil.copytree(run, folder / "run")
    file = folder / "run" / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())


def loaded(folder: Path) -> int:
    """Load a run and make a sample of it."""
    suffuse.load(folder / "run").sample(1)
    return 0


def composed(folder: Path, words: Sequence[str]) -> int:
    """A configuration of typed words."""
    compose(*words)
    return 0


def begun(folder: Path, words: Sequence[str]) -> None:
    """Train as the command line would, with words of which one is bad."""
    ordered(["train", *words, "callbacks=none", "device=cpu", f"hydra.run.dir={folder / 'run'}"])


def resumed(folder: Path) -> None:
    """Go on with a run."""
    ordered(["train", f"resume={folder / 'run'}"])


def ordered(words: Sequence[str]) -> None:
    """The command line, whose one line on standard error is raised."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
    if code == 2:
        raise SuffuseError(said.getvalue().strip())
    raise AssertionError(f"left with code {code}: {said.getvalue()[-200:]}")


def folders_of_configuration() -> Iterator[Case]:
    """YAML of somebody else that is to join the configuration."""
    texts: dict[str, tuple[int, str]] = {
        "a callback of Hydra": (69, "hydra:\n  callbacks:\n    x: {_target_: os.system}\n"),
        "a target": (69, f"data: {{_target_: os.system, command: {ACT}}}\n"),
        "the environment": (70, "seed: ${oc.env:SEED}\n"),
        "an alias bomb": (72, BOMB),
        "an absolute path": (80, "data:\n  path: /etc/passwd\n"),
        "a path outside": (80, "data:\n  path: a/../../b\n"),
        "a search path": (80, "hydra:\n  searchpath: ['file:///tmp/more']\n"),
    }

    def write(text: str, folder: Path) -> None:
        (folder / "theirs").mkdir()
        (folder / "theirs" / "bad.yaml").write_text(text)

    def meet(folder: Path) -> None:
        ordered(["train", "modality=image", "--config-dir", str(folder / "theirs")])

    for name, (item, text) in texts.items():
        yield Case(kind="configurations", name=f"a folder: {name}", item=item, write=partial(write, text), meet=meet)


# Checkpoints ---------------------------------------------------------------------------------------------------------


def checkpoints(run: Path) -> Iterator[Case]:
    """A stranger's run. Its manifest is as it was, or made anew to agree with what was changed."""

    def write(change: Callable[[Path], object], agrees: bool, folder: Path) -> None:
        shutil.copytree(run, folder / "run")
        place = folder / "run" / "checkpoints" / "step-000000002"
        change(place)
        if agrees:
            manifest = json.loads((place / "manifest.json").read_text())
            manifest["files"] = {name: facts(place / name) for name in manifest["files"] if (place / name).is_file()}
            (place / "manifest.json").write_text(json.dumps(manifest))

    weights = "average.safetensors"
    damage: dict[str, tuple[int | None, Callable[[Path], object]]] = {
        "weights cut short": (83, lambda place: os.truncate(place / weights, 5000)),
        "a flipped bit": (84, lambda place: flipped(place / weights)),
        "empty weights": (85, lambda place: (place / weights).write_bytes(b"")),
        "weights that are a link to others": (97, lambda place: linked(place / weights, "/etc/passwd")),
        "weights that are a link to endless zeros": (97, lambda place: linked(place / weights, "/dev/zero")),
    }
    for name, (item, change) in damage.items():
        yield Case(
            kind="checkpoints", name=name, item=item, write=partial(write, change, False), meet=loaded, says=weights
        )
    one = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    tail = bytes(64)
    forged: dict[str, tuple[int | None, bytes]] = {
        "cut short": (83, tensors({"w": one}, b"")),
        "empty": (85, b""),
        "a header said to have 2^40 bytes": (86, struct.pack("<Q", 1 << 40) + tail),
        "a shape that overflows": (87, tensors({"w": {**one, "shape": [1 << 62, 1 << 62]}}, tail)),
        "a shape of 2^40 numbers": (87, tensors({"w": {**one, "shape": [1 << 40]}}, tail)),
        "tensors that lie over each other": (88, tensors({"w": one, "v": {**one, "data_offsets": [8, 24]}}, tail)),
        "a pickle": (91, PICKLE),
        "a zip that unpacks to 1 GB": (92, zipped(1 << 30)),
        "a name twice": (
            93,
            framed(b'{"w":' + json.dumps(one).encode() + b',"w":' + json.dumps(one).encode() + b"}", tail),
        ),
        "a header of 90 MB": (94, framed(b'{"__metadata__":{"a":"' + b"x" * 90_000_000 + b'"}}', b"")),
        "a header nested 100,000 deep": (94, framed(b'{"w":' + b"[" * 100_000, b"")),
    }
    for name, (item, content) in forged.items():
        change = partial(put, name=weights, content=content)
        yield Case(
            kind="checkpoints",
            name=f"forged weights: {name}",
            item=item,
            write=partial(write, change, True),
            meet=loaded,
            says="do not fit" if "90 MB" in name else weights,
        )
    yield Case(kind="checkpoints", name="forged weights: not numbers", item=95, meet=loaded, says="not a number",
               write=partial(write, lambda place: filled(place / weights), True))  # fmt: skip
    yield Case(kind="checkpoints", name="forged weights: of another network", item=96, meet=loaded, says="do not fit",
               write=partial(write, lambda place: save_file({"w": torch.zeros(2)}, place / weights), True))  # fmt: skip
    yield Case(kind="checkpoints", name="a pickle beside the weights", item=90, meet=loaded, says="", sound=True,
               write=partial(write, lambda place: put(place, ".metadata", PICKLE),
                             True))  # fmt: skip
    states: dict[str, tuple[int | None, Callable[[dict[str, Any]], object]]] = {
        "a target": (69, lambda state: state["config"].update(backbone=ACTING["os.system"][1])),
        "the environment": (
            70,
            lambda state: state["config"].update(data={"name": "folder", "path": "${oc.env:HOME}"}),
        ),
        "an unknown network": (96, lambda state: state["config"]["backbone"].update(name="os.system")),
        "a plugin that is missing": (96, lambda state: state["config"].update(modality={"name": "phantom"})),
        "a setting that there is not": (96, lambda state: state["config"]["backbone"].update(depht=3)),
        "a network of 10^9 channels": (None, lambda state: state["config"]["backbone"].update(width=10**9)),
        "a network of -1 channels": (None, lambda state: state["config"]["backbone"].update(width=-1)),
        "no configuration": (96, lambda state: state.pop("config")),
        "an empty configuration": (None, lambda state: state.update(config={})),
        "no fields": (96, lambda state: state.pop("fields")),
        "fields that are a number": (96, lambda state: state.update(fields=3)),
        "a field of 10^9 numbers": (None, lambda state: field(state).update(shape=[1, 31_623, 31_623])),
        "a field of no shape": (None, lambda state: field(state).update(shape="many")),
        "an unknown space": (None, lambda state: field(state).update(space={"kind": "os.system"})),
        "conditions that are a list": (None, lambda state: state.update(conditions=[1])),
        "an unknown condition": (None, lambda state: state.update(conditions={"x": {"kind": "os.system"}})),
        "sizes that are a text": (None, lambda state: state.update(sizes="many")),
    }
    for name, (item, alter) in states.items():
        change = partial(altered, name="state.json", alter=alter)
        yield Case(kind="checkpoints", name=f"a forged state: {name}", item=item, meet=loaded, says="",
                   write=partial(write, change, True))  # fmt: skip
    texts = {
        "nested 100,000 deep": b"[" * 100_000,
        "a list": b"[]",
        "a key twice": b'{"a": 1, "a": 2}',
        "junk": bytes(99),
    }
    for file in ("state.json", "manifest.json"):
        for name, content in texts.items():
            change = partial(put, name=file, content=content)
            agrees = file == "state.json"
            yield Case(kind="checkpoints", name=f"{file}: {name}", meet=loaded, says=file,
                       write=partial(write, change, agrees))  # fmt: skip
    manifests: dict[str, tuple[int | None, Callable[[dict[str, Any]], object], str]] = {
        "a newer format": (96, lambda data: data.update(format=99), "format 99"),
        "a file outside the folder": (
            98,
            lambda data: data["files"].update({"../../secret": data["files"][weights]}),
            "secret",
        ),
        "an absolute file": (98, lambda data: data["files"].update({"/etc/passwd": data["files"][weights]}), "passwd"),
        "no weights": (None, lambda data: data["files"].pop(weights), "average"),
        "files that are numbers": (None, lambda data: data.update(files=dict.fromkeys(data["files"], 3)), "damaged"),
    }
    for name, (item, alter, says) in manifests.items():
        change = partial(altered, name="manifest.json", alter=alter)
        yield Case(kind="checkpoints", name=f"manifest.json: {name}", item=item, meet=loaded, says=says,
                   write=partial(write, change, False))  # fmt: skip


def put(place: Path, name: str, content: bytes) -> None:
    """A file in place of another."""
    (place / name).write_bytes(content)


def flipped(file: Path) -> None:
    """One bit."""
    data = bytearray(file.read_bytes())
    data[-7] ^= 4
    file.write_bytes(data)


def linked(file: Path, other: str) -> None:
    """A link in place of a file."""
    file.unlink()
    file.symlink_to(other)


def filled(file: Path) -> None:
    """Weights that are no numbers."""
    save_file({name: torch.full_like(value, torch.nan) for name, value in load_file(file).items()}, file)


def framed(header: bytes, data: bytes) -> bytes:
    """A safetensors file of a written header."""
    return struct.pack("<Q", len(header)) + header + data


def tensors(header: Mapping[str, Any], data: bytes) -> bytes:
    """A safetensors file of a header."""
    return framed(json.dumps(header).encode(), data)


def zipped(size: int) -> bytes:
    """An archive of zeros, as torch.save would name it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        stream(archive, "archive/data.pkl", size)
    return packed.getvalue()


def altered(place: Path, name: str, alter: Callable[[dict[str, Any]], object]) -> None:
    """A JSON file with a change."""
    data = json.loads((place / name).read_text())
    alter(data)
    (place / name).write_text(json.dumps(data))


def field(state: Mapping[str, Any]) -> dict[str, Any]:
    """The first of the fields."""
    found: dict[str, Any] = next(iter(state["fields"].values()))
    return found
