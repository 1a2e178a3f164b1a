"""What is missing of a recording made anew, by one network that is given the lower half of the band and trained for
five minutes on spoken digits: the upper half (`task=extend`), gaps of 100 ms (`task=inpaint`), what comes after the end
(`task=continue`), and sounds longer than any it was trained on (`length=`). Held-out digits are joined to utterances of
four seconds and more, which are taken in windows too. Seams are judged by steps from sample to sample, and the borders
of windows by the change from frame to frame, beside the same of real recordings and of windows side by side."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import speech
from benchmarks.harness import Bar, Cell, Findings, Options, Table
from benchmarks.speech import RATE, Samples, log_spectral_distance
from suffuse_audio.decoders.given import LowBand

__all__ = ["measure"]

STEPS = 1500
HALF = RATE / 4
"""The edge of the band that is given, in Hz."""
DISTANCE, MINUTES = 1.5, 5.0
GAP, SPACING = RATE // 10, RATE
"""Samples of a gap, and from the start of one to that of the next."""
KNOWN = 3 * RATE // 10
"""Samples after which a recording is continued."""
SECONDS = 4.0
FRAME = 128
"""Samples from one frame of the decoder to the next."""


def measure(options: Options) -> Findings:
    """Everything by one run."""
    directory = options.runs / "restoration"
    typed = speech.training("low", 20 if options.quick else STEPS)
    seconds = speech.train(directory, *typed)
    each = 1 if options.quick else 2
    sounds = {name: speech.utterances(name)[:each] for name in speech.SPEAKERS[: 1 if options.quick else None]}
    flat = [sound for part in sounds.values() for sound in part]
    extension, distance = _extension(directory, sounds)
    exact, seams, gaps = _seams(directory, flat)
    return Findings(
        bars=[
            Bar(promise=f"log-spectral distance: at most {DISTANCE:g}", found=distance, met=distance <= DISTANCE),
            Bar(promise=f"minutes for train: at most {MINUTES:g}", found=seconds / 60, met=seconds <= 60 * MINUTES),
            Bar(promise="known samples that are exactly as they were: share of 1", found=exact, met=exact == 1),
        ],
        tables=[extension, seams, gaps, _borders(directory, flat)],
        settings={
            "trained by": " ".join(["suffuse train", *typed]),
            "utterances": ", ".join(f"{name} {len(part)}" for name, part in sounds.items()),
        },
    )


# The upper half of the band -----------------------------------------------------------------------------------------


def _extension(directory: Path, sounds: dict[str, list[Samples]]) -> tuple[Table, float]:
    """Distances by speaker, and the mean over speakers of what was made."""
    rows: list[list[Cell]] = []
    for name, part in sounds.items():
        made = [speech.through(directory, sound, "task=extend") for sound in part]
        rows.append(
            [
                name,
                _mean(log_spectral_distance, part, [_low(sound) for sound in part]),
                _mean(log_spectral_distance, part, made),
                _mean(lambda a, b: log_spectral_distance(a, b, above=HALF), part, made),
                _mean(lambda a, b: log_spectral_distance(a, b, below=HALF), part, made),
                _mean(_low_band_error, part, made),
            ]
        )
    means: list[Cell] = [statistics.fmean(float(row[column] or 0) for row in rows) for column in range(1, 6)]
    columns = ("speaker", "the input", "extended", "above 2 kHz", "below", "dB that the low band is off")
    title = "From 2 to 4 kHz: log-spectral distance in units of 10 dB"
    return Table(title=title, columns=columns, rows=[*rows, ["mean", *means]]), float(means[1] or 0)


def _mean(
    distance: Callable[[Samples, Samples], float], references: Sequence[Samples], found: Sequence[Samples]
) -> float:
    return statistics.fmean(map(distance, references, found))


def _low(sound: Samples) -> Samples:
    """What is left of a recording by the filter that the network was trained with."""
    nothing = np.zeros_like(sound)[None]
    kept = LowBand(lambda samples: samples).restore(torch.from_numpy(nothing), torch.from_numpy(sound)[None])
    found: Samples = kept[0].numpy()
    return found


def _low_band_error(reference: Samples, found: Samples) -> float:
    """The power of the difference in what the filter lets through whole, in dB below that of the recording."""
    ends = round(0.9 * HALF / RATE * len(reference))
    ours, theirs = np.fft.rfft(reference)[:ends], np.fft.rfft(found)[:ends]
    return float(10 * np.log10(np.sum(np.abs(ours - theirs) ** 2) / np.sum(np.abs(ours) ** 2)))


# Gaps, and what comes after the end ---------------------------------------------------------------------------------


def _seams(directory: Path, sounds: Sequence[Samples]) -> tuple[float, Table, Table]:
    """The share of known samples that are exact, how large steps at seams are, and how close gaps are filled in."""
    steps: dict[str, list[float]] = {"gaps": [], "gaps, real": [], "continued": [], "continued, real": []}
    close: dict[str, list[float]] = {"made": [], "the stretch before": [], "silence": []}
    known = total = 0
    for sound in sounds:
        starts = range(SPACING // 2, len(sound) - SPACING // 2, SPACING)
        filled = _filled(directory, sound, starts)
        marks = np.zeros(len(sound), bool)
        for start in starts:
            inside = slice(start, start + GAP)
            marks[inside] = True
            for seam in (start, start + GAP):
                steps["gaps"].append(_step(filled, seam))
                steps["gaps, real"].append(_step(sound, seam))
            for name, guess in (
                ("made", filled[inside]),
                ("the stretch before", sound[start - GAP : start]),
                ("silence", np.zeros(GAP, np.float32)),
            ):
                close[name].append(log_spectral_distance(sound[inside], guess))
        known += int((filled[~marks] == sound[~marks]).sum())
        begun = speech.through(directory, sound[:KNOWN], "task=continue", "length=2s")
        steps["continued"].append(_step(begun, KNOWN))
        steps["continued, real"].append(_step(sound, KNOWN))
        known += int((begun[:KNOWN] == sound[:KNOWN]).sum())
        total += int((~marks).sum()) + KNOWN
    usual = float(np.quantile(np.concatenate([np.abs(np.diff(sound)) for sound in sounds]), 0.99))
    rows: list[list[Cell]] = [
        [name, len(part), statistics.median(part), max(part), sum(step > usual for step in part) / len(part)]
        for name, part in steps.items()
    ]
    seams = Table(
        title=f"Steps at seams; 99 of 100 steps of the recordings are below {usual:.3f}",
        columns=("seams of", "how many", "median", "largest", "share above"),
        rows=rows,
    )
    gaps = Table(
        title="Gaps of 100 ms: log-spectral distance to what was there",
        columns=("filled with", "mean", "median"),
        rows=[[name, statistics.fmean(part), statistics.median(part)] for name, part in close.items()],
    )
    return known / total, seams, gaps


def _filled(directory: Path, sound: Samples, starts: Sequence[int]) -> Samples:
    with tempfile.TemporaryDirectory() as folder:
        mask = Path(folder) / "gaps.txt"
        mask.write_text("".join(f"{start / RATE} {(start + GAP) / RATE}\n" for start in starts))
        return speech.through(directory, sound, "task=inpaint", f"mask={mask}")


def _step(sound: Samples, place: int) -> float:
    return float(abs(sound[place] - sound[place - 1]))


# Longer than the training -------------------------------------------------------------------------------------------


def _borders(directory: Path, sounds: Sequence[Samples]) -> Table:
    """How a sound changes over the borders of windows, and elsewhere."""
    rows: list[list[Cell]] = []
    for name, overlap in (("windows that overlap by half", 0.5), ("windows side by side", 0.0)):
        words = [f"length={SECONDS:g}s", f"overlap={overlap}", "n=16", "compute_batch=16"]
        made = speech.sample(directory, *words)
        rows.append([name, *_changes(made, _starts(len(made[0]), overlap))])
    whole = [sound[: round(SECONDS * RATE)] for sound in sounds if len(sound) >= SECONDS * RATE]
    rows.append(["recordings, at the same places", *_changes(whole, _starts(len(whole[0]), 0.5))])
    return Table(
        title=f"Sounds of {SECONDS:g} s from clips of 0.64 s: change from frame to frame, in units of 10 dB",
        columns=("", "at borders", "elsewhere", "step at borders", "step elsewhere"),
        rows=rows,
    )


def _starts(length: int, overlap: float) -> list[int]:
    """The frames at which windows begin or end inside of a sound."""
    frames, size = -(-length // FRAME), round(0.64 * RATE / FRAME)
    count = 1 + -(-(frames - size) // int((1 - overlap) * size))
    starts = [round(place * (frames - size) / (count - 1)) for place in range(count)]
    return sorted({place for start in starts for place in (start, start + size)} - {0, frames})


def _changes(sounds: Sequence[Samples], borders: Sequence[int]) -> tuple[float, float, float, float]:
    """Means of the distance between neighbouring stretches of a frame, and of the largest step between the two, at
    borders and elsewhere. Where both are silent there is nothing to hear, and they do not count."""
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for sound in sounds:
        for frame in range(2, len(sound) // FRAME - 2):
            seam = frame * FRAME
            before, after = sound[seam - FRAME : seam], sound[seam : seam + FRAME]
            if max(np.abs(before).max(), np.abs(after).max()) < 0.01:
                continue
            step = float(np.abs(np.diff(sound[seam - FRAME // 4 : seam + FRAME // 4])).max())
            found[frame in borders].append((log_spectral_distance(before, after), step))
    (near, step), (far, usual) = (np.mean(found[kind], 0).tolist() for kind in (True, False))
    return near, far, step, usual
