"""How a set of picture files becomes the images of a split: checked once, and kept in memory where they fit."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suffuse.errors import ConfigError, DataError
from suffuse.splits import check_choice
from suffuse_image.data.pictures import Pixels8, Preparation, no_bomb_warnings
from suffuse_image.data.splits import LazyImages

__all__ = ["CACHES", "Reading", "load_images"]

CACHES = ("auto", "always", "never")
_BLOCK = 4096
_WHOLE = 2
"""Whole pictures, for random crops, are reckoned as this many squares each."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is kept in memory, and how many pictures may be bad.

    Args:
        cache: ``always`` and ``never`` say so; ``auto`` decodes the set once into memory where it fits.
        cache_limit: what fits, in bytes.
        check: decode each picture once at the start even where it is not kept, so that a damaged one cannot
            stop a run in the middle; False looks at the headers alone.
        max_bad_share: the share of bad pictures that is left out with a warning; more is an error.
    """

    cache: str = "auto"
    cache_limit: int = 1 << 30
    check: bool = True
    max_bad_share: float = 0.1

    def __post_init__(self) -> None:
        check_choice("cache", self.cache, CACHES)
        if not 0 <= self.max_bad_share <= 1:
            raise ConfigError(f"data.max_bad_share={self.max_bad_share}: a share from 0 to 1")

    def keeps(self, count: int, preparation: Preparation) -> bool:
        """Whether so many pictures are kept in memory."""
        squares = 1 if preparation.crop == "centre" else _WHOLE
        size = count * squares * preparation.channels * preparation.size**2
        return self.cache == "always" or (self.cache == "auto" and size <= self.cache_limit)


def load_images(
    *,
    count: int,
    read: Callable[[int], Pixels8],
    probe: Callable[[int], None],
    preparation: Preparation,
    reading: Reading,
    origin: str,
) -> tuple[Tensor | Sequence[Pixels8], NDArray[np.int64]]:
    """The images for an `ImageSplit`, and the rows of them that are good.

    Args:
        count: how many pictures there are.
        read: one of them by its number, raising DataError.
        probe: the same, but only a look at its header.
        preparation: that ``read`` uses.
        reading: what is kept and what is forgiven.
        origin: of the pictures, for messages.

    Raises:
        DataError: too many pictures are bad, or all of them.
    """
    kept: Any = None
    if reading.keeps(count, preparation):
        side = preparation.size
        square = preparation.crop == "centre"
        kept = np.empty((count, preparation.channels, side, side), np.uint8) if square else [None] * count

    def visit(row: int) -> str | None:
        try:
            if kept is not None:
                kept[row] = read(row)
            elif reading.check:
                read(row)
            else:
                probe(row)
        except DataError as error:
            return str(error)
        return None

    problems: list[str | None] = []
    with no_bomb_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, count, _BLOCK):
            problems += pool.map(visit, range(start, min(start + _BLOCK, count)))
    _judge([problem for problem in problems if problem is not None], count, reading.max_bad_share, origin)
    good = np.flatnonzero([problem is None for problem in problems])
    if kept is None:
        return LazyImages(read, count), good
    return torch.from_numpy(kept) if isinstance(kept, np.ndarray) else kept, good


def _judge(problems: list[str], count: int, most: float, origin: str) -> None:
    if not problems:
        return
    shown = "; ".join(problems[:3]) + ("; …" if len(problems) > 3 else "")
    if len(problems) > most * count or len(problems) == count:
        raise DataError(f"{origin}: {len(problems)} of {count} pictures are bad (data.max_bad_share={most}): {shown}")
    warnings.warn(f"{origin}: {len(problems)} of {count} pictures are bad and left out: {shown}", stacklevel=5)
