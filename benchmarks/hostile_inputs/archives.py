"""Bad archives and folders: members, headers, links and files that change."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.hostile_inputs.case import CANARY, Case
from benchmarks.hostile_inputs.entries import picture_folder
from benchmarks.hostile_inputs.files import coloured, encoded, lone, picture, stream
from suffuse import Registry, compose
from suffuse.assembly import build_data

__all__ = ["archives"]


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
