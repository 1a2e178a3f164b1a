"""Small pictures and short views of a source, for the tests of the image plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from data_files import everything, one_line, size, write_csv
from PIL import Image

from suffuse.data import Split

__all__ = [
    "by_colour",
    "check_gather",
    "coloured",
    "everything",
    "one_line",
    "picture",
    "plain",
    "size",
    "tree",
    "write_csv",
]


def picture(seed: int = 0, width: int = 12, height: int = 8, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def plain(path: Path, colour: Any, mode: str = "RGB", size: tuple[int, int] = (8, 8), **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def tree(root: Path, count: int = 12, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for index in range(count):
        folder = root / classes[index % len(classes)] if classes else root
        folder.mkdir(parents=True, exist_ok=True)
        picture(index).save(folder / f"{index}.png")
    return root


def check_gather(split: Split) -> None:
    indices = [2, 0, 1, 0]
    plain_batch = split.gather(indices)
    assert plain_batch.values.dtype == torch.uint8
    assert np.array_equal(plain_batch.values.numpy(), np.stack([split[index].value for index in indices]))
    for name, kind in split.conditions.items():
        expected = kind.collate([split[index].condition.get(name) for index in indices])
        assert torch.equal(plain_batch.conditions[name].nan_to_num(-9), expected.nan_to_num(-9))


def coloured(root: Path, count: int = 10) -> Path:
    for index in range(count):
        plain(root / f"{index}.png", index, "L")
    return root


def by_colour(source: Any) -> dict[int, Any]:
    return {int(item.value[0, 0, 0]): item.condition for item in everything(source)}
