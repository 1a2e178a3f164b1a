"""Spoken digits (FSDD) for benchmarks of what is done to a recording: what is held out, joined, and how close it comes.

The official test part (takes 0 to 4) is held out. Its digits are joined to utterances of four seconds and more, which
are as long as PESQ asks for, and longer than the clips that networks train on.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.experiment import DATA, data_folder
from benchmarks.fsdd import RECORDINGS
from benchmarks.harness import Skipped
from suffuse_audio.wav import write_wav

__all__ = [
    "RATE",
    "SPEAKERS",
    "Samples",
    "log_spectral_distance",
    "quality",
    "sample",
    "through",
    "train",
    "training",
    "utterances",
]

RATE = 8000
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
_SHORTEST = 4.0
_TAKES, _DIGITS = range(5), range(10)
_WINDOW, _HOP = 256, 64
_FLOOR = 1e-8
"""Of the power of a bin, where a sine at full scale has about 4000: what is below cannot be heard."""

Samples = NDArray[np.float32]


def training(given: str, steps: int) -> list[str]:
    """What follows ``suffuse train`` for all that is not held out; the network is told neither digit nor speaker."""
    return [
        "modality=audio",
        "data=folder",
        f"data.path={DATA}/{RECORDINGS}",
        r"data.pattern=_(?P<take>\d+)$",
        "data.heldout_where={take: 0..4}",
        f"decoder.given={given}",
        f"trainer.steps={steps}",
        "trainer.preview_every=0",
    ]


def utterances(speaker: str) -> list[Samples]:
    """The held-out digits of a speaker in turn, ``[T]`` each; a rest of less than four seconds is left out.

    Raises:
        Skipped: the recordings are not here.
    """
    import soundfile

    path = data_folder() / RECORDINGS
    if not path.is_file():
        raise Skipped(f"{path} is not there (see benchmarks/README.md)")
    found, current = [], np.zeros(0, np.float32)
    with zipfile.ZipFile(path) as archive:
        for take in _TAKES:
            for digit in _DIGITS:
                data = archive.read(f"recordings/{digit}_{speaker}_{take}.wav")
                current = np.concatenate([current, soundfile.read(io.BytesIO(data), dtype="float32")[0]])
                if len(current) >= _SHORTEST * RATE:
                    found.append(current)
                    current = np.zeros(0, np.float32)
    return found


def train(directory: Path, *words: str) -> float:
    """Train as a person would, unless an earlier call did. Returns the seconds that it took, as the run says."""
    if not (directory / "run.json").exists():
        places = [word.replace(DATA, str(data_folder())) for word in words]
        _suffuse("train", *places, f"hydra.run.dir={directory}")
    return float(json.loads((directory / "run.json").read_text(encoding="utf-8"))["seconds"])


def sample(directory: Path, *words: str) -> list[Samples]:
    """What ``suffuse sample`` makes by a run, ``[T]`` each as it stands in the files."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        _suffuse("sample", f"run={directory}", f"out={out}", *words)
        return [soundfile.read(path, dtype="float32")[0] for path in sorted(out.glob("*.wav"))]


def through(directory: Path, sound: Samples, *words: str) -> Samples:
    """One sample that ``suffuse sample`` makes from a recording."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.wav"
        write_wav(sound[None], RATE, path)
        (found,) = sample(directory, f"input={path}", "n=1", "compute_batch=16", *words)
    return found


def _suffuse(command: str, *words: str) -> None:
    print(f"$ suffuse {command} {' '.join(words)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "suffuse", command, *words], check=True, stdout=sys.stderr)


def quality() -> Callable[[Samples, Samples], tuple[float, float]]:
    """PESQ of narrow-band speech (-0.5 to 4.5) and STOI (0 to 1), of a reference and what came of it.

    Raises:
        Skipped: the packages are not installed.
    """
    try:
        from pesq import pesq
        from pystoi import stoi
    except ImportError as error:
        raise Skipped(f'{error.name} is not installed: pip install "suffuse[quality]"') from error

    def measured(reference: Samples, found: Samples) -> tuple[float, float]:
        return float(pesq(RATE, reference, found, "nb")), float(stoi(reference, found, RATE))

    return measured


def log_spectral_distance(reference: Samples, found: Samples, above: float = 0.0, below: float = RATE / 2) -> float:
    """The root mean square over frequencies of the difference of log10 power, averaged over frames.

    Windows of 32 ms (Hann) every 8 ms. One unit is 10 dB.

    Args:
        above, below: frequencies in Hz between which it is taken.
    """
    taper = torch.hann_window(_WINDOW)
    rows = slice(round(above / RATE * _WINDOW), round(below / RATE * _WINDOW) + 1)

    def powers(samples: Samples) -> torch.Tensor:
        spectrum = torch.stft(
            torch.from_numpy(samples), _WINDOW, _HOP, window=taper, pad_mode="constant", return_complex=True
        )
        return spectrum[rows].abs().square().clamp_min(_FLOOR).log10()

    difference = powers(reference) - powers(found)
    return float(difference.square().mean(0).sqrt().mean())
