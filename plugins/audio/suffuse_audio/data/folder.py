"""A person's own sounds: a folder or a zip archive of files of any length, rate and number of channels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suffuse.conditions import ClassLabel
from suffuse.data import DataSource, Split
from suffuse.errors import ConfigError
from suffuse.files import open_files
from suffuse.splits import check_choice, check_share
from suffuse.tables import column_names, conditions_of, gaps_in
from suffuse_audio.data.catalogue import Catalogue
from suffuse_audio.data.library import Keeping, open_library
from suffuse_audio.data.recording import SUFFIXES, Preparation
from suffuse_audio.data.reference import Reference
from suffuse_audio.data.splits import ENDINGS, AudioSplit, Level
from suffuse_audio.data.voices import Voices

__all__ = ["CROPS", "Folder"]

CROPS = ("start", "random")
_MOST_BYTES = 1 << 31


class Folder(DataSource):
    """Every WAV, FLAC, OGG, MP3 and AIFF below ``path``, as clips of one length.

    What is known of a sound comes from three places, each over the one before: the top subfolder is its ``label``;
    named groups of ``pattern`` on its name; columns of ``labels``.

    Args:
        path: a folder, or a zip archive.
        rate: samples in a second of the clips; files of other rates are resampled.
        seconds: length of the clips.
        channels: 1 for mono, 2 for stereo.
        crop: ``start``: one clip a file, from where its sound begins; ``random``: as many clips as fit into the file
            one after the other, and training starts each anywhere in it.
        ending: what comes after a sound that is shorter than a clip: ``unknown``, and nothing is learned of it, or
            ``silence``, which is learned, as it should be of words and single strokes.
        level: how loud clips are made: ``none``, ``peak`` or ``rms``; see `Level`.
        max_gain: the most that a quiet clip is raised, in decibels.
        silence: a clip whose peak is lower, in decibels below full scale, is left out.
        invert: turn the sign of training clips in half the cases; it sounds the same.
        pattern: a regular expression that is searched in each name (with its folders, without its ending), such as
            ``(?P<label>\\d)_(?P<speaker>\\w+)_(?P<take>\\d+)``; files that it does not match are left out.
        labels: a manifest: CSV in UTF-8 with a header, or JSONL.
        file_column: its column of file names, relative to ``path``; the first one by default.
        classes: what becomes a class; by default ``label`` and ``speaker`` where they are known, or else the first
            column of the manifest.
        numbers: what becomes a number.
        reference: whose sound each is, such as ``speaker``: it becomes no class, but each clip comes with another clip
            of the same voice, the condition ``reference``, so that a new voice can be asked for by a recording of it.
        only: keep the sounds of which this is known, as ``{column: value}``; a value may be a list or a range 0..4.
        group: sounds with the same value of it are never parted between training and held out.
        heldout: the share that training never sees, decided by a hash of each sound's name (or group), so that it
            stays where it is when sounds are added.
        heldout_where: hold out these instead: ``{column: value}`` as in ``only``, or a regular expression that is
            searched in each name.
        heldout_list: hold out these instead: a text file of names, one a line.
        cache: ``auto`` keeps the samples on disk as int16 where they fit, ``always`` or ``never``.
        cache_limit: what fits, in bytes.
        cache_dir: where; by default in the user's own folder of caches.
        check: look at every sample once at the start even where it is not kept; False looks at the headers alone.
        max_bad_share: the share of damaged files that is left out with a warning; more is an error.

    Raises:
        DataError: no sounds, too many bad ones, only silence, or a manifest that does not fit.
        ConfigError: a setting or a column does not exist.
    """

    def __init__(
        self,
        *,
        path: str | Path,
        rate: int = 8000,
        seconds: float = 0.64,
        channels: int = 1,
        crop: str = "start",
        ending: str = "unknown",
        level: str = "rms",
        max_gain: float = 40.0,
        silence: float = -60.0,
        invert: bool = True,
        pattern: str | None = None,
        labels: str | Path | None = None,
        file_column: str | None = None,
        classes: Sequence[str] | str = (),
        numbers: Sequence[str] | str = (),
        reference: str | None = None,
        only: Mapping[str, Any] | None = None,
        group: str | None = None,
        heldout: float = 0.1,
        heldout_where: Mapping[str, Any] | str | None = None,
        heldout_list: str | Path | None = None,
        cache: str = "auto",
        cache_limit: int = 1 << 31,
        cache_dir: str | Path | None = None,
        check: bool = True,
        max_bad_share: float = 0.1,
    ) -> None:
        check_choice("crop", crop, CROPS)
        check_choice("ending", ending, ENDINGS)
        share = check_share(heldout)
        preparation = Preparation(rate, channels)
        length = round(seconds * rate)
        if length < 1:
            raise ConfigError(f"data.seconds={seconds}: a clip needs a length above 0")
        loudness = Level(level=level, max_gain=max_gain, silence=silence)
        keeping = Keeping(
            cache=cache, cache_limit=cache_limit, cache_dir=cache_dir, check=check, max_bad_share=max_bad_share
        )
        root = Path(path).expanduser()
        catalogue = Catalogue(root, open_files(root, SUFFIXES, "sound", _MOST_BYTES))
        catalogue.learn(pattern, labels, file_column)
        catalogue.keep(only or {})
        library = open_library(catalogue.files, catalogue.names, preparation, keeping)
        catalogue.notices += library.notices
        good = catalogue.judge(library, max_bad_share, loudness)
        if heldout_list is not None:
            held = catalogue.listed(good, Path(heldout_list).expanduser())
        elif heldout_where is not None:
            held = catalogue.chosen(good, heldout_where)
        else:
            held = catalogue.share(good, share, group)
        wanted, measured = column_names(classes), column_names(numbers)
        if not wanted and not measured:
            wanted = tuple(column for column in catalogue.usual_classes() if column != reference)
        catalogue.check([*wanted, *measured], "classes and data.numbers")
        catalogue.check([] if reference is None else [reference], "reference")
        kept = set(good.tolist())
        known = [facts if row in kept else {} for row, facts in enumerate(catalogue.known)]
        conditions, columns = conditions_of(
            known, wanted, measured, good[~held], names=catalogue.names, origin=str(root), what="sound"
        )
        catalogue.notices += gaps_in(columns, good, str(root))
        catalogue.name_orphans(
            {name: kind.names for name, kind in conditions.items() if isinstance(kind, ClassLabel)},
            columns,
            good[~held],
        )
        wander = crop == "random"
        splits: list[Split] = []
        for rows in (good[~held], good[held]):
            windows = catalogue.windows(library, rows, length, preparation.block, loudness, wander)
            split: Split = AudioSplit(
                recordings=library,
                windows=windows,
                length=length,
                rate=rate,
                conditions=conditions,
                columns=columns,
                level=loudness,
                wander=wander,
                invert=invert,
                ending=ending,
            )
            if reference is not None:
                whose = [catalogue.known[row].get(reference) for row in windows[:, 0].tolist()]
                split = Voices(split, whose, Reference(rate, length))
                if split.alone:
                    catalogue.notices.append(
                        f"{root}: {split.alone} of {len(split)} clips have no other of their voice"
                    )
            splits.append(split)
        self.train, self.heldout = splits
        for notice in catalogue.notices:
            warnings.warn(notice, stacklevel=2)
