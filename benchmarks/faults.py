"""Checkpoints that meet with an accident: processes killed while they save, files cut short, emptied or removed, single
bits flipped, a disk that is full and one that can only be read. An accident is survived if what was saved before is
found whole, and detected if that is said, by the name of the file, wherever something is damaged; nothing damaged may
ever be loaded. Most checkpoints are made for it; those of a real run that was killed are damaged too, every file in
every way, and the run resumed, which has to end equal in every bit to one that met with nothing. Disks that are full
are small ones of their own, which takes the right to mount them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import Bar, Findings, Options, Table
from benchmarks.lives import Life, begin, preload
from benchmarks.survival import EVERY, LOOP, SMALL, equal, newest
from suffuse.errors import RunError
from suffuse.runs import Run
from suffuse.training import Checkpoint, Checkpoints

__all__ = ["measure"]

LEAST = 200
"""Accidents in all."""
STEPS = (10, 20, 30)
FILES = ("model.safetensors", "average.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
REAL = ["train", "modality=image", *SMALL["image"], *LOOP, f"trainer.steps={4 * EVERY}"]
FORK = multiprocessing.get_context("fork")


def measure(options: Options) -> Findings:
    """Make accidents happen, and look at what is left."""
    torch.set_num_threads(1)
    scale = 0.1 if options.quick else 1.0
    place = options.runs / "faults"
    shutil.rmtree(place, ignore_errors=True)
    sound = place / "sound"
    store = Checkpoints(sound)
    for step in STEPS:
        store.save(made(step))
    tried: dict[str, list[bool]] = {}
    for (kind, harm), count in zip(HARMS.items(), (50, 5, 5, 75), strict=True):
        chance = random.Random(kind)
        tried[kind] = [
            damaged(sound, place / "now", harm, FILES[number % len(FILES)], chance)
            for number in range(max(1, int(count * scale)))
        ]
    tried["killed while saving"] = killed(place / "killed", max(1, int(60 * scale)))
    tried["a real run, damaged and resumed"] = resumed(place / "real", scale)
    disks = mounted(max(1, int(20 * scale)))
    tried |= disks
    total, found, least = sum(map(len, tried.values())), sum(map(sum, tried.values())), int(LEAST * scale)
    return Findings(
        bars=[
            Bar(
                promise=f"all of {total} accidents detected, the newest whole one loaded",
                found=found,
                met=found == total,
            ),
            Bar(promise=f"at least {least} accidents", found=total, met=total >= least),
        ],
        tables=[
            Table(
                title="Accidents of checkpoints",
                columns=("what happened", "tried", "detected and survived"),
                rows=[[kind, len(each), sum(each)] for kind, each in tried.items()],
            )
        ],
        settings={
            "the real run": " ".join(["suffuse", *REAL]),
            "small disks": "mounted" if disks else "could not be mounted here, so that none was full or read-only",
        },
    )


def made(step: int, size: int = 40_000) -> Checkpoint:
    """A checkpoint of some hundred kilobytes that can be told from all others."""
    generator = torch.Generator().manual_seed(step)

    def group() -> dict[str, Tensor]:
        return {f"layer{n}": torch.randn(size // 8, generator=generator) for n in range(4)}

    return Checkpoint(
        step=step, tensors={name: group() for name in ("model", "average", "optimizer")}, state={"seed": step}
    )


def same(found: Checkpoint) -> bool:
    """Whether it is what was saved under its step."""
    return all(
        value.equal(found.tensors[group][name])
        for group, part in made(found.step).tensors.items()
        for name, value in part.items()
    )


def cut(file: Path, chance: random.Random) -> None:
    """To a random part of it."""
    data = file.read_bytes()
    file.write_bytes(data[: chance.randrange(len(data))])


def emptied(file: Path, chance: random.Random) -> None:
    """To nothing."""
    file.write_bytes(b"")


def removed(file: Path, chance: random.Random) -> None:
    """From its folder."""
    file.unlink()


def flipped(file: Path, chance: random.Random) -> None:
    """One bit of it."""
    data = bytearray(file.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


HARMS: Mapping[str, Callable[[Path, random.Random], None]] = {
    "cut short": cut,
    "emptied": emptied,
    "removed": removed,
    "one bit flipped": flipped,
}


def damaged(
    sound: Path, place: Path, harm: Callable[[Path, random.Random], None], file: str, chance: random.Random
) -> bool:
    """Whether damage to the newest checkpoint is said by its name, and the one before it loaded."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(sound, place)
    store = Checkpoints(place)
    harm(store.path(STEPS[-1]) / file, chance)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = store.load()
    return found.step == STEPS[-2] and same(found) and any(store.path(STEPS[-1]).name in str(w.message) for w in said)


def killed(place: Path, count: int) -> list[bool]:
    """Of processes that save one step after another until they are killed: whether the last that was said to be saved,
    or the one after it, is there whole."""
    outcomes = []
    chance = random.Random("killed")
    for number in range(count):
        folder = place / str(number)
        process = FORK.Process(target=_save, args=(folder,))
        process.start()
        while not (folder / "said").exists():
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        process.join()
        said = int((folder / "said").read_text() or 0)
        store = Checkpoints(folder / "checkpoints")
        store.sweep()
        found = store.load()
        outcomes.append(found.step in (said, said + 1) and same(found) and len(store.steps()) <= 4)
        shutil.rmtree(folder)
    return outcomes


def _save(folder: Path) -> None:
    store = Checkpoints(folder / "checkpoints")
    for step in range(1, 10_000):
        store.save(made(step))
        note = folder / "note"
        note.write_text(str(step))
        note.replace(folder / "said")


def resumed(place: Path, scale: float) -> list[bool]:
    """Of a run that was killed, with each file of its newest checkpoint damaged in each way: whether it says so when it
    is resumed, and ends equal in every bit to one that met with nothing."""
    preload(["image"])
    whole, dead, copy = place / "whole", place / "dead", place / "now"
    begin([*REAL, f"hydra.run.dir={whole}"], place / "whole.log")
    life = Life([*REAL, f"hydra.run.dir={dead}"], place / "dead.log")
    life.live(lambda: newest(dead) >= 2 * EVERY, random.Random(0), most=0.0)
    life.kill()
    last = Checkpoints(dead / "checkpoints").path(newest(dead)).relative_to(dead)
    accidents = [(kind, file.name) for file in sorted((dead / last).iterdir()) for kind in HARMS]
    chance = random.Random("resumed")
    outcomes = []
    for kind, name in chance.sample(accidents, max(1, int(len(accidents) * scale))):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(dead, copy)
        HARMS[kind](copy / last / name, chance)
        log = place / f"{kind} {name}.log"
        try:
            begin(["train", f"resume={copy}"], log)
        except RuntimeError:  # it did not end well; the log says why
            outcomes.append(False)
            continue
        outcomes.append(str(copy / last) in log.read_text() and equal(Run(copy), Run(whole)))
    return outcomes


def mounted(count: int) -> Mapping[str, list[bool]]:
    """What happens on disks that are full or can only be read; nothing where none can be mounted."""
    queue = FORK.SimpleQueue()
    process = FORK.Process(target=lambda: queue.put(_on_small_disks(count)))
    process.start()
    process.join()
    return queue.get() if process.exitcode == 0 else {}


def _on_small_disks(count: int) -> dict[str, list[bool]]:
    chance = random.Random("full")
    full, read_only = [], []
    with small_disk() as disk:
        store = Checkpoints(disk / "checkpoints")
        store.save(made(10))
        for _ in range(count):
            ballast = disk / "ballast"
            free = shutil.disk_usage(disk).free
            ballast.write_bytes(b"x" * (free - chance.randrange(4096, 230_000)))
            full.append(refused(store))
            ballast.unlink()
        store.save(made(20))
        full.append(store.load().step == 20)
        for _ in range(max(1, count // 4)):
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            read_only.append(refused(store, kept=20))
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    return {"the disk is full": full, "the disk can only be read": read_only}


def refused(store: Checkpoints, kept: int = 10) -> bool:
    """Whether a checkpoint that cannot be written is said, and the one before it as it was."""
    before = sorted(path.name for path in store.folder.iterdir())
    try:
        store.save(made(30))
    except RunError:
        found = store.load()
        return found.step == kept and same(found) and sorted(path.name for path in store.folder.iterdir()) == before
    return False


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of two megabytes in memory, which this process alone can see."""
    new_mounts, new_user = 0x00020000, 0x10000000
    libc = ctypes.CDLL(None, use_errno=True)
    user = 0 if os.getuid() == 0 else new_user
    if libc.unshare(new_mounts | user):
        raise OSError(ctypes.get_errno(), "no mounts of its own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=False)
