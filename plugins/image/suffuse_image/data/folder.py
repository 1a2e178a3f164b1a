"""A person's own pictures: a folder or a zip archive of files of any size, mode and depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suffuse.conditions import Condition
from suffuse.data import DataSource
from suffuse.errors import ConfigError, DataError
from suffuse_image.data import labels as known_of
from suffuse_image.data.files import Files, common_folder, open_files
from suffuse_image.data.pictures import MAX_PIXELS, Pixels8, Preparation
from suffuse_image.data.reading import Reading, load_images
from suffuse_image.data.splits import ImageSplit, check_share, held_out_by_key

__all__ = ["Folder"]


class Folder(DataSource):
    """Every PNG, JPEG, WebP, BMP and GIF (first frame) below ``path``.

    Without ``labels`` the top subfolder is the class, as condition ``label``; where all pictures share one
    folder it is passed through. With ``labels`` each chosen column of the CSV file is a condition of that
    name; a picture without a row, or with an empty cell, is one of which that is not known.

    Args:
        path: a folder, or a zip archive.
        size: side of the square images in pixels.
        crop: ``centre``: the middle square; ``random``: training draws a square from the whole picture each
            time.
        mode: ``rgb`` or ``grey``.
        background: the colour behind transparent pixels, a CSS name or ``#rrggbb``.
        flip: mirror training images from left to right in half the cases.
        labels: a CSV file in UTF-8 with a header.
        file_column: its column of file names, relative to ``path``; the first one by default.
        classes: its columns that become classes; the second one by default, where ``numbers`` is empty too.
        numbers: its columns that become numbers.
        only: keep the pictures whose row has these values, as ``{column: value}``.
        group: its column of which pictures with the same value are never parted between training and held
            out.
        heldout: the share that training never sees, decided by a hash of each picture's name (or group), so
            that it stays where it is when pictures are added.
        cache: ``auto`` keeps the set decoded in memory where it fits, ``always`` or ``never``.
        cache_limit: what fits, in bytes.
        check: decode each picture once at the start even where it is not kept; False looks at the headers
            alone.
        max_bad_share: the share of damaged pictures that is left out with a warning; more is an error.
        max_pixels: larger pictures are bad ones.

    Raises:
        DataError: no pictures, too many bad ones, or a file of labels that does not fit.
        ConfigError: a setting or a column does not exist.
    """

    def __init__(
        self,
        *,
        path: str | Path,
        size: int = 32,
        crop: str = "centre",
        mode: str = "rgb",
        background: str = "white",
        flip: bool = False,
        labels: str | Path | None = None,
        file_column: str | None = None,
        classes: Sequence[str] | str = (),
        numbers: Sequence[str] | str = (),
        only: Mapping[str, Any] | None = None,
        group: str | None = None,
        heldout: float = 0.1,
        cache: str = "auto",
        cache_limit: int = 1 << 30,
        check: bool = True,
        max_bad_share: float = 0.1,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        share = check_share(heldout)
        preparation = Preparation(size=size, crop=crop, mode=mode, background=background, max_pixels=max_pixels)
        reading = Reading(cache=cache, cache_limit=cache_limit, check=check, max_bad_share=max_bad_share)
        root = Path(path).expanduser()
        files = open_files(root)
        names, shared = files.names, common_folder(files.names)
        table = matched = None
        if labels is not None:
            table = known_of.read_table(Path(labels).expanduser(), file_column)
            matched = table.align(names, shared)
            names, matched = _filter(names, matched, table, only or {})
        elif classes or numbers or only or group or file_column:
            raise ConfigError("data.classes, numbers, only, group and file_column are columns of data.labels; set that")
        pictures = _Pictures(files, names, preparation)
        images, good = load_images(
            count=len(names),
            read=pictures.read,
            probe=pictures.probe,
            preparation=preparation,
            reading=reading,
            origin=str(root),
        )
        held = held_out_by_key([_key(names, matched, table, group, row) for row in good], share)
        conditions: Mapping[str, Condition]
        columns: Mapping[str, Sequence[Any]]
        if table is None or matched is None:
            conditions, columns = _by_subfolder(names, shared)
        else:
            chosen, measured = _columns(classes), _columns(numbers)
            if not chosen and not measured:
                chosen = tuple(column for column in table.columns if column != table.file_column)[:1]
            conditions, columns = known_of.conditions_of(table, matched, chosen, measured, good[~held])
        known_of.warn_of_gaps(str(root), columns, good)
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


class _Pictures:
    """Reads a picture by its number; a class, so that a lazy split can be sent to worker processes."""

    def __init__(self, files: Files, names: Sequence[str], preparation: Preparation) -> None:
        self._files, self._names, self._preparation = files, names, preparation

    def read(self, row: int) -> Pixels8:
        name = self._names[row]
        return self._preparation.read(self._files.read(name), name)

    def probe(self, row: int) -> None:
        name = self._names[row]
        self._preparation.probe(self._files.read(name), name)


Rows = list[Mapping[str, str] | None]


def _columns(value: Sequence[str] | str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _filter(names: list[str], matched: Rows, table: known_of.Table, only: Mapping[str, Any]) -> tuple[list[str], Rows]:
    table.check(list(only), "only")
    kept = [
        (name, row)
        for name, row in zip(names, matched, strict=True)
        if not only or (row is not None and all(row[column] == str(value) for column, value in only.items()))
    ]
    if not kept:
        raise DataError(f"{table.path}: no picture has {dict(only)}; see data.only")
    return [name for name, _ in kept], [row for _, row in kept]


def _key(names: list[str], matched: Rows | None, table: known_of.Table | None, group: str | None, row: int) -> str:
    if group is None or table is None or matched is None:
        return names[row]
    table.check([group], "group")
    line = matched[row]
    return (line[group] if line else "") or names[row]


def _by_subfolder(names: list[str], shared: str) -> tuple[dict[str, Condition], dict[str, list[Any]]]:
    kind, places = known_of.class_labels(known_of.subfolders(names, shared))
    return ({"label": kind}, {"label": places}) if kind.names else ({}, {})
