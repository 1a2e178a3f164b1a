"""Checkpoints of strangers: damaged or forged weights, states and manifests."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.hostile_inputs.case import ACT, Case
from benchmarks.hostile_inputs.configurations import ACTING
from benchmarks.hostile_inputs.entries import loaded
from benchmarks.hostile_inputs.files import lone, stream
from suffuse.disk import facts

__all__ = ["checkpoints"]

PICKLE = b"cos\nsystem\n(S'" + ACT.encode() + b"'\ntR."


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
        change = partial(lone, name=weights, content=content)
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
               write=partial(write, lambda place: lone(place, ".metadata", PICKLE),
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
            change = partial(lone, name=file, content=content)
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
