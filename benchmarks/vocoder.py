"""From 40 mel bands back to speech at 8 kHz: Griffin and Lim's search for the phases, as the decoder `mel` does it, and
a network that is given the bands (`decoder.given=mel`, `task=vocode`), trained for a few minutes. What is heard are
held-out digits joined to utterances of four seconds and more. The ceilings beside are the recordings themselves and
the search with all magnitudes known; the floor is a search that gives up at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks import speech
from benchmarks.harness import Bar, Cell, Findings, Options, Table
from suffuse_audio.clips import Clip
from suffuse_audio.decoders import Mel

__all__ = ["measure"]

BANDS = 40
STEPS = 1800
SPEAKER = speech.SPEAKERS[0]
PESQ, STOI = 3.0, 0.97

Back = Callable[[speech.Samples], speech.Samples]


def measure(options: Options) -> Findings:
    """PESQ, STOI and the time that it takes."""
    measured = speech.quality()
    heard = {name: speech.utterances(name) for name in (speech.SPEAKERS[:1] if options.quick else speech.SPEAKERS)}

    def row(name: str, back: Back, sounds: Sequence[speech.Samples]) -> list[Cell]:
        began = time.perf_counter()
        made = [back(sound) for sound in sounds]
        spent = (time.perf_counter() - began) / (sum(map(len, sounds)) / speech.RATE)
        pesq, stoi = zip(*map(measured, sounds, made), strict=True)
        return [name, statistics.fmean(pesq), min(pesq), statistics.fmean(stoi), min(stoi), spent]

    sounds = heard[SPEAKER]
    search = row(f"mel decoder, {BANDS} bands", _searched(Mel(bands=BANDS)), sounds)
    network, seconds = _learned(options)
    rows = [
        row("the recording itself", lambda sound: sound, sounds),
        row("all magnitudes, phases searched", _phases_lost, sounds),
        search,
        row(f"mel decoder, {BANDS} bands, no search", _searched(Mel(bands=BANDS, iterations=0)), sounds),
        row("network given the bands", network, sounds[:1] if options.quick else sounds),
    ]
    others = [row(name, _searched(Mel(bands=BANDS)), sounds) for name, sounds in heard.items()]
    columns = ("", "PESQ-nb", "least", "STOI", "least", "seconds a second")
    pesq, stoi = float(search[1] or 0), float(search[3] or 0)
    return Findings(
        bars=[
            Bar(promise=f"mel decoder, {SPEAKER}: PESQ-nb at least {PESQ:g}", found=pesq, met=pesq >= PESQ),
            Bar(promise=f"mel decoder, {SPEAKER}: STOI at least {STOI:g}", found=stoi, met=stoi >= STOI),
        ],
        tables=[
            Table(title=f"Utterances of {SPEAKER}", columns=columns, rows=rows),
            Table(title="The mel decoder with each speaker", columns=columns, rows=others),
        ],
        settings={
            "utterances": ", ".join(f"{name} {len(sounds)}" for name, sounds in heard.items()),
            "network trained by": " ".join(["suffuse train", *speech.training("mel", STEPS)]),
            "minutes of training": seconds / 60,
        },
    )


def _searched(decoder: Mel) -> Back:
    def back(sound: speech.Samples) -> speech.Samples:
        (clip,) = decoder.decode(decoder.encode([Clip(torch.from_numpy(sound)[None], speech.RATE)]))
        found: speech.Samples = clip.samples[0, : len(sound)].numpy()
        return found

    return back


def _phases_lost(sound: speech.Samples) -> speech.Samples:
    """The same search where nothing but the phases is missing."""
    import torchaudio

    decoder = Mel(bands=BANDS)
    settings = (torch.hann_window(decoder.window), decoder.window, decoder.hop, decoder.window, 1.0)
    magnitude = torchaudio.functional.spectrogram(torch.from_numpy(sound), 0, *settings, False)
    found: speech.Samples = torchaudio.functional.griffinlim(
        magnitude, *settings, decoder.iterations, decoder.momentum, len(sound), True
    ).numpy()
    return found


def _learned(options: Options) -> tuple[Back, float]:
    """A trained vocoder as a person would use it, and the seconds that its training took."""
    directory = options.runs / "vocoder"
    seconds = speech.train(directory, *speech.training("mel", 20 if options.quick else STEPS))

    def back(sound: speech.Samples) -> speech.Samples:
        return speech.through(directory, sound, "task=vocode")

    return back, seconds
