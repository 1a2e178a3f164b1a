"""Well-known sets of speech by name: torchaudio fetches and unpacks them, and `Folder` reads the files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suffuse.data import DataSource
from suffuse.errors import DataError
from suffuse.splits import check_choice
from suffuse_audio.data.folder import Folder
from suffuse_audio.pair import load_torchaudio

__all__ = ["DATASETS", "Dataset", "Named"]

_SPEECH = r"(?P<speaker>\d+)/(?P<chapter>\d+)/[^/]+$"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """How one set is fetched and read.

    Args:
        fetch: a class of `torchaudio.datasets`.
        folder: where its sounds lie below the root.
        options: further arguments of that class.
        pattern: what the names of its files say.
        heldout_list: a file of its own, in ``folder``, that lists the files of the official test.
        crop: as in `Folder`.
    """

    fetch: str
    folder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    pattern: str | None = None
    heldout_list: str | None = None
    crop: str = "start"


DATASETS: dict[str, Dataset] = {
    "speechcommands": Dataset(
        fetch="SPEECHCOMMANDS",
        folder="SpeechCommands/speech_commands_v0.02",
        pattern=r"(?P<label>[a-z]+)/(?P<speaker>[0-9a-f]+)_nohash_\d+$",
        heldout_list="testing_list.txt",
    ),
    "librispeech": Dataset(
        fetch="LIBRISPEECH",
        folder="LibriSpeech/dev-clean",
        options={"url": "dev-clean"},
        pattern=_SPEECH,
        crop="random",
    ),
    "libritts": Dataset(
        fetch="LIBRITTS", folder="LibriTTS/dev-clean", options={"url": "dev-clean"}, pattern=_SPEECH, crop="random"
    ),
    "vctk": Dataset(
        fetch="VCTK_092",
        folder="VCTK-Corpus-0.92/wav48_silence_trimmed",
        pattern=r"(?P<speaker>[ps]\d+)_\d+_mic2$",
        crop="random",
    ),
    "ljspeech": Dataset(fetch="LJSPEECH", folder="LJSpeech-1.1/wavs", crop="random"),
    "yesno": Dataset(fetch="YESNO", folder="waves_yesno", crop="random"),
}


class Named(DataSource):
    """A set of recorded speech. Its conditions are those that the names of its files tell: label and speaker.

    Args:
        dataset: a key of `DATASETS`.
        root: the folder that it is fetched into, or that it lies in already.
        download: fetch it where it is missing; some are many gigabytes.
        rate: samples in a second of the clips.
        seconds: length of the clips.
        channels: 1 for mono, 2 for stereo.
        level: how loud clips are made: ``none``, ``peak`` or ``rms``.
        invert: turn the sign of training clips in half the cases.
        classes: which of ``label`` and ``speaker`` become conditions; empty for all that are known.
        only: keep the sounds of which this is known, as ``{column: value}``.
        heldout: the share that is held out, of sets without an official test.
        cache: ``auto`` keeps the samples on disk as int16 where they fit, ``always`` or ``never``.
        cache_limit: what fits, in bytes.
        cache_dir: where; by default in the user's own folder of caches.

    Raises:
        DataError: it is not there, or cannot be fetched.
        ConfigError: a setting does not exist.
        PluginError: torchaudio is needed to fetch it and cannot be had.
    """

    def __init__(
        self,
        *,
        dataset: str = "speechcommands",
        root: str | Path = "data",
        download: bool = False,
        rate: int = 8000,
        seconds: float = 1.0,
        channels: int = 1,
        level: str = "rms",
        invert: bool = True,
        classes: tuple[str, ...] = (),
        only: Mapping[str, Any] | None = None,
        heldout: float = 0.1,
        cache: str = "auto",
        cache_limit: int = 1 << 31,
        cache_dir: str | Path | None = None,
    ) -> None:
        check_choice("dataset", dataset, tuple(DATASETS))
        recipe = DATASETS[dataset]
        place = Path(root).expanduser() / recipe.folder
        if not place.is_dir():
            if not download:
                raise DataError(
                    f"data.root={root}: {dataset} is not in it (looked for {place}); data.download=true fetches"
                )
            _fetch(dataset, recipe, Path(root).expanduser())
        with warnings.catch_warnings():
            # Each of these sets has files that are no part of it, such as background noise.
            warnings.filterwarnings("ignore", message=".*do not match data.pattern")
            folder = Folder(
                path=place,
                rate=rate,
                seconds=seconds,
                channels=channels,
                crop=recipe.crop,
                level=level,
                invert=invert,
                pattern=recipe.pattern,
                classes=classes,
                only=only,
                heldout=heldout,
                heldout_list=None if recipe.heldout_list is None else place / recipe.heldout_list,
                cache=cache,
                cache_limit=cache_limit,
                cache_dir=cache_dir,
            )
        self.train, self.heldout = folder.train, folder.heldout


def _fetch(name: str, recipe: Dataset, root: Path) -> None:
    datasets = load_torchaudio(f"data.dataset={name}").datasets
    root.mkdir(parents=True, exist_ok=True)
    try:
        getattr(datasets, recipe.fetch)(root, download=True, **recipe.options)
    except Exception as error:  # no network, a full disc, a damaged archive: every layer below has errors of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"data.dataset={name}: cannot be fetched into {root}: {reason}") from error
