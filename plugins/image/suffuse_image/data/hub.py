"""Images of the Hugging Face hub, through its own `datasets` library (extra ``hub``)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from suffuse.conditions import ClassLabel, Condition
from suffuse.data import DataSource
from suffuse.errors import DataError, PluginError
from suffuse.splits import check_share, held_out_by_key
from suffuse.tables import check_column, class_labels, condition_name, gaps_in, number_scale
from suffuse_image.data.pictures import MAX_PIXELS, Pixels8, Preparation
from suffuse_image.data.reading import Reading, load_images
from suffuse_image.data.splits import ImageSplit

__all__ = ["Hub"]


class Hub(DataSource):
    """A dataset of images by name. No code of the dataset's authors is run.

    The column of labels becomes a condition of its name: a class where it is one (or is text), else a number.

    Args:
        dataset: its name on the hub, such as ``uoft-cs/cifar10``, or a folder that `datasets.load_dataset` takes.
        config: which configuration of it, where it has several.
        revision: a commit or tag of it, so that a later change of the dataset cannot change a run.
        split: the part to train on.
        test_split: the held-out part; without one a share of the training part is held out.
        heldout: that share, decided by a hash of each row's number.
        image_column: holds the images.
        label_column: holds the labels; none gives images without a condition.
        size: side of the square images in pixels.
        crop: ``centre`` or ``random``, as in `Folder`.
        mode: ``rgb`` or ``grey``.
        background: the colour behind transparent pixels.
        flip: mirror training images from left to right in half the cases.
        cache: ``auto``, ``always`` or ``never`` keep the set decoded in memory.
        cache_limit: what fits under ``auto``, in bytes.
        check: decode each image once at the start even where it is not kept.
        max_bad_share: the share of damaged images that is left out with a warning.
        max_pixels: larger images are bad ones.

    Raises:
        PluginError: `datasets` is not installed.
        DataError: the dataset cannot be loaded, or too many of its images are bad.
        ConfigError: a setting or a column does not exist.
    """

    def __init__(
        self,
        *,
        dataset: str,
        config: str | None = None,
        revision: str | None = None,
        split: str = "train",
        test_split: str | None = None,
        heldout: float = 0.1,
        image_column: str = "image",
        label_column: str | None = "label",
        size: int = 32,
        crop: str = "centre",
        mode: str = "rgb",
        background: str = "white",
        flip: bool = False,
        cache: str = "auto",
        cache_limit: int = 1 << 30,
        check: bool = True,
        max_bad_share: float = 0.1,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        share = check_share(heldout)
        preparation = Preparation(size=size, crop=crop, mode=mode, background=background, max_pixels=max_pixels)
        reading = Reading(cache=cache, cache_limit=cache_limit, check=check, max_bad_share=max_bad_share)
        parts = [_load(dataset, config, part, revision) for part in (split, test_split) if part is not None]
        for part in parts:
            check_column(image_column, part.column_names, "image_column", dataset)
            if label_column is not None:
                check_column(label_column, part.column_names, "label_column", dataset)
        pictures = _Rows([_undecoded(part, image_column) for part in parts], image_column, dataset, preparation)
        images, good = load_images(
            count=len(pictures),
            read=pictures.read,
            probe=pictures.probe,
            preparation=preparation,
            reading=reading,
            origin=dataset,
        )
        apart = len(parts) == 2
        held = good >= len(parts[0]) if apart else held_out_by_key([f"{dataset}/{row}" for row in good], share)
        conditions: dict[str, Condition] = {}
        columns: dict[str, list[Any]] = {}
        if label_column is not None:
            key = condition_name(label_column)
            cells = [cell for part in parts for cell in part[label_column]]
            feature = parts[0].features.get(label_column)
            conditions[key], columns[key] = _labels(cells, getattr(feature, "names", None), good[~held])
        for notice in gaps_in(columns, good, dataset):
            warnings.warn(notice, stacklevel=2)
        self.train, self.heldout = (
            ImageSplit(
                images=images,
                rows=rows,
                shape=(size, size),
                conditions=conditions,
                columns=columns,
                flip=flip,
            )
            for rows in (good[~held], good[held])
        )


class _Rows:
    """Reads an image by its number, counted through all parts."""

    def __init__(self, parts: Sequence[Any], column: str, name: str, preparation: Preparation) -> None:
        self._parts, self._column, self._name, self._preparation = parts, column, name, preparation

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def _cell(self, row: int) -> tuple[Any, str]:
        place = row
        for part in self._parts:
            if place < len(part):
                break
            place -= len(part)
        return part[place][self._column], f"{self._name} row {row}"

    def read(self, row: int) -> Pixels8:
        cell, name = self._cell(row)
        if isinstance(cell, Image.Image):
            return self._preparation.convert(cell)
        return self._preparation.read(_bytes(cell, name), name)

    def probe(self, row: int) -> None:
        cell, name = self._cell(row)
        if not isinstance(cell, Image.Image):
            self._preparation.probe(_bytes(cell, name), name)


def _bytes(cell: Any, name: str) -> bytes:
    try:
        return bytes(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    except (KeyError, TypeError, OSError) as error:
        raise DataError(f"{name!r} holds no image ({type(error).__name__})") from error


def _load(name: str, config: str | None, split: str, revision: str | None) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise PluginError('data=hub needs the library datasets: pip install "suffuse[hub]"') from error
    try:
        return datasets.load_dataset(name, config, split=split, revision=revision)
    except Exception as error:  # no network, no such name, a broken file: every layer below has errors of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"data.dataset={name} (part {split}): cannot be loaded: {reason}") from error


def _undecoded(part: Any, column: str) -> Any:
    """The part with its images as bytes, so that they pass through our own checks."""
    import datasets

    if isinstance(part.features.get(column), datasets.Image):
        return part.cast_column(column, datasets.Image(decode=False))
    return part


def _labels(
    cells: list[Any], names: list[str] | None, train: NDArray[np.int64]
) -> tuple[Condition, list[int | None] | list[float | None]]:
    if names is not None:
        return ClassLabel(tuple(names)), [None if cell is None or cell < 0 else int(cell) for cell in cells]
    if any(isinstance(cell, float) for cell in cells):
        values = [None if cell is None or math.isnan(cell) else float(cell) for cell in cells]
        return number_scale(values, train), values
    return class_labels([None if cell is None else str(cell) for cell in cells])
