"""A person's own pictures: a folder or a zip archive of files of any size, mode and depth."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suffuse.data import DataSource
from suffuse.errors import ConfigError, DataError
from suffuse.files import Files, common_folder, open_files, top_folder
from suffuse.splits import check_share, held_out_by_key
from suffuse.tables import Known, column_names, conditions_of, gaps_in, read_table
from suffuse_image.data.pictures import MAX_PIXELS, SUFFIXES, Pixels8, Preparation
from suffuse_image.data.reading import Reading, load_images
from suffuse_image.data.splits import ImageSplit

__all__ = ["Folder"]


class Folder(DataSource):
    """Every PNG, JPEG, WebP, BMP and GIF (first frame) below ``path``.

    Without ``labels`` the top subfolder is the class, as condition ``label``; where all pictures share one
    folder it is passed through. With ``labels`` each chosen column of the manifest is a condition of that
    name; a picture without a row, or with an empty cell, is one of which that is not known.

    Args:
        path: a folder, or a zip archive.
        size: side of the square images in pixels.
        crop: ``centre``: the middle square; ``random``: training draws a square from the whole picture each
            time.
        mode: ``rgb`` or ``grey``.
        background: the colour behind transparent pixels, a CSS name or ``#rrggbb``.
        flip: mirror training images from left to right in half the cases.
        labels: a manifest: CSV in UTF-8 with a header, or JSONL.
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
        files = open_files(root, SUFFIXES, "picture")
        names, shared = files.names, common_folder(files.names)
        chosen, measured = column_names(classes), column_names(numbers)
        known: list[Known]
        if labels is not None:
            table = read_table(Path(labels).expanduser(), file_column)
            known, notices = table.align(names, shared, "picture")
            for notice in notices:
                warnings.warn(notice, stacklevel=2)
            table.check(list(only or ()), "only")
            table.check(column_names(group or ()), "group")
            table.check(chosen, "classes")
            table.check(measured, "numbers")
            names, known = _filter(names, known, only or {}, table.path)
            chosen, origin = chosen if chosen or measured else table.labels[:1], table.path
        elif classes or numbers or only or group or file_column:
            raise ConfigError("data.classes, numbers, only, group and file_column are columns of data.labels; set that")
        else:
            known = [{"label": top_folder(name, shared)} for name in names]
            chosen, origin = ("label",) if any(facts["label"] for facts in known) else (), root
        pictures = _Pictures(files, names, preparation)
        images, good = load_images(
            count=len(names),
            read=pictures.read,
            probe=pictures.probe,
            preparation=preparation,
            reading=reading,
            origin=str(root),
        )
        held = held_out_by_key([known[row].get(group or "", "") or names[row] for row in good], share)
        conditions, values = conditions_of(
            known, chosen, measured, good[~held], names=names, origin=str(origin), what="picture"
        )
        for notice in gaps_in(values, good, str(root)):
            warnings.warn(notice, stacklevel=2)
        self.train, self.heldout = (
            ImageSplit(
                images=images,
                rows=rows,
                shape=(size, size),
                conditions=conditions,
                columns=values,
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


def _filter(
    names: list[str], known: list[Known], only: Mapping[str, Any], origin: Path
) -> tuple[list[str], list[Known]]:
    kept = [
        (name, facts)
        for name, facts in zip(names, known, strict=True)
        if all(facts.get(column) == str(value) for column, value in only.items())
    ]
    if not kept:
        raise DataError(f"{origin}: no picture has {dict(only)}; see data.only")
    return [name for name, _ in kept], [facts for _, facts in kept]
