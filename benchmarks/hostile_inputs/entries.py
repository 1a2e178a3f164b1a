"""The entry points that meet inputs of more than one class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import suffuse
from suffuse import Registry, compose
from suffuse.assembly import build_data

__all__ = ["loaded", "molecule_table", "picture_folder", "source"]


def source(folder: Path, modality: str, data: str, path: str, *words: str) -> int:
    """Read a source of data whole. Returns how many items it has."""
    config = compose(f"modality={modality}", f"data={data}", f"data.path={folder / path}", *words)
    made = build_data(config, Registry())
    return sum(1 for split in (made.train, made.heldout) for index in range(len(split)) if split[index] is not None)


def picture_folder(folder: Path, path: str = "p", *words: str) -> int:
    """The source that meets pictures; a third of them may be bad."""
    return source(folder, "image", "folder", path, "data.size=8", "data.max_bad_share=0.5", *words)


def molecule_table(
    folder: Path, path: str = "bad.csv", data: str = "smiles", words: Sequence[str] = ("data.max_atoms=64",)
) -> int:
    """The source that meets molecules; a third of them may be bad."""
    settings = (f"data.cache_dir={folder / 'cache'}", "data.processes=1", "data.max_bad_share=0.5")
    return source(folder, "molecule", data, path, *settings, *words)


def loaded(folder: Path) -> int:
    """Load a run and make a sample of it."""
    suffuse.load(folder / "run").sample(1)
    return 0
